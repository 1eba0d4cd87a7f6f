"""Why trials failed, for people: the traceback with what they wrote, and its kinds, each told once.

The text of a failure is what a trial leaves for good (the journal, error.txt, the exceptions of an analysis). Everything
else is read out of it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from fasttune.error import TuneError

if TYPE_CHECKING:
    from traceback import TracebackException

OURS = os.path.dirname(os.path.abspath(__file__))
MOST_KINDS = 20  # of reasons that are told apart
LONGEST_REASON = 300  # characters
_FRAME = r'[ |+]*File "(.+)", line (\d+)(?:,? in (.+))?'  # compiled when a trial has failed


def failure_text(error: BaseException, asked: bool = False) -> str:
    """The trial's own traceback, without frames of fasttune, unless there are no others; and where such an error says in our
    words what the user's code gave, without any. ``asked``: a ValueError or TypeError of ours is such an error, too."""
    from traceback import TracebackException

    told = TracebackException.from_exception(error, compact=True)
    _leave_out_ours(told)
    in_our_words = (TuneError, ValueError, TypeError) if asked else TuneError
    if isinstance(error, in_our_words) and all(_is_ours(frame.filename) for frame in told.stack):
        told.stack.clear()
    text = "".join(told.format())
    if _awaited_a_report(error, told):
        text = text.rstrip("\n") + "; tune.report() gives nothing that could be awaited: call it without await\n"
    if isinstance(error, SystemExit):
        text += f"\nThe trial called sys.exit({_repr(error.code)}), which ends it as a failure; use return to end a trial early."
    return text


def _awaited_a_report(error: BaseException, told: TracebackException) -> bool:
    """A coroutine has awaited what ``report()`` returned, and Python's words name neither."""
    if not isinstance(error, TypeError) or not told.stack:
        return False
    words = "".join(told.format_exception_only())  # an exception of the user's may have no words: its str() may raise
    return "await" in words and "NoneType" in words and ("report(" in (told.stack[-1].line or "") or "report" in _names_in(error))


def _names_in(error: BaseException) -> tuple[str, ...]:
    """What the code that raised it calls and looks up."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return () if place is None else place.tb_frame.f_code.co_names


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _leave_out_ours(told: TracebackException) -> None:
    todo: list[TracebackException | None] = [told]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        theirs = [frame for frame in one.stack if not _is_ours(frame.filename)]
        if theirs:
            one.stack[:] = theirs
        todo += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def _is_ours(filename: str) -> bool:
    # frames of the compiled core are named by where it was compiled
    return filename.startswith(OURS + os.sep) or filename.startswith(("src/fasttune/_core", "fasttune/_core"))


# ---- the kinds of reasons


class Reason(NamedTuple):
    """Why trials failed: the exception, and the line of the user's at which it happened."""

    what: str  # "ZeroDivisionError: division by zero"
    where: str  # "train.py, line 12, in train: return 1 / x"; "" when it is not known
    trial_id: str  # the first one
    times: int

    def __str__(self) -> str:
        more = {1: "", 2: ", and once more"}.get(self.times, f", and {self.times - 1:,} times more")
        at = f"\n    {self.where}" if self.where else ""
        return f"{self.what} (trial {self.trial_id}{more}){at}"


def read_reason(text: str, trial_id: str = "") -> Reason:
    """The reason in the text of a failure: a traceback, or what is known of a process that died."""
    lines = text.strip("\n").splitlines() or ["no traceback was left"]
    frames = [(k, found) for k, line in enumerate(lines) if (found := re.match(_FRAME, line))]
    where, source = "", ""
    traced = any(line.lstrip(" +|").startswith((*_TRACEBACKS, "Exception Group Traceback")) for line in lines)
    for k, found in reversed(frames) if traced else frames:  # of a crash the newest comes first
        source = lines[k + 1].strip(" |") if k + 1 < len(lines) and lines[k + 1].startswith("    ") else ""
        if not _is_a_librarys(found[1], bool(source)):
            inside = f", in {found[3]}" if found[3] else ""
            where = f"{found[1]}, line {found[2]}{inside}" + (f": {source}" if source else "")
            break
    behind = lines[frames[-1][0] + 1 :] if traced and frames else lines
    if any(line.startswith(_GROUP) for line in lines):  # of a group the outermost one, within its frame of | and +
        behind = [line.removeprefix("  | ") for line in lines if line.startswith("  | ")]
    said = (line for line in behind if line and not line[0].isspace() and not line.startswith(_TRACEBACKS))
    what = next(said, lines[-1].strip())
    return Reason(_short(what), _short(where), trial_id, 1)


def _is_a_librarys(filename: str, has_source: bool) -> bool:
    if filename.startswith("<") and not has_source:  # code without a file; a notebook's cell has its text
        return True
    return filename.startswith(_LIBRARY) or _is_ours(filename) or f"{os.sep}site-packages{os.sep}" in filename


_LIBRARY = os.path.dirname(os.__file__) + os.sep
_GROUP = "  + Exception Group Traceback"
_TRACEBACKS = ("Traceback", "During handling of", "The above exception was")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


class Reasons:
    """The kinds of reasons of a run, in the order of first sight: an exception's class and its line are a kind."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], Reason] = {}
        self.others = 0  # failures of further kinds

    def add(self, text: str, trial_id: str) -> None:
        """One more failure."""
        reason = read_reason(text, trial_id)
        line, _, _ = reason.where.partition(":")
        kind = reason.what.partition(":")[0], line
        if not line:  # of a vector one trial has the traceback, all of them have the exception
            kind = next((other for other, one in self._kinds.items() if one.what == reason.what), kind)
        known = self._kinds.get(kind)
        if known is not None:
            self._kinds[kind] = known._replace(times=known.times + 1)
        elif len(self._kinds) < MOST_KINDS:
            self._kinds[kind] = reason
        else:
            self.others += 1

    def kinds(self) -> list[Reason]:
        """All of them so far."""
        return list(self._kinds.values())


class TrialTraceback(Exception):
    """The traceback of an exception that came from a trial, as its cause: an exception travels without its own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


def reason_of(error: BaseException) -> str:
    """The reason in an exception of ``analysis.errors``: what happened, and on the next line where."""
    cause = error.__cause__
    text = cause.text if isinstance(cause, TrialTraceback) else str(getattr(error, "traceback_text", ""))
    reason = read_reason(text or f"{type(error).__name__}: {error}")
    return f"{reason.what}\n    {reason.where}" if reason.where else reason.what


def with_traceback(error: BaseException, text: str) -> BaseException:
    """The exception of a trial, with its traceback as its cause."""
    if error.__cause__ is None and not hasattr(error, "traceback_text"):
        error.__cause__ = TrialTraceback(text.rstrip())
    return error


LONGEST = 100_000  # bytes of a traceback, or of an exception, that are kept


def stored_text(error: BaseException) -> bytes:
    """The traceback as the journal has it, without its middle if it is very long."""
    text = failure_text(error).encode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST else text[: LONGEST // 2] + b"\n[...]\n" + text[-LONGEST // 2 :]


def stored_exception(error: BaseException) -> bytes:
    """The exception as bytes, empty when it cannot travel."""
    import pickle

    bare = error.with_traceback(None)
    try:
        data = pickle.dumps(bare)
        pickle.loads(data)
    except (Exception, SystemExit):
        try:
            import cloudpickle

            data = cloudpickle.dumps(bare)
        except (Exception, SystemExit):
            return b""
    return data if len(data) <= LONGEST else b""
