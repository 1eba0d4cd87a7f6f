"""What records of a journal have to say, so that whatever is asked of an experiment later has an answer.

A journal may be a stranger's: a record that says something else is a JournalError, which names it, the rule and the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from fasttune.checkpoint import is_checkpoint_name
from fasttune.error import JournalError, TuneError
from fasttune.metric_values import from_json
from fasttune.once import warn_in_run
from fasttune.plain_files import is_folder_name
from fasttune.result import LATEST
from fasttune.scope import DEFAULT_SCOPE, SCOPES
from fasttune.space.as_json import config_from_json
from fasttune.space.variants import Variants

DEEPEST = 100  # lists and dicts within each other in a record's JSON
FREE_TRIALS = 1_500_000  # that may be announced, and not begun yet, with no bytes that say what they are: 20 MB
PREFIX = r"[0-9A-Za-z_-]{1,64}"
WRONG = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, TuneError)

Wanted = type | tuple[type, ...] | Callable[[Any], bool]


def parsed(text: str | bytes, what: str) -> dict[str, Any]:
    """The JSON object of a record."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"{what} is no JSON: {type(error).__name__}: {error}") from None
    if not isinstance(told, dict):
        raise JournalError(f"{what} must be a JSON object, got {short(told)}")
    check_depth(told, what)
    return told


def extras(text: bytes) -> dict[str, Any]:
    """A report's values that are no numbers; none where the text is not what ``report`` writes. Its numbers stay."""
    try:
        if text.count(b"{") + text.count(b"[") > DEEPEST:
            check_depth(json.loads(text), "a report")
        told = from_json(text)
    except (ValueError, TypeError, KeyError, RecursionError, JournalError) as error:
        warn_in_run(f"values of a report that are no numbers cannot be read: {error}", RuntimeWarning, stacklevel=2)
        return {}
    return told if isinstance(told, dict) else {}


def check_depth(value: Any, what: str) -> None:
    """JournalError where lists and dicts lie within each other more deeply than anybody writes them."""
    level = [value]
    for _ in range(DEEPEST):
        level = [part for one in level for part in parts_of(one)]
        if not level:
            return
    raise JournalError(f"{what} has lists and dicts in each other {DEEPEST} deep")


