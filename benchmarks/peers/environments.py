"""An environment for each peer, so that no peer's dependencies sway another's import time or version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = {
    "optuna": "optuna lightgbm",
    "optuna-integration": "optuna-integration scikit-learn pandas",
    "nevergrad": "nevergrad numpy<2.3 pandas psutil nvidia-ml-py greenlet cloudpickle rich",  # NGOpt fails with numpy 2.4
    "ray": "ray[tune]",
    "ray_cluster": "ray[tune] numpy pandas psutil nvidia-ml-py greenlet cloudpickle rich",  # and fasttune, as it lies here
}
SOURCE = Path(__file__).resolve().parents[2] / "src"


def python_of(env: str, folder: Path) -> str:
    """The interpreter of an environment, made on first use; fasttune and the bare loops share this one."""
    if env not in REQUIREMENTS:
        return sys.executable
    python = folder / env / "bin" / "python"
    ready = folder / env / ".ready"
    if not ready.exists():
        print(f"installing {REQUIREMENTS[env]} into {folder / env} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / env)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *REQUIREMENTS[env].split()], check=True)
        ready.touch()
    return str(python)


def version_of(env: str, python: str) -> str:
    """What is installed, as `name version`."""
    if env == "plain":
        return f"Python {sys.version.split()[0]}"
    code = f"from importlib.metadata import version; print(version({env.partition('_')[0]!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=environ_of(env))
    return f"{env} {done.stdout.strip() or 'unknown'}"


def environ_of(env: str) -> dict[str, str]:
    """This process's environment; only fasttune is looked for where this process looks."""
    environ = dict(os.environ)
    if env in ("ray_cluster", "nevergrad"):
        environ["PYTHONPATH"] = str(SOURCE)
    elif env not in ("fasttune", "plain"):
        environ.pop("PYTHONPATH", None)
    elif environ.get("PYTHONPATH"):  # programs run in another folder
        environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, environ["PYTHONPATH"].split(os.pathsep)))
    return environ
