"""What the journal of the experiment that is gone on with says of what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.config import Experiment
from fasttune.resolve.trainables import with_space
from fasttune.scope import DEFAULT_SCOPE

if TYPE_CHECKING:
    from fasttune.scope import Scope


def seed_of_search(seed: int, metas: list[dict[str, Any]], spaces: Sequence[Mapping[str, Any]]) -> int:
    """The seed of a searcher that is made here: in a later search space of the same experiment another one, or it would
    begin as it did before."""
    from fasttune.engine.going_on import number_of_space
    from fasttune.space.seeds import derive_seed

    number = number_of_space(metas, spaces) if metas else 0
    return derive_seed(seed, number) if number else seed


def earlier_metas(folder: str) -> list[dict[str, Any]]:
    """What an experiment's journal says of its sessions; [] if the run ended before it wrote anything."""
    from fasttune.engine.meta import read_metas
    from fasttune.error import JournalError
    from fasttune.storage.reader import SqliteReader

    try:
        return read_metas(SqliteReader(folder), folder)
    except JournalError:
        return []


def with_earlier_space(
    experiment: Experiment, k: int, metas: Sequence[Mapping[str, Any]], earlier: str | None
) -> Experiment:
    """Experiment number k; one that says no config goes on with the one that was. ResumeError if only the program has it."""
    if experiment.has_config or not metas:
        return experiment
    from fasttune.engine.going_on import earlier_space

    return with_space(experiment, earlier_space(metas, k, str(earlier)))


def declared_before(metas: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The kinds of resources that the session before had declared."""
    from fasttune.devices.resources import check_declared
    from fasttune.engine.going_on import latest

    return check_declared(latest(metas).get("resources") or {}) if metas else {}


def chosen_before(metas: list[dict[str, Any]]) -> str | None:
    """The name of the searcher that the experiment which is gone on with was begun with: more samples do not change it."""
    from fasttune.engine.going_on import latest
    from fasttune.search.auto import KINDS

    found: Any = latest(metas)["searcher"] if metas else None
    while isinstance(found, dict) and found["kind"] not in KINDS:
        found = found["settings"].get("searcher")
    return KINDS.get(found["kind"] if isinstance(found, dict) else found)


def near_before(metas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The good configs of earlier experiments that the one which is gone on with was begun near, as its journal has them."""
    from fasttune.engine.going_on import latest
    from fasttune.space.as_json import from_json_value

    told = latest(metas).get("warm_start_from") if metas else None
    return [from_json_value(one) for one in told] if isinstance(told, list) else []


def scope_before(metas: list[dict[str, Any]]) -> Scope:
    """What says who is best: in an experiment that is gone on with what it was asked, else the usual."""
    from fasttune.engine.going_on import latest

    found: Scope = latest(metas).get("scope", DEFAULT_SCOPE) if metas else DEFAULT_SCOPE
    return found
