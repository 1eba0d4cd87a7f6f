"""What things are, as JSON that a later process can compare: spaces, settings, and the objects in them.

``described`` gives the form, ``same`` compares two of them, ``words`` writes one as its user would, ``differences`` names
what is another. Nothing is pickled, and no address of this process gets into a form. What is compared:

    numbers, text, None     type and value (in settings 1 and 1.0 are one)
    domains                 kind, bounds, options, distribution, step
    functions, classes      file and name. Functions that have no
                            name of their own (lambdas, those made inside functions) and those that a value is sampled
                            from: also code, constants, defaults and what they enclose, on the same version of Python
    members of an enum      class and name
    arrays, data frames     type, shape and contents
    other objects           class and text, if the class says how it prints; else class and attributes
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

from fasttune.json_kinds import LONGEST_INT
from fasttune.space.as_json import from_json_value, to_json_value
from fasttune.space.domains import Categorical, Domain, Function, Grid, grid_of

DEEPEST = 8  # objects within objects; further down only their class counts
LONGEST = 2000  # characters of an object's own text; of a longer one the rest counts by its digest
MANY = 1000  # values of a list; of a longer one only the digest is kept
GONE, NEW = "it is gone", "it was not there"
SHOWN = 120  # characters of a value in a message

_ADDRESS = r" at 0x[0-9a-fA-F]+"
_SET = r"\{([^{}:]+)\}"  # as sets print: in an order that is another one in each process
_MAIN = ("__main__", "__mp_main__")
_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def described(value: Any) -> Any:
    """What a space, a setting or any value is, as JSON."""
    return _describe(value, 0)


def _describe(value: Any, depth: int) -> Any:
    if type(value) is int and value.bit_length() > LONGEST_INT:
        return {"~": "int", "text": hex(value)}
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, Enum):
        return {"~": "enum", "name": f"{_class_name(type(value))}.{value.name}"}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"~": "number", "text": repr(float(value))}
    if isinstance(value, Domain):
        return _domain(value, depth)
    if depth > DEEPEST:
        return {"~": "object", "kind": _class_name(type(value))}
    if isinstance(value, Mapping):
        return _mapping(value, depth)
    if isinstance(value, tuple):
        return {"~": "tuple", "items": _several(value, depth)}
    if isinstance(value, list):
        return _several(value, depth)
    if isinstance(value, Set):
        return {"~": "set", "items": sorted((_describe(part, depth + 1) for part in value), key=words)}
    if isinstance(value, range):
        return {"~": "range", "start": value.start, "stop": value.stop, "step": value.step}
    if isinstance(value, bytes | bytearray):
        return {"~": "bytes", "length": len(value), "digest": _digest(bytes(value))}
    if isinstance(value, type):
        return {"~": "class", "name": _class_name(value)}
    return _code_or_object(value, depth)


def _several(values: Sequence[Any], depth: int) -> Any:
    """Each of them; of very many only their number and what they come to."""
    parts = [_describe(one, depth + 1) for one in values]
    if len(parts) <= MANY:
        return parts
    return {"~": "many", "length": len(parts), "digest": _digest(json.dumps(parts).encode())}


def _mapping(value: Mapping[Any, Any], depth: int) -> Any:
    grid = grid_of(value) if type(value) is dict else None
    if grid is not None:
        return {"~": "grid", "options": _several(grid, depth)}
    if "~" not in value and all(type(key) is str for key in value):
        return {key: _describe(part, depth + 1) for key, part in value.items()}
    return {"~": "dict", "items": [[_describe(k, depth + 1), _describe(v, depth + 1)] for k, v in value.items()]}


def _domain(domain: Domain, depth: int) -> Any:
    if type(domain) is Function:
        return {"~": "sample_from", "function": _function(domain.func, depth, with_code=True)}
    if type(domain) is Categorical and (domain.sampler is None or type(domain.get_sampler()).__name__ == "Uniform"):
        prior = {"prior": domain.place_of(domain.prior)} if domain.has_prior else {}
        return {"~": "choice", "options": _several(domain.categories, depth), **prior}
    if type(domain) is Categorical and type(domain.sampler) is Grid:
        return {"~": "grid", "options": _several(domain.categories, depth)}
    form, exact = to_json_value(domain)
    if exact:
        return form
    return {"~": "domain", "kind": _class_name(type(domain)), "parts": _parts(domain, depth)}


def _code_or_object(value: Any, depth: int) -> Any:
    if isinstance(value, functools.partial):
        parts = [_describe(one, depth + 1) for one in (value.func, value.args, value.keywords)]
        return {"~": "partial", "function": parts[0], "args": parts[1], "keywords": parts[2]}
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodType):
        return _function(value, depth)
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tobytes"):
        plain = value.item() if value.ndim == 0 else value
        if type(plain) is not type(value):
            return _describe(plain, depth)
        if value.ndim == 0:  # numpy.longdouble gives itself
            return {"~": "object", "kind": _class_name(type(value)), "text": str(value)}
        if value.dtype == object:
            contents = _digest(json.dumps(_several(value.ravel().tolist(), depth)).encode())
        else:
            contents = _digest(value.tobytes())
        return {"~": "array", "kind": str(value.dtype), "shape": list(value.shape), "digest": contents}
    form = {"~": "object", "kind": _class_name(type(value))}
    if type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "to_numpy"):
        axes = [_describe(axis.to_numpy(), depth + 1) for axis in getattr(value, "axes", ())]
        return {**form, "parts": [_describe(value.to_numpy(), depth + 1), *axes]}  # it prints as wide as the terminal is
    if "__repr__" not in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}:
        return {**form, "parts": _parts(value, depth)} if hasattr(value, "__dict__") else form
    try:
        text = re.sub(_SET, _sorted_set, re.sub(_ADDRESS, "", repr(value)))
    except Exception:  # a user's __repr__ must not end the run
        return form
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... {_digest(text.encode())}"
    return {**form, "text": text}


def _sorted_set(found: re.Match[str]) -> str:
    return "{" + ", ".join(sorted(found[1].split(", "))) + "}"


def _parts(value: Any, depth: int) -> dict[str, Any]:
    return {name: _describe(part, depth + 1) for name, part in sorted(vars(value).items())}


def _class_name(kind: type) -> str:
    return _name(kind.__module__, kind.__qualname__)


def _name(module: str | None, name: str) -> str:
    """With the last part of the module's name: that of a script is the same when it is run and when it is imported."""
    if module in _MAIN:
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None) or ""
        module = spec.name if spec is not None else os.path.splitext(os.path.basename(file))[0]
    last = (module or "").rpartition(".")[2]
    return name if last in ("", "builtins") else f"{last}.{name}"


