"""JournalLogger: a logger that reads the journal behind the run, in a process of its own. Trials never wait for it.

    this process                        the logger's process (fasttune/follower.py)
    setup()              - starts ->    reads the journal as readers do, calls log_trial_start, log_trial_result, ...
    a thread             <- told -      how far it is, once a second; why it has stopped
    on_experiment_end()  - "end" ->     catches up, closes what it wrote to, ends
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple
from weakref import WeakValueDictionary

from fasttune.argument import checked_count
from fasttune.callback import Callback
from fasttune.folder import LOGGED
from fasttune.logger.base import LoggerCallback

SOURCE = "import sys; sys.path[:0] = [{folder!r}]; from fasttune.follower import main; main()"
SILENT_S = 1.0  # a logger that is done this soon behind the run is not spoken of
EVERY_S = 10.0  # so often it is said how far it is, while the run's end waits for it
BEHIND_S = 30.0  # one that is further behind is spoken of while the run goes on,
AGAIN_S = 300.0  # no more often than this
LAST_S = 30.0  # for a library to bring home what it holds, when it is told to stop
PLAIN = (str, int, float, bool, type(None))
EMPTY: tuple[Any, ...] = ((), [], {})  # what a logger makes of an argument that was left out


class LoggedExperiment(NamedTuple):
    """What a logger is told of the experiment before anything else."""

    name: str
    path: str  # its folder
    metric: str | None  # by which trials are compared
    mode: str | None  # "min" or "max"
    begun: float  # unix seconds
    identity: str  # of this experiment alone, also when its folder gets another one of its name
    goes_on: bool  # some of it was logged before, to the same place


class JournalLogger(LoggerCallback):
    """A LoggerCallback whose ``log_...`` methods are called *behind* the run: in another process, which reads the journal.

    Derive from it, set ``title`` and ``key``, and override what you need. Calls come in the order of the journal:
    ``log_begin``, then for each trial ``log_trial_start``, ``log_trial_result`` for each report, ``log_trial_save`` and
    ``log_trial_attributes`` now and then, ``log_trial_end``; at last ``log_end``. A trial that is tried again starts again. What
    ``trial.status`` and ``trial.last_result`` say is what the journal says by then, which may be later than the call.

    An object is pickled when the run begins, and works on in the other process: whatever it keeps from the calls stays
    there. What raises ends the logging, is said once with its cause, and costs the run nothing.

    How far it is stands beside the journal (``logged.<key>...json``), written each time behind ``log_flush``: a run that goes on, or
    ``fasttune log``, goes on there, and nothing is logged twice. After a kill, what was told since the last ``log_flush`` (two
    seconds) is told again. Another ``log_destination`` begins anew.

    Args:
        max_trials: the first so many trials are logged; None: all of them.
        best_trials: so many of the others, the best by the last value of the run's metric, are logged when the run is over.
    """

    title: ClassVar[str] = ""  # for sentences: "TensorBoard"
    key: ClassVar[str] = ""  # for `fasttune log --to`, and for the file that says how far it is
    niceness: ClassVar[int] = 10  # of its process: trials come first
    secrets: ClassVar[tuple[str, ...]] = ()  # attributes that are not pickled: a Tuner keeps its callbacks in a file
    says_that_it_waits = True  # at the run's end: no hook that is slow by mistake

    # Nothing is called while trials run.
    on_trial_start = Callback.on_trial_start
    on_trial_restore = Callback.on_trial_restore
    on_trial_save = Callback.on_trial_save
    on_trial_result = Callback.on_trial_result
    on_trial_complete = Callback.on_trial_complete
    on_trial_error = Callback.on_trial_error

    def __init__(self, *, max_trials: int | None = None, best_trials: int = 10) -> None:
        self.max_trials = None if max_trials is None else checked_count("max_trials", max_trials, least=1)
        self.best_trials = checked_count("best_trials", best_trials)

    # ---- for those who derive from it; called in the other process

    def log_begin(self, experiment: LoggedExperiment) -> None:
        """Called before anything else: connect, make what all trials share."""

    def log_trial_attributes(self, trial: Any, attributes: Mapping[str, Any]) -> None:
        """These were attached to a trial by ``set_user_attr``."""

    def log_flush(self) -> None:
        """Bring home what was told so far. When it returns, it counts as logged."""

    def log_end(self, finished: bool) -> None:
        """Called last, also when somebody ends it before it is done: close everything. ``finished``: all is logged, and no
        trial is left to be gone on with."""

    def log_destination(self) -> str:
        """What tells the place that is written to from others: each has its own "how far"."""
        return ""

    # ---- in the run's process

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        *,
        path: str | None = None,
        **info: Any,
    ) -> None:
        """Start the process that logs the experiment in the folder ``path``."""
        earlier: FollowingProcess | None = self.__dict__.pop("_process", None)
        if earlier is not None:  # an error has ended that run; it follows no longer than to its end
            earlier.let_go()
        if path:  # a simulated run has no folder
            self._check_alone(path)
            self._process = FollowingProcess(self, path)

    def _check_alone(self, path: str) -> None:
        """ValueError where another logger of this run writes to the same place: each report is logged there once."""
        place = os.path.abspath(path), self.key or type(self).__name__, self.log_destination()
        other = _writing.get(place)
        if other is not None and other is not self and "_process" in other.__dict__:
            raise ValueError(
                f"two {called(self)} loggers of one run write to the same place ({place[2] or 'the default'}), where each report"
                " is logged once: give them different places, or leave one out"
            )
        _writing[place] = self

    def on_experiment_end(self, trials: Sequence[Any], **info: Any) -> None:
        """Wait until everything is logged. Ctrl-C ends the waiting, and says how to go on."""
        process: FollowingProcess | None = self.__dict__.pop("_process", None)
        if process is not None:
            process.catch_up(len(trials))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_process", *self.secrets)}

    def hint(self, path: str) -> str:
        """The command that goes on with logging an experiment."""
        import shlex

        words = ["fasttune", "log", path, "--to", named(type(self))]
        for name, value in options_of(self).items():
            words += ["--option", f"{name}={as_option(value)}"]
        return shlex.join(words)


_writing: WeakValueDictionary[tuple[str, str, str], JournalLogger] = WeakValueDictionary()  # by folder, key and place


def named(kind: type[JournalLogger]) -> str:
    """What `fasttune log --to` calls a class: ours by its key, others by where they are defined."""
    place = kind.__module__
    if place.startswith("fasttune."):
        return kind.key
    return f"{getattr(sys.modules.get(place), '__file__', place) if place == '__main__' else place}:{kind.__qualname__}"


def as_option(value: Any) -> str:
    """A value as `fasttune log --option` reads it: JSON, and a text as it is where that is no JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def is_plain(value: Any) -> bool:
    """Whether a value can be written as an option."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    return isinstance(value, PLAIN)


def options_of(logger: JournalLogger) -> dict[str, Any]:
    """The plain arguments that a logger was made with, where they are not the defaults: kept as attributes of their names."""
    import inspect

    found: dict[str, Any] = {}
    for name, one in inspect.signature(type(logger).__init__).parameters.items():
        value = getattr(logger, name, one.default)
        if one.kind is one.VAR_KEYWORD and isinstance(value, dict):
            found.update({key: each for key, each in value.items() if is_plain(each)})
        elif one.default is not one.empty and value != one.default and is_plain(value) and value not in EMPTY:
            found[name] = value
    return found


def whole_place(place: str) -> str:
    """A folder, or an SQLite file as SQLAlchemy writes it, by its whole path; the address of a service as it is. A logger that
    goes on later, from another folder, writes to the same place."""
    sqlite, found, file = place.partition("sqlite:///")
    if found and not sqlite:
        return found + os.path.abspath(file) if file else place
    return place if "://" in place or not place or place == "databricks" else os.path.abspath(os.path.expanduser(place))


def log_file(path: str, key: str, ending: str) -> str:
    """A file of a logger in the experiment's folder."""
    return os.path.join(path, f"{LOGGED}{key}.{ending}")


