"""Build of the compiled modules. Everything else is in pyproject.toml.

FASTTUNE_DEBUG=1 builds with C assertions, counted memory, and checks of bounds and of what is not initialised, without
optimisation (`make debug`).
FASTTUNE_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer (`make sanitize`).
FASTTUNE_WHEEL=1 leaves out the tables by which debuggers walk a stack without frame pointers, a tenth of the core.
FASTTUNE_ANNOTATE=1 has Cython write its annotated HTML.

An sdist holds the C that Cython made, with a digest of what it was made from: whoever installs from it needs no Cython.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

MODULES = ("_core", "_rules", "_draws")
SHARED = ("src/fasttune/_core/memory.pxi", "src/fasttune/_core/words.pxi")  # parts of each

debug = os.environ.get("FASTTUNE_DEBUG", "") not in ("", "0")
sanitize = os.environ.get("FASTTUNE_SANITIZE", "") not in ("", "0")
wheel = os.environ.get("FASTTUNE_WHEEL", "") not in ("", "0")
RELEASE = ["-O3", "-g0", *(["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"] if wheel else [])]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O1", "-g"]

DIRECTIVES = {
    "language_level": "3",
    "embedsignature": True,
    "boundscheck": debug,
    "wraparound": False,
    "initializedcheck": debug,
    "cdivision": True,
    "freethreading_compatible": False,
}


# What -O3 of GCC has over -O2 and is worth its while here. Beside -O3, in instructions of the core (callgrind): 0.98 for a
# report, 0.99 for a trial of one report, 1.00 for a judgement of ASHA, 0.99 for folding; and a tenth less machine code.
FOR_GCC = [
    *("-O2", "-fvect-cost-model=dynamic", "-fipa-cp-clone", "-fpeel-loops", "-funswitch-loops", "-fsplit-paths"),
    *("-fgcse-after-reload", "--param=max-inline-insns-auto=30", "--param=max-inline-insns-single=200"),
    "--param=inline-min-speedup=15",
]


def source_of(module: str) -> str:
    return f"src/fasttune/{module}.pyx"


def parts_of(module: str) -> list[str]:
    return [f"src/fasttune/{module}.pxd", *sorted({*SHARED, *glob(f"src/fasttune/{module}/*.pxi")})]


def shipped_c(module: str) -> str:
    """In an sdist only; what a checkout's builds make lies under build/."""
    return f"src/fasttune/{module}.c"


def compiled(module: str) -> Extension:
    return Extension(
        f"fasttune.{module}",
        [source_of(module)],
        # Without its parts in this list an edited .pxi would leave the old module in place.
        depends=parts_of(module),
        define_macros=[("FASTTUNE_DEBUG", "1")] if debug else [],
        # NDEBUG, which Python's own flags define, would leave out all assertions. -g0: debugging symbols were six of seven megabytes.
        extra_compile_args=SANITIZERS if sanitize else ["-O0", "-g", "-UNDEBUG"] if debug else RELEASE,
        extra_link_args=SANITIZERS if sanitize else [],
        libraries=["m", "pthread"],
    )


def digest(module: str) -> str:
    """Of all that the C is made from."""
    found = hashlib.sha256(repr(sorted(DIRECTIVES.items())).encode())
    for path in (source_of(module), *parts_of(module)):
        found.update(Path(path).read_bytes())
    return found.hexdigest()


def first_line(module: str) -> bytes:
    return f"/* Made by Cython from the sources with the digest {digest(module)} */\n".encode()


def c_is_there(module: str) -> bool:
    """Whether the C of an sdist lies here, and is that of these sources."""
    try:
        with open(shipped_c(module), "rb") as file:
            return not debug and file.readline() == first_line(module)
    except OSError:
        return False


def translated(module: str, build_dir: str) -> str:
    """The module's C, made by Cython under ``build_dir`` if it is older than its sources."""
    try:
        from Cython.Build import cythonize
    except ImportError:
        raise SystemExit(
            "error: building fasttune from these sources needs Cython, which is not installed: pip install 'cython>=3.1'"
        ) from None
    (made,) = cythonize(
        [compiled(module)],
        build_dir=build_dir,
        annotate=os.environ.get("FASTTUNE_ANNOTATE", "") not in ("", "0"),
        compiler_directives=DIRECTIVES,
    )
    return str(made.sources[0])


