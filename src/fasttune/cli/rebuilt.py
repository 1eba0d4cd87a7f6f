"""Scheduler and searcher of an experiment, made again from what its journal says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fasttune.cli import CommandError

RANDOM = "BasicVariantGenerator"


def asked_of(folder: str) -> Mapping[str, Any]:
    """What the experiment was asked last. CommandError when it was begun by an earlier version that did not tell."""
    from fasttune.engine.going_on import latest
    from fasttune.engine.meta import read_metas
    from fasttune.storage.reader import SqliteReader

    asked = latest(read_metas(SqliteReader(folder, fixed=True), folder))
    if "old" in asked:
        raise CommandError(f"the journal in {folder} is of an earlier version, and does not say what it was asked")
    return asked


def scheduler_of(asked: Mapping[str, Any]) -> Any:
    """The scheduler, new; None for none. CommandError when only the program has it, or a part of it."""
    from fasttune import schedulers

    told = asked["scheduler"]
    if told["kind"] == "FIFOScheduler":
        return None

    def find(kind: str) -> Any:
        return getattr(schedulers, kind) if kind in schedulers.__all__ else None

    return made(told, find, "scheduler")


def searcher_of(asked: Mapping[str, Any]) -> Any:
    """The searcher, new; None for random and grid search as it is without one. CommandError, likewise."""
    told = asked["searcher"]
    if told["kind"] == "UniqueSearch" and asked.get("on_duplicate") == "skip":
        told = told["settings"]["searcher"]  # the run puts one around it again
    if told["kind"] == RANDOM and not any(told["settings"].values()):
        return None
    return made(told, _searcher_class, "searcher")


def stop_of(asked: Mapping[str, Any]) -> Any:
    """``stop=``: thresholds and stoppers; None for none. CommandError, likewise."""
    from fasttune import stopper
    from fasttune.identity import from_description

    def find(kind: str) -> Any:
        found = getattr(stopper, kind, None)
        return found if isinstance(found, type) and issubclass(found, stopper.Stopper) else None

    thresholds = from_description(asked["stop"])
    found = [made(told, find, "stopper") for told in asked.get("stoppers") or ()]
    return [*([thresholds] if thresholds else []), *found] or None


def _searcher_class(kind: str) -> Any:
    from importlib import import_module

    from fasttune import search

    if kind in search.__all__:
        return getattr(search, kind)
    module = search._ADAPTERS.get(kind)
    return None if module is None else getattr(import_module(f"fasttune.search.{module}"), kind)


def made(told: Mapping[str, Any], find: Callable[[str], Any], what: str) -> Any:
    """One of this kind with these settings."""
    from fasttune.identity import from_description

    kind = told["kind"]
    found = find(kind)
    if found is None:
        raise CommandError(f"its {what} is a {kind}, which only the program has: do it from Python")
    try:
        settings = {
            name: made(value, find, what)
            if isinstance(value, dict) and value.keys() == {"kind", "settings"}
            else from_description(value)
            for name, value in told["settings"].items()
        }
        return found(**settings)
    except LookupError as error:
        raise CommandError(
            f"its {what}, {kind}, was made with {' '.join(map(str, error.args))}, which only the program has: do it from Python"
        ) from error
    except (TypeError, ValueError, ImportError) as error:
        raise CommandError(f"its {what}, {kind}, cannot be made again from the journal: {error}") from error
