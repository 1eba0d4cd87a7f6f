"""Spaces and runs in TOML: read with words that name file, key and rule, and written so that they can be read back.

    lr = {loguniform = [1e-5, 1e-1]}      a domain, by the name that it has in fasttune, with its arguments in order
    layers = {randint = {lower = 1, upper = 5}}      or by their names
    optimizer = {choice = ["sgd", {name = "adam", beta = {uniform = [0.8, 0.99]}}]}
    batch = {grid_search = [32, 64]}      "grid" is the same
    epochs = 10                           anything else is a constant, a table a dict
    raw = {constant = {choice = 3}}       a constant that looks like a domain
"""

from __future__ import annotations

import inspect
import json
import keyword
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Any

from fasttune.cli import CommandError
from fasttune.tables.cells import of_python

DOMAINS = (
    "uniform", "quniform", "loguniform", "qloguniform", "randn", "qrandn", "randint", "qrandint", "lograndint",
    "qlograndint", "choice", "grid_search", "grid",
)  # fmt: skip
CONSTANT = "constant"
NO_DOMAIN = {"sample_from": "a function, which a file of text cannot hold"}
OPTIONS = ("choice", "grid_search", "grid")  # their one argument is a list of options

Table = dict[str, Any]


def read_table(path: str) -> Table:
    """The file's tables. CommandError for what is no TOML, with line and column; OSError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(f"{path} is no TOML: {error}") from error


def read_value(text: str) -> Any:
    """A value as TOML has it; what is none is text: 3, 1e-4, true, "a b", [1, 2], {uniform = [0, 1]}, adam. CommandError for what
    was meant as TOML and is none."""
    if "\n" in text or "\r" in text:
        return text
    try:
        found = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if text.lstrip()[:1] in ('{', '[', '"'):
            raise CommandError(f"{shown(text)} is no TOML ({error}). A text that begins so stands in quotes: '\"...\"'") from error
        name = re.match(r"\s*(\w+)\s*[(\[:{]", text)
        if name is not None and name[1] in DOMAINS:
            raise CommandError(f"{shown(text)} is a text: a domain is written {{{name[1]} = [...]}}, a text in quotes") from error
        return text
    return found["value"]


# ---- reading a space


def space_of(table: Mapping[str, Any], file: str) -> Table:
    """The search space that a table of TOML describes. CommandError names the file, the key and the rule."""
    return {key: _value(value, key, file) for key, value in table.items()}


def _value(value: Any, place: str, file: str) -> Any:
    if isinstance(value, dict):
        return _table(value, place, file)
    if isinstance(value, list):
        return [_value(part, f"{place}[{k}]", file) for k, part in enumerate(value)]
    if isinstance(value, date | datetime | time):
        raise CommandError(f"{file}: {place}: a date is no value of a search space, got {value}: write it as text, in quotes")
    return value


def _table(table: Table, place: str, file: str) -> Any:
    """A domain, a constant, or a nested dict."""
    if len(table) != 1:
        return {key: _value(value, f"{place}.{key}", file) for key, value in table.items()}
    ((name, given),) = table.items()
    if name == CONSTANT:
        return given
    if name in DOMAINS:
        return domain(name, given, place, file)
    if name in NO_DOMAIN:
        raise CommandError(f"{file}: {place}: {name} takes {NO_DOMAIN[name]}: run such a space from Python")
    near = near_domains(name)
    if near and isinstance(given, list):
        raise CommandError(
            f"{file}: {place}: there is no domain {name!r}; did you mean {near[0]!r}? The names are {', '.join(DOMAINS)}; a "
            f"table that is to be a constant is written {{constant = {{{name} = ...}}}}"
        )
    return {name: _value(given, f"{place}.{name}", file)}


def near_domains(name: str) -> list[str]:
    """The domain that was probably meant by a name that is none."""
    return get_close_matches(name, DOMAINS, n=1, cutoff=0.75)


def domain(name: str, given: Any, place: str, file: str) -> Any:
    """The domain of a name with its arguments: in order, or a table of them by name."""
    from fasttune.space import functions as space

    function: Callable[..., Any] = getattr(space, "grid_search" if name == "grid" else name)
    arguments: list[Any] = []
    named: Table = {}
    if name in OPTIONS:
        if not isinstance(given, list):
            raise CommandError(f"{file}: {place}: {name} takes a list of options, got {shown(given)}")
        arguments = [[_value(option, f"{place}.{name}[{k}]", file) for k, option in enumerate(given)]]
    elif isinstance(given, dict):
        named = given
    else:
        arguments = list(given) if isinstance(given, list) else [given]
    signature = inspect.signature(function)
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        raise CommandError(f"{file}: {place}: {name} takes {words_of(signature)}, got {shown(given)} ({error})") from error
    try:
        return function(*arguments, **named)
    except (ValueError, TypeError) as error:
        raise CommandError(f"{file}: {place}: {error}") from error


def words_of(signature: inspect.Signature) -> str:
    """"[lower, upper] or [lower, upper, base]"."""
    names = list(signature.parameters)
    needed = [name for name, one in signature.parameters.items() if one.default is one.empty]
    forms = [f"[{', '.join(needed)}]"] if needed else []
    return " or ".join([*forms, f"[{', '.join(names)}]"] if names != needed else forms)


def shown(value: Any) -> str:
    """A value for an error."""
    text = _written(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- writing


def as_toml(config: Mapping[str, Any]) -> str:
    """A config as TOML that ``space_of`` reads back. CommandError for None, which TOML has no value for."""
    lines = []
    for key, value in config.items():
        if has_none(value):
            raise CommandError(f"{key} is or holds None, and TOML has no value for that: --as json, or --as python")
        lines.append(f"{_key(key)} = {_written(_guarded(value))}\n")
    return "".join(lines)


def has_none(value: Any) -> bool:
    """Whether a value is None or holds it."""
    if isinstance(value, Mapping):
        return any(map(has_none, value.values()))
    return value is None or (isinstance(value, list | tuple) and any(map(has_none, value)))


def _guarded(value: Any) -> Any:
    """A constant, of Python's own types: a table in it that looks like a domain says that it is none."""
    value = of_python(value)
    if isinstance(value, dict):
        name = str(next(iter(value))) if len(value) == 1 else ""
        looks = name in (*DOMAINS, *NO_DOMAIN, CONSTANT) or near_domains(name)
        return {CONSTANT: value} if looks else {key: _guarded(one) for key, one in value.items()}
    return [_guarded(one) for one in value] if isinstance(value, list | tuple) else value


def _of_python(value: Any) -> Any:
    value = of_python(value)
    if isinstance(value, dict):
        return {key: _of_python(one) for key, one in value.items()}
    return type(value)(map(_of_python, value)) if type(value) in (list, tuple) else value


def _key(key: object) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _text(text)


def _text(text: str) -> str:
    whole = text.encode("utf-8", "backslashreplace").decode()  # TOML has no lone surrogates
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, Mapping):
        kept = [f"{_key(key)} = {_written(one)}" for key, one in value.items()]
        return f"{{{', '.join(kept)}}}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"[{', '.join(_written(one) for one in value)}]"
    return _text(value if isinstance(value, str) else str(value))


def as_keywords(config: Mapping[str, Any]) -> str:
    """A config as the keyword arguments of a call in Python: lr=0.05, opt={'name': 'sgd'}."""
    config = {key: _of_python(value) for key, value in config.items()}
    plain = {key: value for key, value in config.items() if str(key).isidentifier() and not keyword.iskeyword(str(key))}
    rest = {key: value for key, value in config.items() if key not in plain}
    words = [f"{key}={value!r}" for key, value in plain.items()]
    return ", ".join([*words, f"**{rest!r}"] if rest else words)
