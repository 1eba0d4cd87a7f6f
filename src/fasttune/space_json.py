"""Search spaces and configs as JSON, for journals.

Plain values are themselves. Everything else is an object with the key "~", which names its kind.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from fasttune.space import (
    Categorical,
    Config,
    Domain,
    Float,
    Function,
    Grid,
    Integer,
    LogUniform,
    Normal,
    Quantized,
    Sampler,
    SearchSpaceError,
    Uniform,
    grid_of,
)


class _JsonWriter:
    """Turns spaces and values into JSON-able ones. ``exact`` turns False once something had to become
    text."""

    def __init__(self) -> None:
        self.exact = True

    def encode(self, value: Any) -> Any:
        if value is None or type(value) in (bool, int, str):
            return value
        if isinstance(value, float):
            self.exact &= type(value) is float
            return float(value) if math.isfinite(value) else {"~": "number", "text": repr(float(value))}
        if isinstance(value, Domain):
            return self._domain(value)
        if isinstance(value, dict):
            return self._dict(value)
        if type(value) is list:
            return [self.encode(part) for part in value]
        if isinstance(value, (list, tuple)):
            self.exact &= type(value) is tuple
            return {"~": "tuple", "items": [self.encode(part) for part in value]}
        if type(value) is range:
            return {"~": "range", "start": value.start, "stop": value.stop, "step": value.step}
        return self._text(value)

    def _dict(self, value: dict[Any, Any]) -> Any:
        self.exact &= type(value) is dict
        grid = grid_of(value)
        if grid is not None:
            return {"grid_search": self.encode(grid if type(grid) is range else list(grid))}
        if "~" not in value and all(type(key) is str for key in value):
            return {key: self.encode(part) for key, part in value.items()}
        return {"~": "dict", "items": [[self.encode(key), self.encode(part)] for key, part in value.items()]}

    def _domain(self, domain: Domain) -> Any:
        quantized = domain.sampler if isinstance(domain.sampler, Quantized) else None
        sampler = quantized.sampler if quantized else domain.sampler
        form: dict[str, Any]
        if type(domain) in (Float, Integer) and type(sampler) in (type(None), Uniform, LogUniform, Normal):
            bounds = [self.encode(domain.lower), self.encode(domain.upper)]  # type: ignore[attr-defined]
            form = {"~": type(domain).__name__, "bounds": bounds}
        elif type(domain) is Categorical and type(sampler) in (type(None), Uniform, Grid):
            form = {"~": "Categorical", "options": [self.encode(option) for option in domain.categories]}
        else:
            self.exact = False
            return {"~": "Function", "text": repr(domain)}
        if sampler is not None:
            form["sampler"] = type(sampler).__name__
        if isinstance(sampler, Normal):
            form.update(mean=sampler.mean, sd=sampler.sd)
        return {**form, "q": quantized.q} if quantized else form

    def _text(self, value: Any) -> Any:
        """A number that knows its plain value (numpy's scalars), or how the object prints."""
        self.exact = False
        if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
            return self.encode(value.item())
        if isinstance(value, int):
            return int(value)
        try:
            return str(value)
        except Exception:  # a user's __str__ must not end the run
            return object.__repr__(value)


class _Gone:
    """Stands for a function whose code is not at hand."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self) -> Any:
        raise SearchSpaceError(f"{self.text} was read from a file, which does not hold its code")


def to_json_value(value: Any) -> tuple[Any, bool]:
    """A JSON-able form of any space or value, and whether ``from_json_value`` gives exactly the same back.

    What JSON cannot say becomes its text.
    """
    writer = _JsonWriter()
    encoded = writer.encode(value)
    return encoded, writer.exact


def from_json_value(form: Any) -> Any:
    """The space or value that ``to_json_value`` made this form of."""
    if isinstance(form, list):
        return [from_json_value(part) for part in form]
    if not isinstance(form, dict):
        return form
    if "~" not in form:
        return {key: from_json_value(part) for key, part in form.items()}
    kind = form["~"]
    if kind == "number":
        return float(form["text"])
    if kind == "tuple":
        return tuple([from_json_value(part) for part in form["items"]])
    if kind == "dict":
        return {from_json_value(key): from_json_value(part) for key, part in form["items"]}
    if kind == "range":
        return range(form["start"], form["stop"], form["step"])
    return _domain_from_json(kind, form)


def _domain_from_json(kind: str, form: dict[str, Any]) -> Domain:
    domain: Domain
    if kind == "Function":
        return Function(_Gone(form["text"]))
    if kind == "Categorical":
        domain = Categorical([from_json_value(option) for option in form["options"]])
    elif kind in ("Float", "Integer"):
        bounds = [from_json_value(bound) for bound in form["bounds"]]
        domain = Float(*bounds) if kind == "Float" else Integer(*bounds)
    else:
        raise SearchSpaceError(f"a search space in JSON has no kind {kind!r}")
    name = form.get("sampler")
    if name is not None:
        normal = {"mean": form["mean"], "sd": form["sd"]} if name == "Normal" else {}
        domain = domain.with_sampler(_SAMPLERS[name](**normal))
    return domain.with_sampler(Quantized(domain.get_sampler(), form["q"])) if "q" in form else domain


_SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "Uniform": Uniform,
    "LogUniform": LogUniform,
    "Normal": Normal,
    "Grid": Grid,
}


def space_to_json(space: Mapping[str, Any]) -> str | None:
    """The space as JSON text, None if it holds objects or functions, which JSON cannot give back."""
    form, exact = to_json_value(dict(space))
    return json.dumps(form) if exact else None


def space_from_json(text: str) -> Config:
    """The space that ``space_to_json`` wrote."""
    space: Config = from_json_value(json.loads(text))
    return space
