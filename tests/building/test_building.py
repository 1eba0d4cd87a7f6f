"""What builds and installs fasttune: its extras, its oldest releases, and what is said where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".ci"))
import install
import requirements
import wheels

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

# Extras that `all` does not have, each with its reason.
NOT_IN_ALL = {
    "all": "itself",
    "ax": "gigabytes: it brings PyTorch",
    "nevergrad": "holds other libraries at old releases",
    "mlflow": "brings many libraries of its own",
    "wandb": "brings many libraries of its own",
    "aim": "brings many libraries of its own",
    "comet": "brings many libraries of its own",
    "xgboost": "hundreds of megabytes, for several GPUs",
    "catboost": "hundreds of megabytes",
    "ray": "hundreds of megabytes, for clusters",
    "keras": "gigabytes: it works on another library",
    "lightning": "gigabytes: it brings PyTorch",
    "transformers": "gigabytes: it brings PyTorch",
    "examples": "made of others",
    "test": "for work on fasttune",
    "browser": "for work on fasttune",
    "fuzz": "for work on fasttune",
    "lint": "for work on fasttune",
}


def test_all_has_every_extra_or_it_is_said_why_not() -> None:
    assert {f"fasttune[{extra}]" for extra in EXTRAS if extra not in NOT_IN_ALL} == set(EXTRAS["all"])


def test_the_extras_of_an_extra_are_taken_apart() -> None:
    found = requirements.of_extras(["examples"])
    assert found == [*PROJECT["dependencies"], "scikit-learn>=1.4", *EXTRAS["plots"]]
    assert len(requirements.of_extras(["dashboard", "plots"])) == len(set(requirements.of_extras(["plots", "dashboard"])))


def test_an_extra_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemExit, match="no extra 'plotz'; it has plots, "):
        requirements.of_extras(["plotz"])


def test_the_oldest_releases_are_the_lower_bounds() -> None:
    assert requirements.with_oldest(["pytest>=8", "numpy>=1.26"])[:2] == ["pytest>=8", "numpy==1.26"]
    assert len(requirements.with_oldest([])) == len(PROJECT["dependencies"])


@pytest.mark.parametrize("command", ["build", "build_ext"])
def test_a_build_without_a_compiler_says_so_in_one_sentence(command: str, tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if key != "CC"}
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", command, "--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp")],
        cwd=ROOT,
        env={**environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    said = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode == 1
    assert len(said) == 1, said
    assert said[0].startswith("error: fasttune has a compiled core, and no C compiler was found (looked for ")
    assert os.listdir(tmp_path) == []


def test_an_interpreter_counts_only_if_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    for version in (HERE, "3.99"):
        shim = shims / f"python{version}"
        shim.write_text("#!/bin/sh\nexit 127\n")
        shim.chmod(0o755)
    real = tmp_path / "real"
    real.mkdir()
    (real / f"python{HERE}").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{shims}:{real}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert [(one.version, one.python) for one in wheels.interpreters([HERE, "3.99"])] == [(HERE, str(real / f"python{HERE}"))]


def test_an_extension_is_linked_without_folders_of_this_machine() -> None:
    assert wheels.without_paths("gcc -pthread -shared -L/opt/py/lib -Wl,-rpath,/opt/py/lib -O2") == "gcc -pthread -shared -O2"


def test_a_core_that_is_younger_than_its_sources_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "version", lambda _: "0.1.0")
    made = [f"src/fasttune/{module}{sysconfig.get_config_var('EXT_SUFFIX')}" for module in ("_core", "_rules")]
    part = "src/fasttune/_rules/median.pxi"
    sources = ["src/fasttune/_core.pyx", "src/fasttune/_rules.pyx", part]
    for name in ("setup.py", "pyproject.toml", ".ci/build-constraints.txt", *sources):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000, 1000))
    assert not install.core_is_there(tmp_path)
    for core in made:
        assert not install.core_is_there(tmp_path)
        (tmp_path / core).touch()
        os.utime(tmp_path / core, (2000, 2000))
    assert install.core_is_there(tmp_path)
    os.utime(tmp_path / part, (3000, 3000))
    assert not install.core_is_there(tmp_path)


def test_a_step_that_fails_tells_what_pip_has_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"(?s)a library: could not be installed. What was said:.*no-such-library-of-fasttune"):
        install.finish(install.begin("a library", "--no-index", "--dry-run", "no-such-library-of-fasttune"))
    assert "a library  " in capsys.readouterr().out
