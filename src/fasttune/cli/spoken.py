"""What the machine says to a program, as somebody reads it who typed a command: ``metric='loss'`` is ``--metric loss`` here.

Errors and warnings come from rooms that know nothing of the command line, in the words of ``tune.run``. They are put into those
of ``fasttune run`` at the door, by the names of arguments; what has no option is a key of [run] in a TOML file.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fasttune.cli.words import one_line

OPTIONS = {
    "metric": "--metric", "mode": "--mode", "name": "--name", "storage_path": "--storage", "resume": "--resume",
    "num_samples": "--num-samples", "seed": "--seed", "scheduler": "--scheduler", "search_alg": "--search", "stop": "--stop",
    "max_concurrent_trials": "--max-concurrent", "max_concurrent": "--max-concurrent", "time_budget_s": "--time-budget",
    "trial_timeout_s": "--trial-timeout", "constraints": "--constraint",
    "warm_start_from": "--warm-start-from", "max_t": "--max-t",
    "resources_per_trial": "--resources", "gpu_policy": "--gpu-policy",
    "max_failures": "--max-failures", "executor": "--executor", "verbose": "--verbose",
}  # fmt: skip
IN_FILES = (  # settings of [run] that have no option
    "scope", "on_duplicate", "fail_fast", "raise_on_failed_trial", "max_suspended", "worker_max_trials", "worker_max_memory",
    "cpu_affinity", "measure_usage", "durability", "gpus", "resources",
    "reuse_actors", "log_to_file", "checkpoint_freq", "checkpoint_at_end", "checkpoint_config", "keep_checkpoints_num",
    "checkpoint_score_attr", "restore",
)  # fmt: skip
OF_OTHERS = ("max_t",)  # also arguments of schedulers, which are told in their own words
NOT_WORDS = [name for name in OPTIONS if "_" in name and name not in OF_OTHERS]  # of English: arguments wherever they stand
_VALUE = r"""(?:'[^']*'|"[^"]*"|\{[^{}]*\}|\[[^\[\]]*\]|-?\d[\w.+-]*\b|None|True|False|\.\.\.)"""
_CALL = re.compile(r"[\w.]*\w\((?:[^()]|\([^()]*\))*\)")  # what a program writes: no option stands in it
_PAIR = re.compile(rf"(?<![\w.(])({'|'.join([*OPTIONS, *IN_FILES])})=({_VALUE})?")

# in their order; what is left of a call of Python is put together by the later ones
_SENTENCES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(?:,| or) (?:\w+Config|Tuner\.restore)\([^()]*\)", ""),
    (r",? ?(?:\w+Config|Tuner\.restore)\([^()]*\)(?: or|,)", ""),
    (r"tune\.run\(\.\.\., ([^()]*)\)", lambda found: re.sub(r", (?=\w+=)", " ", found[1])),
    (r"constraints=function of a result, or (?=tune\.report)", ""),
    (r", or a function of a result that gives numbers \([^()]*\)", ""),
    (r", or RegretStopper\([^()]*\)", ""),
    (r"\banalysis\.best_trials", "fasttune best"),
    (r"None, False, True or one of 'AUTO'", "true or one of 'AUTO'"),
    (r"\bNone or (?=an? )", ""),
    (r"config=\{'(\w+)': tune\.(\w+)\(([^()]*)\)\}", r"--set '\1={\2=[\3]}'"),
    (r"\bchoice\(\[\.\.\.\]\)", "{choice=[...]}"),
    (r"To end a trial where it is small enough: stop=lambda .*", "No option ends a trial where it is small: the trainable may return"),
    (r"\bstop\['([^']*)'\]", r"--stop \1"),
)


def spoken(text: str, classes: Mapping[str, str] | None = None, keys: Collection[str] = ()) -> str:
    """The text in words of the command line.

    Args:
        classes: class of a scheduler or searcher -> the words that asked for it, "--search tpe".
        keys: arguments that were said as keys of a TOML file, and go on to be called so.
    """
    options = {name: name if name in keys else option for name, option in OPTIONS.items()}
    for pattern, instead in _SENTENCES:
        text = re.sub(pattern, instead, text)
    text = re.sub(r"^resource '(\w+)' (?=must|is)", rf"{options['resources_per_trial']}: '\1' ", text)
    text = re.sub(rf"\bleave ({'|'.join(OPTIONS)}) out", lambda found: f"leave {options[found[1]]} out", text)
    alone = "|".join(name for name in OPTIONS if name not in OF_OTHERS)
    text = re.sub(rf"^({alone}|max_t(?=, ))(?=,? (?:the|must|begins|has to)\b)", lambda found: options[found[1]], text)
    text = _outside_calls(lambda part: _PAIR.sub(lambda found: _key(found) if found[1] in keys else _option(found), part), text)
    text = re.sub(rf"(?<![\w.\-/'])({'|'.join(NOT_WORDS)})(?![\w=']| =)", lambda found: options[found[1]], text)
    for kind, option in (classes or {}).items():
        text = re.sub(rf"\b{kind}(?:\(([^()]*)\)|\b)", lambda found, option=option: _with_arguments(option, found[1]), text)  # type: ignore[misc]
    return text


def _outside_calls(change: Callable[[str], str], text: str) -> str:
    """The text changed wherever it is no call of Python's."""
    calls = [found.span() for found in _CALL.finditer(text)]
    ends = [0, *(end for _, end in calls)]
    starts = [*(start for start, _ in calls), len(text)]
    kept = [*(text[start:end] for start, end in calls), ""]
    return "".join(change(text[end:start]) + call for end, start, call in zip(ends, starts, kept, strict=True))


def _key(found: re.Match[str]) -> str:
    """NAME=VALUE as it stands in a TOML file."""
    from fasttune.cli.toml import shown

    value = _literal(found[2] or "")
    return f"{found[1]}{'' if value is None or value is ... else f' = {shown(value)}'}"


def _option(found: re.Match[str]) -> str:
    """NAME=VALUE as one types it."""
    name, told = found[1], found[2] or ""
    value = _literal(told)
    if name not in OPTIONS:
        return f"{_key(found)} in [run] of a TOML file"
    option = OPTIONS[name]
    if not told or value is ...:
        return f"{option} {'NAME' if name == 'name' else '...'}"
    if value is None:
        return f"no {option}"
    if isinstance(value, dict):
        return f"{option} {','.join(f'{key}={inner}' for key, inner in value.items())}"
    return f"{option} {shlex.quote(str(value))}"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError):
        return text


def _with_arguments(option: str, arguments: str | None) -> str:
    """--search NAME,KEY=VALUE of "Kind(key='value')"."""
    pairs = re.findall(r"(\w+)=('[^']*'|[^',]+)", arguments or "")
    return ",".join([option, *(f"{name}={value.strip(chr(39))}" for name, value in pairs)])


@contextmanager
def warnings_spoken(in_words: Callable[[str], str] = spoken) -> Iterator[None]:
    """What fasttune warns of and logs, within, is in these words, warnings as a line of the error stream; those of others are shown
    as ever."""
    import logging

    import fasttune

    ours = fasttune.__path__[0]
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        if file is not None or not filename.startswith(ours):
            before(message, category, filename, lineno, file, line)
        else:
            print(f"fasttune: {one_line(in_words(str(message)))}", file=sys.stderr)

    def say(record: logging.LogRecord) -> bool:
        record.msg, record.args = in_words(record.getMessage()), ()
        return True

    warnings.showwarning = show
    logging.getLogger("fasttune").addFilter(say)
    try:
        yield
    finally:
        warnings.showwarning = before
        logging.getLogger("fasttune").removeFilter(say)
