"""What a run that goes on with an earlier one may ask otherwise, and what it may not.

The journal says what its run was asked, and each later session that was asked something else (``asked.py``). A session that goes
on compares (``compared``) before it writes anything: what would make the past another one, or would let a scheduler or a
searcher go on with memories of another kind, is refused with the words of both (``check``). The search space may change when
that is said: from the next trial on, and never for those that exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.engine.asked import AS_THE_RUN_SAYS, RANDOM, asked_of
from fasttune.error import ResumeError
from fasttune.identity import GONE, NEW, described, differences, from_description, same, without_addresses
from fasttune.result import flatten
from fasttune.space.as_json import from_json_value, to_json_value

if TYPE_CHECKING:
    from fasttune.config import RunSpec

class Compared(NamedTuple):
    """How a run differs from what the journal says, in words."""

    refused: list[str]  # never in the same experiment
    space: list[str]  # only when it is said
    allowed: bool  # something else that may change has changed


# ---- comparing ----------------------------------------------------------------------------------------------------


def latest(metas: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the journal was last asked, as far as it says: journals of earlier versions say less."""
    first = metas[0]
    for meta in reversed(metas):
        if "asked" in meta:
            asked: Mapping[str, Any] = meta["asked"]
            return asked
    return {"old": True, **{key: first.get(key) for key in ("metric", "mode", "scheduler", "searcher", "stop")}} | {
        "trainables": [
            {
                "name": one["name"],
                "is_class": one.get("is_class"),
                "num_samples": one["num_samples"],
                "space": first["variants"][k]["space"] if k < len(first.get("variants") or ()) else None,
                "names": one["space"],
            }
            for k, one in enumerate(first["trainables"])
        ]
    }


def compared(metas: Sequence[Mapping[str, Any]], spec: RunSpec) -> Compared:
    """How the run that is asked now differs from the latest one of the journal."""
    before, now = latest(metas), asked_of(spec)
    refused = [
        f"{name}: {before[name]!r} was, {now[name]!r} is"
        for name in ("metric", "mode", "objectives", "on_duplicate")
        if name in before and before[name] != now[name]
    ]
    refused += _kinds(before, now)
    names = [one["name"] for one in before["trainables"]], [one.name for one in spec.trainables]
    space: list[str] = []
    if names[0] != names[1]:
        refused.append(f"trainable: {', '.join(names[0])} was, {', '.join(names[1])} is")
    else:
        for k, (was, one) in enumerate(zip(before["trainables"], spec.trainables, strict=True)):
            if was["is_class"] is not None and was["is_class"] != isinstance(one.trainable, type):
                kinds = ("a function", "a class")
                refused.append(f"{one.name}: {kinds[was['is_class']]} was, {kinds[not was['is_class']]} is")
            prefix = f"{one.name}/" if len(spec.trainables) > 1 else ""
            space += [prefix + text for text in _space(was, one.space, now["trainables"][k]["space"])]
    space += differences(_own_space(before["searcher"]), _own_space(now["searcher"]), "search_alg")
    settled = {**now, "trainables": [{**one, "space": None} for one in now["trainables"]]}
    known = {**before, "trainables": [{**one, "space": None} for one in before["trainables"]]}
    had, attached = known.pop("user_attrs", {}), settled.pop("user_attrs")
    more = any(had.get(name, had) != value for name, value in attached.items())
    return Compared(refused, space, more or not same(known, settled, loosely=True))