def check_machine(compiler: list[str]) -> None:
    """SystemExit in one sentence for what would otherwise end in pages of a compiler's words, or in none."""
    if not sys.platform.startswith("linux"):
        raise SystemExit(
            f"error: fasttune runs on Linux alone (it needs robust mutexes, epoll and /proc), and this is {sys.platform}."
        )
    if shutil.which(compiler[0]) is None:
        raise SystemExit(
            f"error: fasttune has a compiled core, and no C compiler was found (looked for {compiler[0]}). Install one (Debian,"
            " Ubuntu: apt install build-essential; Fedora: dnf install gcc), say where it is by the variable CC,"
            " or install a wheel of fasttune, which needs none (`make wheel` makes them where there is one)."
        )
    include = sysconfig.get_path("include")
    if not os.path.exists(os.path.join(include, "Python.h")):
        raise SystemExit(
            f"error: fasttune has a compiled core, which needs Python.h, and {include} has none"
            " (Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)."
        )


class BuildAll(build):
    """Asks for the compiler first: behind two hundred lines of copied files nobody would see that it is missing."""

    def run(self) -> None:
        check_machine(compiler_of(self.get_finalized_command("build_ext")))
        super().run()


class BuildEditable(editable_wheel):
    """The same for `pip install -e`."""

    def run(self) -> None:
        check_machine(compiler_of(self.get_finalized_command("build_ext")))
        super().run()


class BuildCore(build_ext):
    """Translates the modules, unless this is an sdist, and compiles them on all CPUs.

    Each is one C file, because calls between its parts are inlined. GCC's link-time optimisation splits the work behind the
    inlining, so that the parts are compiled side by side: as many instructions, in half the time on two cores.
    """

    def run(self) -> None:
        check_machine(compiler_of(self))
        for extension in self.extensions:
            module = extension.name.rpartition(".")[2]
            made = shipped_c(module) if c_is_there(module) else translated(module, "build/debug/c" if debug else "build/c")
            extension.sources = [made]
        super().run()

    def build_extensions(self) -> None:
        for extension in [] if debug or sanitize else self.extensions:
            if understands(self.compiler, FOR_GCC):
                extension.extra_compile_args += FOR_GCC
            cpus = len(os.sched_getaffinity(0))
            if cpus > 1 and understands(self.compiler, [f"-flto={cpus}"]):
                extension.extra_compile_args += ["-flto"]
                extension.extra_link_args += [*extension.extra_compile_args, f"-flto={cpus}"]
        super().build_extensions()


def compiler_of(command: build_ext) -> list[str]:
    """The command that will compile, as words: CC, or what Python was made with."""
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    compiler = new_compiler(compiler=command.compiler if isinstance(command.compiler, str) else None)
    customize_compiler(compiler)
    return list(getattr(compiler, "compiler_so", None) or ["cc"])


def understands(compiler, flags: list[str]) -> bool:
    """Whether this is a GCC that makes a library with these flags (a linker without its plugin cannot optimise)."""
    words = list(compiler.compiler_so)
    try:
        said = subprocess.run([words[0], "--version"], capture_output=True, text=True, timeout=60)
        if "Free Software Foundation" not in said.stdout:
            return False  # Clang's link-time optimisation would work in one process
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("int probe(int x) { return x + 1; }\n", encoding="ascii")
            command = [*words, *flags, "-shared", "-o", f"{folder}/probe.so", str(source)]
            return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


class SourcesWithC(sdist):
    """An sdist that holds the C, too."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        for module in MODULES:
            here = Path(shipped_c(module) if c_is_there(module) else translated(module, "build/c")).read_bytes()
            Path(base_dir, shipped_c(module)).write_bytes(here if c_is_there(module) else first_line(module) + here)


COMMANDS = {"build": BuildAll, "build_ext": BuildCore, "editable_wheel": BuildEditable, "sdist": SourcesWithC}

setup(ext_modules=[compiled(module) for module in MODULES], cmdclass=COMMANDS)
