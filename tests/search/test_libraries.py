"""Versions of the libraries that searchers work with: what is too old is said in words, before anything else fails."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from fasttune.extras import PACKAGES, optional
from fasttune.search import create_searcher

ROOT = Path(__file__).resolve().parents[2]


def an_old_one(folder: Path, package: str, module: str) -> None:
    """A package of version 0.0.9 that has nothing in it."""
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text("")
    about = folder / f"{package.replace('-', '_')}-0.0.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.9\n")


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("bayesopt", "bayes_opt"),
        ("hyperopt", "hyperopt"),
        ("optuna", "optuna"),
        ("ax", "ax"),
        ("nevergrad", "nevergrad"),
    ],
)
def test_A6_a_library_that_is_too_old_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    package, least = PACKAGES[module]
    an_old_one(tmp_path, package, module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=rf"needs {package} {least} or newer, and 0.0.9 is installed: pip install -U"):
        create_searcher(name)


def test_A6_a_library_that_is_missing_is_named() -> None:
    with pytest.raises(ImportError, match="SomeSearch needs the library 'no_such_library', which is not installed"):
        optional("no_such_library.part", "some", "SomeSearch")


def test_the_versions_are_those_of_the_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {re.sub(r"\[.*\]", "", line) for lines in project["optional-dependencies"].values() for line in lines}
    older = {"pytorch_lightning"}  # the name that lightning, which the extra brings, had before: used where it is there
    assert {f"{package}>={least}" for module, (package, least) in PACKAGES.items() if module not in older} <= asked
    assert PACKAGES["pytorch_lightning"][1] == PACKAGES["lightning"][1]