def _function(function: Any, depth: int, with_code: bool = False) -> dict[str, Any]:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    form: dict[str, Any] = {"~": "function", "name": _name(getattr(function, "__module__", None), name)}
    if isinstance(function, MethodType):
        form["of"] = _describe(function.__self__, depth + 1)
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType) and (with_code or "<" in name):
        form["code"], form["python"] = _digest(repr(_inside(function, code, depth)).encode()), _VERSION
    elif code is None and not isinstance(function, BuiltinFunctionType):  # an object that can be called
        form["of"] = _describe(function, depth + 1) if depth < DEEPEST else None
    return form


def _inside(function: Any, code: CodeType, depth: int) -> list[Any]:
    """What a function does, without where it stands in which file, and without its docstring."""
    cells = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:  # not filled yet
            held = None
        cells.append(None if held is function else _describe(held, depth + 1))
    defaults = [
        _describe(given, depth + 1)
        for given in (getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None))
    ]
    return [*_of_code(code, getattr(function, "__doc__", None)), defaults, cells]


def _of_code(code: CodeType, doc: str | None = None) -> list[Any]:
    constants = [
        _of_code(one) if isinstance(one, CodeType) else None if one == doc else _describe(one, 0)
        for one in code.co_consts
    ]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars]


def _digest(data: bytes) -> str:
    import hashlib  # most spaces hold nothing that needs it

    return hashlib.blake2b(data, digest_size=8).hexdigest()


