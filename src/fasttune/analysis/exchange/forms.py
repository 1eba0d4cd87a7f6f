"""Which forms there are, and what is the same for all. Nothing of a form, nor of its library, is loaded before it is asked
for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fasttune.analysis.experiment_analysis import ExperimentAnalysis


class Format(NamedTuple):
    """One form."""

    words: str  # what it is, in a line
    endings: tuple[str, ...] = ()  # of files that are it without being called so
    library: tuple[str, str] | None = None  # what it needs beyond fasttune: a module, and the extra that brings it
    makes_folders: bool = False  # it is a folder, and made with those above it


FORMATS = {
    "csv": Format("text, a row for each trial or report", (".csv",)),
    "jsonl": Format("JSON lines, an object for each trial or report", (".jsonl", ".ndjson")),
    "parquet": Format("columns, for pandas, Polars, DuckDB, Spark", (".parquet", ".pq"), ("pyarrow", "arrow")),
    "sqlite": Format("tables trials and reports, for SQL", (".sqlite", ".sqlite3", ".db")),
    "ray": Format("a folder that Ray Tune's ExperimentAnalysis opens", makes_folders=True),
    "optuna": Format("a study in an Optuna storage, for optuna-dashboard", (), ("optuna", "optuna")),
    "mlflow": Format("a run for each trial, in an MLflow store", (), ("mlflow", "mlflow")),
}


def export(analysis: ExperimentAnalysis, path: str | os.PathLike[str], form: str | None = None, /, **options: Any) -> str:
    """What ``ExperimentAnalysis.export`` does."""
    name = format_of(path, form)
    write: Any = writer(name)
    check_options(name, write, options)
    check_library(name, "analysis.export to")
    check_folder(name, os.fspath(path))
    written: str = write(analysis, os.fspath(path), **options)
    return written


def format_of(path: str | os.PathLike[str], form: str | None) -> str:
    """The form that is meant by its name, or by how the path ends. ValueError says which there are."""
    if form is not None and not isinstance(form, str):
        raise TypeError(f"format must be a name, one of {', '.join(FORMATS)}, got {form!r:.80}")
    if form in FORMATS:
        return form
    if form is not None:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {form!r}")
    ending = os.path.splitext(os.fspath(path))[1].lower()
    for name, one in FORMATS.items():
        if ending in one.endings:
            return name
    raise ValueError(f"{os.fspath(path)!r} does not say in which form: give format=, one of {', '.join(FORMATS)}")


def writer(name: str) -> Any:
    """The function that writes a form."""
    from importlib import import_module

    return import_module(f"fasttune.analysis.exchange.{name}").write


def check_options(name: str, write: Any, options: dict[str, Any]) -> None:
    """TypeError for an option that the form does not have."""
    import inspect

    known = list(inspect.signature(write).parameters)[2:]
    unknown = [option for option in options if option not in known]
    if unknown:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise TypeError(f"format {name!r} has no option {unknown[0]!r}; {has}")


def check_folder(name: str, path: str) -> None:
    """FileNotFoundError for a file in a folder that is not there: each library has words of its own for it."""
    folder = os.path.dirname(os.path.abspath(path))
    if "://" not in path and not FORMATS[name].makes_folders and not os.path.isdir(folder):
        raise FileNotFoundError(f"{path!r} cannot be written: there is no folder {folder!r}")


def check_library(name: str, who: str) -> None:
    """ImportError, which says what to install, unless the form's library is there."""
    from fasttune.extras import optional

    library = FORMATS[name].library
    if library is not None:
        optional(*library, f"{who} {name}")
