"""Search spaces and configs as JSON, for journals.

Plain values are themselves. Everything else is an object with the key "~", which names its kind: domains, containers, the
values of ``json_kinds``. An object of any other type is the nearest that JSON has, or its text. In a config its pickle lies
beside that: only a run that goes on opens it (``config_from_json``), and nobody who looks at an experiment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from fasttune.json_kinds import decoded, encoded, is_kind
from fasttune.script import dumps
from fasttune.space.domains import (
    Categorical,
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
from fasttune.space.nested import Config

LARGEST_PICKLE = 1 << 20  # bytes of an object that are kept with a config


class _JsonWriter:
    """Turns spaces and values into JSON-able ones. ``exact`` turns False once something had to become
    text. ``objects``: with the pickle of what is not exact."""

    def __init__(self, objects: bool = False) -> None:
        self.exact = True
        self._objects = objects

    def encode(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        form = encoded(value, self.encode)
        if form is not None or kind is int:
            return value if form is None else form
        if self._objects and not isinstance(value, Domain) and kind not in (float, dict, list, tuple, range):
            return self._object(value)
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
        if domain.has_prior:
            place = domain.place_of(domain.prior) if isinstance(domain, Categorical) else domain.prior
            form["prior"] = self.encode(place)
        return {**form, "q": quantized.q} if quantized else form

    def _object(self, value: Any) -> Any:
        self.exact = False
        import base64

        form = {"~": "object", "plain": _JsonWriter().encode(value)}
        try:
            data = dumps(value)
        except Exception:  # whatever a user's object raises: it is only text then
            return form
        return {**form, "pickle": base64.b64encode(data).decode("ascii")} if len(data) <= LARGEST_PICKLE else form

    def _text(self, value: Any) -> Any:
        """The plain value of a number, or how the object prints."""
        self.exact = False
        if isinstance(value, int):
            return int(value)
        try:
            return str(value)
        except Exception:  # a user's __str__ must not end the run
            return object.__repr__(value)


class _MissingFunction:
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
    return _JsonReader(False).decode(form)


def config_to_json(config: Any) -> Any:
    """A JSON-able form of values that a trial was given, from which a run that goes on makes them as they were."""
    return _JsonWriter(objects=True).encode(config)


def comparable(config: Any) -> str | None:
    """A text that only equal configs have: objects by their pickles. None if one cannot be pickled: nobody knows then what
    equals it."""
    writer = _Comparable()
    form = writer.encode(config)
    return None if writer.lost else json.dumps(form, sort_keys=True)


class _Comparable(_JsonWriter):
    """Writes a digest of the pickle in place of an object."""

    def __init__(self) -> None:
        super().__init__(objects=True)
        self.lost = False

    def _object(self, value: Any) -> Any:
        import hashlib

        try:
            return {"~": "object", "digest": hashlib.sha256(dumps(value)).hexdigest()}
        except Exception:  # whatever a user's object raises
            self.lost = True
            return None


def config_from_json(form: Any, objects: bool) -> tuple[Any, bool]:
    """What ``config_to_json`` made this form of, and whether all of it is as it was. Without ``objects`` nothing is
    unpickled: what is not JSON's is the nearest, or its text."""
    reader = _JsonReader(objects)
    return reader.decode(form), reader.whole


class _JsonReader:
    """Turns forms into values. ``whole`` turns False once something is only the nearest to what it was."""

    def __init__(self, objects: bool) -> None:
        self.whole = True
        self._objects = objects

    def decode(self, form: Any) -> Any:
        if isinstance(form, list):
            return [self.decode(part) for part in form]
        if not isinstance(form, dict):
            return form
        if "~" not in form:
            return {key: self.decode(part) for key, part in form.items()}
        kind = form["~"]
        if kind == "number":
            return float(form["text"])
        if kind == "tuple":
            return tuple([self.decode(part) for part in form["items"]])
        if kind == "dict":
            return {self.decode(key): self.decode(part) for key, part in form["items"]}
        if kind == "range":
            return range(form["start"], form["stop"], form["step"])
        if kind == "object":
            return self._object(form)
        return decoded(form, self.decode) if is_kind(kind) else _domain_from_json(kind, form)

    def _object(self, form: dict[str, Any]) -> Any:
        if self._objects and "pickle" in form:
            import base64
            import pickle

            try:
                return pickle.loads(base64.b64decode(form["pickle"]))
            except Exception:  # of a class that has gone, or is another one now
                pass
        self.whole = False
        return self.decode(form["plain"])


def _domain_from_json(kind: str, form: dict[str, Any]) -> Domain:
    domain: Domain
    if kind == "Function":
        return Function(_MissingFunction(form["text"]))
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
    if "q" in form:
        domain = domain.with_sampler(Quantized(domain.get_sampler(), form["q"]))
    if "prior" in form:
        prior = from_json_value(form["prior"])
        return domain.with_prior(domain.categories[prior] if isinstance(domain, Categorical) else prior)  # type: ignore[no-any-return]
    return domain


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