def arguments_of(one: Any) -> dict[str, Any]:
    """What a scheduler or a searcher was made with, defaults among it; {} if it was made by other means than a call, such
    as unpickling an old file."""
    import inspect

    args, keywords = getattr(one, "_made_with", ((), {}))
    try:
        bound = inspect.signature(type(one).__init__).bind(one, *args, **keywords)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    itself = next(iter(bound.arguments), "self")  # whatever it is called
    if isinstance(bound.arguments.get(itself), tuple):  # __init__(*args)
        bound.arguments[itself] = bound.arguments[itself][1:]
    else:
        bound.arguments.pop(itself, None)
    return {
        name: value
        for found, value in bound.arguments.items()
        for name, value in (value.items() if _is_var(bound, found) else [(found, value)])
    }


def _is_var(bound: Any, name: str) -> bool:
    """Whether this parameter takes the keywords that have none of their own."""
    return bool(bound.signature.parameters[name].kind is bound.signature.parameters[name].VAR_KEYWORD)


# ---- comparing -------------------------------------------------------------------------------------------------


def same(before: Any, now: Any, loosely: bool = False) -> bool:
    """Whether two forms stand for equal things; ``loosely``: 1 and 1.0 are equal, too."""
    if isinstance(before, dict) and isinstance(now, dict):
        if before.get("~") == now.get("~") == "function" and before.get("python") != now.get("python"):
            before, now = _without_code(before), _without_code(now)  # other versions of Python compile otherwise
        return before.keys() == now.keys() and all(same(before[key], now[key], loosely) for key in before)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(same(a, b, loosely) for a, b in zip(before, now, strict=True))
    if loosely and {type(before), type(now)} == {int, float}:
        return bool(before == now)
    if type(before) is type(now) is float and before == 0.0:
        return now == 0.0 and math.copysign(1.0, before) == math.copysign(1.0, now)  # trials were given one of the two
    return type(before) is type(now) and bool(before == now)