def called(logger: JournalLogger) -> str:
    """What sentences call a logger."""
    return logger.title or type(logger).__name__


class FollowingProcess:
    """The process that logs, seen from the run's. It is told nothing about single trials."""

    def __init__(self, logger: JournalLogger, path: str) -> None:
        from fasttune.script import by_value, described, dumps, is_named_in

        self._orders = -1
        self._own = os.getpid()
        self._logger = logger
        self._path = path
        data = dumps(logger)
        if is_named_in(data):  # of the script's own: that is another module there
            data = by_value(logger)
        head = {"path": path, "sys_path": sys.path, "script": described(), "size": len(data), "nice": logger.niceness}
        self._sent = threading.Event()  # the logger was sent
        self._ended = threading.Event()  # the process is no more
        self.told: dict[str, Any] = {}  # the last that it has told
        self._spoken_at = time.monotonic() - AGAIN_S
        self._catches_up = self._left = False
        told = self._launch()
        threading.Thread(
            target=self._listen, args=(told, json.dumps(head).encode() + b"\n" + data), name="fasttune-logger", daemon=True
        ).start()

    def _launch(self) -> int:
        """Start it; the descriptor on which it tells. Its group is its own: a Ctrl-C is for the run alone."""
        import fcntl

        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        key = self._logger.key or type(self._logger).__name__
        self.printed = log_file(self._path, key, "txt")
        orders, self._orders = os.pipe()
        told, tells = os.pipe()
        prints = os.open(self.printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        # above the numbers that they get in the child, so that none is overwritten there
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (orders, prints, prints, tells)]
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", SOURCE.format(folder=folder)],
                dict(os.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate(fds)],
                setpgroup=0,
            )
        except BaseException:
            os.close(self._orders)
            os.close(told)
            raise
        finally:
            for fd in (orders, prints, tells, *fds):
                os.close(fd)
        return told

    def _listen(self, told: int, logger: bytes) -> None:
        """In a thread of its own: send the logger, then hear what is told until the process ends."""
        with suppress(OSError):  # it has ended; why is seen below
            view = memoryview(logger)
            while view:
                view = view[os.write(self._orders, view) :]
        self._sent.set()
        with open(told, "rb") as lines:
            for line in lines:
                with suppress(ValueError):
                    self.told = json.loads(line)
                self._speak_of_lag()
        status = 0
        with suppress(ChildProcessError):  # where the program collects its children itself
            status = os.waitpid(self._pid, 0)[1]
        if not (self.told.get("over") or self._left):
            self._say_stopped(os.waitstatus_to_exitcode(status))
        with suppress(OSError):
            if not os.path.getsize(self.printed):
                os.unlink(self.printed)
        self._ended.set()

    def _say_stopped(self, code: int) -> None:
        import logging

        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        why = self.told.get("error") or f"its process ended by {how}; what it printed is in {self.printed}"
        logging.getLogger("fasttune").warning(
            "%s: logging has stopped, the run is not concerned: %s. To log the rest: %s",
            called(self._logger), why, self._logger.hint(self._path),
        )  # fmt: skip

    def _speak_of_lag(self) -> None:
        behind = self.told.get("behind_s", 0.0)
        now = time.monotonic()
        if behind < BEHIND_S or now - self._spoken_at < AGAIN_S or self._catches_up:
            return
        self._spoken_at = now
        say(f"{called(self._logger)}: {behind:.0f} s behind the run, {self.progress()}; it catches up when the run is over")

    def progress(self, trials: int | None = None) -> str:
        """How far it is."""
        written, wanted = self.told.get("written", 0), self.told.get("wanted", trials)
        if wanted is None:
            return f"{written:,} trial{'s' if written != 1 else ''} written"
        return f"{written:,} of {wanted:,} trials written"

    def catch_up(self, trials: int) -> None:
        """Wait until it has logged everything. ``trials``: how many the run had."""
        if self._own != os.getpid():
            return
        name = called(self._logger)
        self._catches_up = True
        began, said_at = time.monotonic(), 0.0
        try:
            self._sent.wait()
            with suppress(OSError):  # it has stopped, and that was said
                os.write(self._orders, f"end {trials}\n".encode())
            while not self._ended.wait(SILENT_S if not said_at else 0.5):
                if not said_at or time.monotonic() - said_at > EVERY_S:
                    say(f"{name}: {self.progress(trials)}, catching up (Ctrl-C leaves the rest for later)")
                    said_at = time.monotonic()
        except KeyboardInterrupt:
            self._leave()
            return
        finally:
            self.let_go()
        if self.told.get("over"):
            if said_at:
                say(f"{name}: {self.progress(trials)}, {time.monotonic() - began:.0f} s behind the run's end")
            if self.told.get("left_out"):
                say(f"{name}: {self.told['left_out']}")

    def let_go(self) -> None:
        """Say nothing more to it: it ends behind what is there. Safe to call twice."""
        orders, self._orders = self._orders, -1
        if orders >= 0:
            os.close(orders)

    def __del__(self) -> None:
        if self._own == os.getpid():
            self.let_go()

    def _leave(self) -> None:
        """What it holds it may bring home; the rest is for later."""
        self._left = True
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
        with suppress(KeyboardInterrupt):
            self._ended.wait(LAST_S)
        say(f"{called(self._logger)}: {self.progress()}, then it was interrupted. To go on: {self._logger.hint(self._path)}")


def say(line: str) -> None:
    """A line for who watches the run; what is not there to be printed to costs nothing."""
    with suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)
