"""Build of the one compiled module. Everything else is in pyproject.toml.

FASTTUNE_DEBUG=1 builds with checks of bounds and of what is not initialised, and without optimisation (`make debug`).
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

debug = os.environ.get("FASTTUNE_DEBUG", "") not in ("", "0")

core = Extension(
    "fasttune._core",
    ["src/fasttune/_core.pyx"],
    # Without its parts in this list an edited .pxi would leave the old module in place.
    depends=["src/fasttune/_core.pxd", *sorted(glob("src/fasttune/_core/*.pxi"))],
    extra_compile_args=["-O0", "-g", "-UNDEBUG"] if debug else ["-O3"],  # NDEBUG would leave out Cython's own assertions
    libraries=["m", "pthread"],
)

setup(
    ext_modules=cythonize(
        [core],
        # The C of the two builds differs (bounds checks), so each has its own place.
        build_dir="build/debug/c" if debug else "build/c",
        annotate=os.environ.get("FASTTUNE_ANNOTATE", "") not in ("", "0"),
        compiler_directives={
            "language_level": "3",
            "embedsignature": True,
            "boundscheck": debug,
            "wraparound": False,
            "initializedcheck": debug,
            "cdivision": True,
            "freethreading_compatible": False,
        },
    ),
)