def _without_code(form: Mapping[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in form.items() if key not in ("code", "python")}


def differences(before: Any, now: Any, name: str = "", loosely: bool = False) -> list[str]:
    """What is another: "lr: loguniform(0.0001, 0.1) was, loguniform(0.001, 1.0) is", one text for each place."""
    if same(before, now, loosely):
        return []
    if _is_plain(before) and _is_plain(now):
        found: list[str] = []
        for key in [*before, *(key for key in now if key not in before)]:
            place = f"{name}/{key}" if name else str(key)
            if key not in now:
                found.append(f"{place}: {words(before[key])} was, {GONE}")
            elif key not in before:
                found.append(f"{place}: {NEW}, {words(now[key])} is")
            else:
                found += differences(before[key], now[key], place, loosely)
        return found
    was, is_ = words(before), words(now)
    if was == is_:
        return [f"{name}: {was} is not what it was: its code or its contents are others"]
    return [f"{name}: {was} was, {is_} is"]


def _is_plain(form: Any) -> bool:
    return isinstance(form, dict) and "~" not in form


def words(form: Any) -> str:
    """A form as its user would write it."""
    text = _words(form)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _words(form: Any) -> str:
    if isinstance(form, list):
        return f"[{', '.join(map(_words, form))}]"
    if not isinstance(form, dict):
        return repr(form)
    if "~" not in form:
        if set(form) == {"grid_search"}:
            return f"grid_search({_words(form['grid_search'])})"
        return "{" + ", ".join(f"{key!r}: {_words(part)}" for key, part in form.items()) + "}"
    writer = _WORDS.get(form["~"])
    return writer(form) if writer is not None else str(form.get("text") or form.get("name") or form.get("kind") or form["~"])


def _number_words(form: Mapping[str, Any]) -> str:
    """A domain of numbers, by the function that makes it."""
    spread, step = form.get("sampler"), form.get("q")
    bounds = [_words(bound) for bound in form["bounds"]]
    whole = form["~"] == "Integer"
    if spread == "Normal":
        name, bounds = "randn", [_words(form["mean"]), _words(form["sd"])]
    else:
        name = ("log" if spread == "LogUniform" else "") + ("randint" if whole else "uniform")
    prior = [f"prior={_words(form['prior'])}"] if "prior" in form else []
    return f"{'q' if step is not None else ''}{name}({', '.join(bounds + ([_words(step)] if step is not None else []) + prior)})"


def _call(name: str, *keys: str) -> Any:
    return lambda form: f"{name}({', '.join(_words(form[key]) for key in keys)})"


def _choice_words(form: Mapping[str, Any]) -> str:
    options = form["options"]
    prior = f", prior={_words(options[form['prior']])}" if "prior" in form and isinstance(options, list) else ""
    return f"choice({_words(options)}{prior})"


_WORDS = {
    "Float": _number_words,
    "Integer": _number_words,
    "Categorical": lambda form: f"{'grid_search' if form.get('sampler') == 'Grid' else 'choice'}({_words(form['options'])})",
    "choice": _choice_words,
    "grid": _call("grid_search", "options"),
    "sample_from": _call("sample_from", "function"),
    "function": lambda form: str(form["name"]),
    "partial": _call("partial", "function", "args", "keywords"),
    "tuple": lambda form: f"({', '.join(map(_words, form['items']))}{',' if len(form['items']) == 1 else ''})",
    "set": lambda form: f"{{{', '.join(map(_words, form['items']))}}}",
    "dict": lambda form: "{" + ", ".join(f"{_words(key)}: {_words(part)}" for key, part in form["items"]) + "}",
    "range": _call("range", "start", "stop", "step"),
    "number": lambda form: str(form["text"]),
    "many": lambda form: f"{form['length']} values",
    "array": lambda form: f"array of {form['kind']} {tuple(form['shape'])}",
    "bytes": lambda form: f"{form['length']} bytes",
}


def is_json(form: Any) -> bool:
    """Whether everything in a described space, and all that is sampled from it, is what JSON holds as it is."""
    if isinstance(form, list):
        return all(map(is_json, form))
    if isinstance(form, dict):
        plain = form.get("~") in (None, "Float", "Integer", "choice", "grid", "Categorical")
        return plain and all(is_json(part) for key, part in form.items() if key != "~")
    return True


def from_description(form: Any) -> Any:
    """The space that was described. LookupError names a function, or an object, of which there is only a description."""
    if isinstance(form, list):
        return [from_description(part) for part in form]
    if not isinstance(form, dict):
        return form
    kind = form.get("~")
    if kind is None:
        return {key: from_description(part) for key, part in form.items()}
    if kind == "choice":
        made = Categorical(from_description(form["options"])).uniform()
        return made.with_prior(made.categories[form["prior"]]) if "prior" in form else made
    if kind == "grid":
        return {"grid_search": from_description(form["options"])}
    if kind == "tuple":
        return tuple(from_description(form["items"]))
    if kind == "dict":
        return {from_description(key): from_description(part) for key, part in form["items"]}
    if kind == "set":
        return set(from_description(form["items"]))
    if kind in ("number", "range", "Float", "Integer", "Categorical"):
        return from_json_value(form)
    raise LookupError(words(form))


def without_addresses(form: Any) -> Any:
    """A form that an earlier version wrote, in which objects are the text that they printed as."""
    if isinstance(form, dict):
        return {key: without_addresses(part) for key, part in form.items()}
    if isinstance(form, list):
        return [without_addresses(part) for part in form]
    return re.sub(_ADDRESS, "", form) if isinstance(form, str) else form
