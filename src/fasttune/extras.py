"""Libraries that fasttune works with and does not need: each comes with an extra of the package."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

# Module -> the package that it comes in, and the first version that works; the same as in pyproject.toml.
PACKAGES = {
    "aim": ("aim", "3.17"),
    "ax": ("ax-platform", "1.0"),
    "bayes_opt": ("bayesian-optimization", "1.4"),
    "catboost": ("catboost", "1.2"),
    "cmaes": ("cmaes", "0.12"),
    "comet_ml": ("comet_ml", "3.38"),
    "hyperopt": ("hyperopt", "0.2.7"),
    "keras": ("keras", "3.0"),
    "lightgbm": ("lightgbm", "4.0"),
    "lightning": ("lightning", "2.2"),
    "matplotlib": ("matplotlib", "3.8"),
    "mlflow": ("mlflow", "2.10"),
    "nevergrad": ("nevergrad", "1.0"),
    "optuna": ("optuna", "4.0"),
    "plotly": ("plotly", "5.20"),
    "polars": ("polars", "1.0"),
    "pyarrow": ("pyarrow", "15.0"),
    "pytorch_lightning": ("pytorch-lightning", "2.2"),
    "ray": ("ray", "2.40"),
    "scipy": ("scipy", "1.15"),
    "sklearn": ("scikit-learn", "1.4"),
    "starlette": ("starlette", "0.37"),
    "tensorboardX": ("tensorboardX", "2.6"),
    "transformers": ("transformers", "4.41"),
    "uvicorn": ("uvicorn", "0.29"),
    "wandb": ("wandb", "0.19.10"),
    "xgboost": ("xgboost", "2.0"),
}


def optional(module: str, extra: str, who: str, least: str | None = None) -> ModuleType:
    """The module, imported now. ImportError says what ``who`` needs, which version is there, and how to install it.
    ``least``: the first version that works, where ``who`` needs a newer one than others do."""
    library = module.split(".")[0]
    check_version(library, extra, who, least)
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != library:
            raise  # the library is there; what it needs itself is not
        raise _missing(library, extra, who) from error


def require(library: str, extra: str, who: str) -> None:
    """The ImportError of :func:`optional`, without importing anything: the library is used in another process, or takes
    seconds to import."""
    from importlib.util import find_spec

    check_version(library, extra, who)
    if find_spec(library) is None:
        raise _missing(library, extra, who)


def check_version(library: str, extra: str, who: str, least: str | None = None) -> None:
    """ImportError for a library that is too old."""
    package, otherwise = PACKAGES.get(library, (library, "0"))
    least = least or otherwise
    there = installed(package)
    if there is not None and _numbers(there) < _numbers(least):
        raise ImportError(
            f"{who} needs {package} {least} or newer, and {there} is installed: pip install -U 'fasttune[{extra}]'",
            name=library,
        )


def _missing(library: str, extra: str, who: str) -> ImportError:
    return ImportError(
        f"{who} needs the library {library!r}, which is not installed: pip install 'fasttune[{extra}]'", name=library
    )


def installed(package: str) -> str | None:
    """The version of a package that is installed; None if none is, or it does not say."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """1.15.0rc1 as (1, 15, 0): enough to tell an old version from a new one."""
    found = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (found.group() if found else "").split(".") if part)


_threads: Any = None  # threadpoolctl's controller of the libraries that are loaded, made when it is first needed


def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra within is done by one thread, where threadpoolctl is installed (it comes with scipy's extra).

    Matrices of some hundred rows gain nothing from more, and on a machine whose cores train trials the threads of one
    factorisation wait for each other.
    """
    global _threads
    if _threads is None:
        try:
            import_module("scipy.linalg")  # brings a library of its own, which has to be there to be found
            _threads = import_module("threadpoolctl").ThreadpoolController()
        except ImportError:
            return nullcontext()
    limited: AbstractContextManager[Any] = _threads.limit(limits=1)
    return limited