def parts_of(value: Any) -> list[Any]:
    """The containers in a container."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in parts if isinstance(part, (dict, list))]


def check_fields(told: Mapping[str, Any], wanted: Mapping[str, Wanted], what: str) -> None:
    """JournalError unless each of these keys is there, with a value of its type, or for which the function is true."""
    for key, rule in wanted.items():
        if key not in told:
            raise JournalError(f"{what} does not say {key!r}")
        value = told[key]
        fits = isinstance(value, rule) if isinstance(rule, (type, tuple)) else rule(value)
        if not fits or (isinstance(value, bool) and rule is not bool):
            raise JournalError(f"{what} says {key} = {short(value)}")


def short(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        return f"a {type(value).__name__}"


NONE = type(None)
NUMBER = (int, float)
TEXTS = (str, NONE)


def is_request(value: Any) -> bool:
    """Whether it says what a trial needs, as ``PlacementGroupFactory.__reduce__`` gives it, or nothing."""
    if value is None:
        return True
    if not isinstance(value, list) or not 1 <= len(value) <= 2:
        return False
    from fasttune.devices.resources import PlacementGroupFactory

    try:
        PlacementGroupFactory(*value)
    except WRONG:
        return False
    return True


TRAINABLE: dict[str, Wanted] = {
    "name": str,
    "num_samples": int,
    "space": lambda names: isinstance(names, list) and all(isinstance(name, str) for name in names),
}
META: dict[str, Wanted] = {
    "name": str,
    "prefix": lambda prefix: isinstance(prefix, str) and re.fullmatch(PREFIX, prefix) is not None,
    "metric": TEXTS,
    "mode": lambda mode: mode in (None, "min", "max"),
    "seed": int,
    "hostname": str,
    "created": lambda time: isinstance(time, NUMBER) and 0 <= time < LATEST,
    "scheduler": str,
    "searcher": str,
    "trainables": list,
    "variants": list,
}


def check_meta(meta: dict[str, Any], path: str) -> None:
    """What ExperimentRecords builds on."""
    what = f"the description of the experiment at {path!r}"
    check_fields(meta, META, what)
    if not isinstance(meta.get("pid", 0), int) or not isinstance(meta.get("stop", {}), (dict, NONE)):
        raise JournalError(f"{what} says pid = {short(meta.get('pid'))}, stop = {short(meta.get('stop'))}")
    machine = meta.get("machine", {})
    if not isinstance(machine, dict) or not all(isinstance(n, NUMBER) for n in machine.values()):
        raise JournalError(f"{what} says machine = {short(machine)}")
    if not meta["trainables"] or len(meta["variants"]) not in (0, len(meta["trainables"])):
        raise JournalError(
            f"{what} has {len(meta['trainables'])} trainables and {len(meta['variants'])} search spaces"
        )
    check_asked(meta.get("asked"), what)
    for one in meta["trainables"]:
        if not isinstance(one, dict):
            raise JournalError(f"{what} says of a trainable {short(one)}")
        check_fields(one, TRAINABLE, what)
        if not is_request(one.get("resources")):
            raise JournalError(f"{what} says resources = {short(one.get('resources'))}")


def check_asked(asked: Any, what: str) -> None:
    """What a run was asked, for whoever would go on with it. Journals of earlier versions do not say it."""
    if asked is None:
        return
    named = isinstance(asked, dict) and isinstance(asked.get("trainables"), list) and asked["trainables"]
    if not named or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in asked["trainables"]):
        raise JournalError(f"{what} says asked = {short(asked)}")
    if asked.get("scope", DEFAULT_SCOPE) not in SCOPES:
        raise JournalError(f"{what} says scope = {short(asked['scope'])}")
    if not isinstance(asked.get("user_attrs", {}), dict):
        raise JournalError(f"{what} says user_attrs = {short(asked['user_attrs'])}")


def variants_of(spaces: list[Any], path: str) -> list[Variants]:
    """The configs by number of each search space."""
    made = []
    for told in spaces:
        try:
            check_depth(told, "a search space")
            made.append(Variants.from_meta(told))
        except WRONG as error:
            raise JournalError(
                f"the search space of the experiment at {path!r} cannot be read: {type(error).__name__}: {error}"
            ) from error
    return made


def suggestion(text: str, trial: int, trainables: int, objects: bool) -> tuple[dict[str, Any], bool]:
    """What a searcher suggested for a trial, and whether its config is as it was: see ``config_from_json``."""
    what = f"the config of trial {trial}"
    told = parsed(text, what)
    check_fields(told, {"experiment": int, "config": dict, "params": dict}, what)
    if not 0 <= told["experiment"] < trainables:
        raise JournalError(f"{what} is of experiment {told['experiment']}, and there are {trainables}")
    config, whole = values(told["config"], objects, what)
    return {**told, "config": config, "params": values(told["params"], objects, what)[0]}, whole


def values(form: Any, objects: bool, what: str) -> tuple[dict[str, Any], bool]:
    """The config of a form, and whether it is as it was."""
    try:
        config, whole = config_from_json(form, objects)
    except WRONG as error:
        raise JournalError(f"{what} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(config, dict):
        raise JournalError(f"{what} says {short(config)} in place of a config")
    return config, whole


NAMING: dict[str, Wanted] = {
    "name": TEXTS,
    "dirname": lambda name: name is None or is_folder_name(name),
    "resources": is_request,
    "added": (dict, NONE),
    "attributes": (dict, NONE),
}


def naming(data: bytes, trial: int) -> dict[str, Any]:
    """What a user's functions said of a trial: its name, its folder, its request; or what they add to a result of it; or
    its attributes."""
    what = f"what was told of trial {trial}"
    told = parsed(data.rstrip(b"\0"), what)
    check_fields({"name": None, "dirname": None, "resources": None, "added": None, "attributes": None, **told}, NAMING, what)
    return told


def check_told_by_trial(data: bytes, trial: int) -> None:
    """JournalError unless what is told of a trial is what it may say itself: its attributes."""
    told = naming(data, trial)
    others = sorted(key for key in NAMING if key != "attributes" and told.get(key) is not None)
    if others:
        raise JournalError(f"a trial tells its attributes alone, and trial {trial} tells {', '.join(others)} of itself")


CHANGE: dict[str, Wanted] = {
    "config": (dict, NONE),
    "tag": TEXTS,
    "resources": is_request,
    "checkpoint": lambda name: name is None or is_checkpoint_name(name),
    "iteration": int,
    "seconds": NUMBER,
}


def change(text: str, trial: int, trials: int, objects: bool) -> tuple[dict[str, Any], bool]:
    """How a trial goes on otherwise, and whether its config is as it was."""
    what = f"the change of trial {trial}"
    told = parsed(text, what)
    check_fields(told, CHANGE, what)
    donor = told.get("donor")
    if donor is not None and (isinstance(donor, bool) or not isinstance(donor, int) or not 0 <= donor < trials):
        raise JournalError(f"{what} says donor = {short(donor)}, and there are {trials} trials")
    config, whole = (None, True) if told["config"] is None else values(told["config"], objects, what)
    return {**told, "donor": donor, "config": config}, whole


def checkpoint_name(path: str, trial: int) -> str:
    """The path of a checkpoint in the experiment's folder."""
    if not is_checkpoint_name(path):
        raise JournalError(
            f"a checkpoint of trial {trial} is said to be at {short(path)}, which is no place for one: "
            "it must be <trial folder>/<name>"
        )
    return path


def check_announced(trial: int, n: int, size: int, variants: list[Variants], waiting: int) -> None:
    """JournalError when ``n`` trials from ``trial`` on, announced in ``size`` bytes while ``waiting`` others had not begun,
    cannot be: before any memory is taken for them."""
    if not variants:
        raise JournalError(f"{n} trials from {trial} on are announced as a block, and a searcher suggests one by one")
    if waiting + n > FREE_TRIALS and 4 * n > size:  # an old block has 8 bytes for each number, JSON at least 5 for a config
        raise JournalError(
            f"{n} trials from {trial} on are announced while {waiting} wait: fasttune hands out fewer at a time"
        )