def _kinds(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Scheduler and searcher: another kind, or other settings."""
    found: list[str] = []
    for name in ("scheduler", "searcher"):
        was, is_ = before[name], now[name]
        if isinstance(was, str):  # of an earlier version: the kind alone, of a searcher the outermost one's
            told = was if was not in AS_THE_RUN_SAYS else is_["kind"]
            random = RANDOM in (told, is_["kind"]) and name == "searcher"
            if told != is_["kind"] and (name == "scheduler" or random):
                found.append(f"{name}: {told} was, {is_['kind']} is")
        elif was["kind"] != is_["kind"]:
            why = " (that of a run with a prior, or warm_start_from, and no search_alg)" if is_["kind"] == "PriorSearch" else ""
            found.append(f"{name}: {was['kind']} was, {is_['kind']} is{why}")
        else:
            found += differences(_without_space(was)["settings"], _without_space(is_)["settings"], name, loosely=True)
    return found


def _without_space(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a searcher, and of those in it, without the space that it was made with."""
    kept = {name: value for name, value in settings["settings"].items() if name != "space"}
    nested = {
        name: _without_space(value) for name, value in kept.items() if isinstance(value, dict) and "settings" in value
    }
    return {**settings, "settings": {**kept, **nested}}


def _own_space(settings: Any) -> Any:
    """The space that a searcher, or one in it, was made with; None: that of the run."""
    if not isinstance(settings, dict) or "settings" not in settings:
        return None
    own = settings["settings"].get("space")
    return own if own is not None else next(filter(None, map(_own_space, settings["settings"].values())), None)


def _space(was: Mapping[str, Any], space: Mapping[str, Any], form: Any) -> list[str]:
    """What is another in the space of one experiment."""
    if "names" not in was:
        return differences(was["space"], form)
    if was["space"] is not None:
        return differences(without_addresses(was["space"]), without_addresses(to_json_value(dict(space))[0]))
    old, new = set(was["names"]), set(map(str, flatten(dict(space))))
    return [f"{name}: {GONE}" for name in sorted(old - new)] + [f"{name}: {NEW}" for name in sorted(new - old)]


def earlier_space(metas: Sequence[Mapping[str, Any]], k: int, path: str) -> dict[str, Any]:
    """The space that experiment k was last asked with, made of what the journal says; ResumeError if it holds functions or
    objects, which only the program has."""
    trainables = latest(metas)["trainables"]
    if k >= len(trainables):
        return {}
    told = [one["variants"] for one in metas if one.get("variants") and (one is metas[0] or one.get("new_space"))]
    space = trainables[k].get("space")
    try:
        if told and told[-1][k]["exact"]:
            made = from_json_value(told[-1][k]["space"])
        else:
            made = None if space is None else from_description(space)
    except (LookupError, TypeError, ValueError) as error:
        raise ResumeError(
            f"the experiment in {path} was asked with a config that holds {error}, which only the program has: give config= "
            "again, as it was"
        ) from None
    return made if isinstance(made, dict) else {}


def number_of_space(metas: Sequence[Mapping[str, Any]], spaces: Sequence[Mapping[str, Any]]) -> int:
    """How many spaces the experiment had before that of ``spaces``, which is its last one or a new one."""
    before = latest(metas)["trainables"]
    new = any(_space(was, space, described(dict(space))) for was, space in zip(before, spaces, strict=False))
    return sum(bool(told.get("new_space")) for told in metas) + new


def check(metas: Sequence[Mapping[str, Any]], spec: RunSpec) -> Compared:
    """:func:`compared`; ResumeError for what cannot be."""
    found = compared(metas, spec)
    if found.refused:
        raise ResumeError(
            f"the experiment in {spec.path} cannot go on as it is asked now:\n"
            + "".join(f"    {text}\n" for text in found.refused)
            + "Ask what was asked before, or give this run another name"
        )
    if found.space and not (spec.resume is not None and spec.resume.new_space):
        raise another_space(spec.path, found.space)
    return found


def check_space(path: str, meta: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """ResumeError if ``space`` is not that of the first experiment of ``meta``, see :func:`latest`."""
    found = _space(meta["trainables"][0], space, described(dict(space)))
    if found:
        raise another_space(path, found)


def another_space(path: str, found: Sequence[str]) -> ResumeError:
    """The error that says what is another in the search space."""
    keys = any(text.endswith(GONE) or NEW in text for text in found)
    return ResumeError(
        f"the search space of the experiment in {path} is another one now:\n"
        + "".join(f"    {text}\n" for text in found)
        + ("A space must have the keys it had before. " if keys else "")
        + "Its trials keep the configs that they were trained with. Give the space that was, or this run another "
        "name; or let the new space hold from the next trial on: resume='AUTO+NEW_SPACE', "
        "ResumeConfig(new_space=True) or Tuner.restore(..., new_space=True)"
    )
