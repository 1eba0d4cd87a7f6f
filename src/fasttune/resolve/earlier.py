"""What the journal of the experiment that is gone on with says of what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.config import Experiment
from fasttune.error import TuneError
from fasttune.resolve.trainables import with_space
from fasttune.resolve.words import log
from fasttune.scope import DEFAULT_SCOPE

if TYPE_CHECKING:
    from fasttune.constraints import Constraints
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


def kind_before(metas: list[dict[str, Any]]) -> str | None:
    """The class of the searcher that the experiment which is gone on with had, within those that pass on its suggestions."""
    from fasttune.engine.going_on import latest

    found: Any = latest(metas)["searcher"] if metas else None
    while isinstance(found, dict) and isinstance(found["settings"].get("searcher"), dict):
        found = found["settings"]["searcher"]
    return str(found["kind"]) if isinstance(found, dict) else found if isinstance(found, str) else None


def near_of_run(
    given: object, goals: Mapping[str, str], constraints: Constraints, metas: list[dict[str, Any]], spaces: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The good configs of earlier experiments that a run begins near: those ``given`` (``warm_start_from``), or, where it goes on in
    the same space, those that its journal has. That others are given then is said."""
    from fasttune.engine.going_on import latest, number_of_space
    from fasttune.space.as_json import from_json_value, to_json_value
    from fasttune.warm_start.earlier import good_configs

    told = latest(metas).get("warm_start_from") if metas else None
    before = told if isinstance(told, list) else []
    in_new_space = bool(metas) and number_of_space(metas, spaces) > sum(bool(one.get("new_space")) for one in metas)
    if given is not None and (not before or in_new_space):
        return good_configs(given, goals, constraints)
    if given is not None:
        try:
            now = [to_json_value(one)[0] for one in good_configs(given, goals, constraints)]
            others = "others" if now != before else ""
        except (OSError, ValueError, TuneError) as error:
            others = f"not to be read any more ({type(error).__name__}: {error})"
        if others:
            log(
                "warm_start_from: the experiment was begun near %d configs, which its journal has, and goes on near those. The ones "
                "that are given now are %s. A run that begins near them needs another name",
                len(before), others,
            )  # fmt: skip
    return [from_json_value(one) for one in before]


def tell_what_is_forgotten(metas: list[dict[str, Any]]) -> None:
    """Say that the searcher knew results of elsewhere (``warm_start``), which nobody gives it now."""
    from fasttune.engine.going_on import latest

    source = latest(metas).get("warm_start") if metas else None
    if source is not None:
        log(
            "The experiment was begun with warm_start=%s, which only the program has: the searcher goes on without. Give it again",
            source,
        )


def constraints_before(asked: object, metas: list[dict[str, Any]]) -> Constraints:
    """What is asked of results from elsewhere: as of the run's own; a function that only the program has, and that is not given again,
    of none."""
    from fasttune.constraints import as_constraints
    from fasttune.engine.going_on import latest

    before = latest(metas).get("constraints") if metas and asked is None else asked
    return as_constraints(None if isinstance(before, dict) else before)


def scope_before(metas: list[dict[str, Any]]) -> Scope:
    """What says who is best: in an experiment that is gone on with what it was asked, else the usual."""
    from fasttune.engine.going_on import latest

    found: Scope = latest(metas).get("scope", DEFAULT_SCOPE) if metas else DEFAULT_SCOPE
    return found
