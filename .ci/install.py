"""Install fasttune, editable, and the libraries of some extras into the environment of this interpreter.

    .venv/bin/python .ci/install.py test lint

The core is compiled while the libraries are fetched. A line for each step says how long it took; what pip and the compiler
say is shown only if they fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, NamedTuple

from requirements import of_extras

ROOT = Path(__file__).resolve().parents[1]
# --no-compile: of the thousands of modules that these libraries have, few are ever imported; those are compiled then.
INSTALL = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "install", "--no-compile", "--no-warn-conflicts")


class Step(NamedTuple):
    """One run of pip, begun."""

    name: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    began: float  # of time.monotonic()


def begin(name: str, *arguments: str) -> Step:
    said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
    environ = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    process = subprocess.Popen([*INSTALL, *arguments], cwd=ROOT, env=environ, stdout=said, stderr=subprocess.STDOUT)
    return Step(name, process, said, time.monotonic())


def finish(*steps: Step) -> None:
    """Wait for all of them, with a line for each. SystemExit when one fails, with what it has said."""
    live = sys.stdout.isatty()
    running = list(steps)
    while running:
        for step in [step for step in running if step.process.poll() is not None]:
            running.remove(step)
            tell(f"{step.name:<32}{time.monotonic() - step.began:6.1f} s", live)
            if step.process.returncode:
                for other in running:
                    other.process.terminate()
                    other.process.wait()
                step.said.seek(0)
                sys.exit(f"{step.name}: could not be installed. What was said:\n{step.said.read().decode(errors='replace')}")
            step.said.close()
        if live and running:
            print(f"\r  {', '.join(step.name for step in running)} ... {time.monotonic() - steps[0].began:.0f} s ", end="", flush=True)
        time.sleep(0.1)


def tell(text: str, live: bool) -> None:
    print(f"\r\x1b[K  {text}" if live else f"  {text}", flush=True)


def core_is_there(root: Path) -> bool:
    """Whether this environment has fasttune, with a core that is younger than all that it is built from.

    pip would build it once more: for an editable install it begins in an empty folder each time.
    """
    package, ending = root / "src" / "fasttune", sysconfig.get_config_var("EXT_SUFFIX")
    sources = [root / "setup.py", root / "pyproject.toml", root / ".ci" / "build-constraints.txt"]
    modules = sorted(package.glob("_*.pyx"))
    sources += [*modules, *package.glob("_*.pxd"), *package.glob("_*.pyi"), *package.glob("_*/*.pxi")]
    try:
        version("fasttune")
        made = min((package / f"{module.stem}{ending}").stat().st_mtime for module in modules)
        return made > max(source.stat().st_mtime for source in sources)
    except (PackageNotFoundError, FileNotFoundError):
        return False


def main(extras: list[str]) -> None:
    libraries = of_extras(extras)
    # In the environment and not, as pip would have it, in one of its own for each build: an edited core is built again soon.
    finish(begin("setuptools and Cython", "-r", ".ci/build-constraints.txt"))
    steps = [begin(f"{len(libraries)} libraries and theirs", *libraries)]
    if not core_is_there(ROOT):
        steps.append(begin("the core, compiled", "--no-build-isolation", "--no-deps", "-e", "."))
    finish(*steps)


if __name__ == "__main__":
    main(sys.argv[1:])
