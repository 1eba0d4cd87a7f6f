"""JournalLogger: a logger that reads the journal behind the run, in a process of its own. Trials never wait for it.

    this process                        the logger's process (fasttune/follower.py)
    setup()              - starts ->    reads the journal as readers do, calls log_trial_start, log_trial_result, ...
    a thread             <- told -      how far it is, once a second; why it has stopped
    on_experiment_end()  - "end" ->     catches up, closes what it wrote to, ends
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple
from weakref import WeakValueDictionary

from fasttune.argument import checked_count
from fasttune.callback import Callback
from fasttune.logger.base import LoggerCallback
from fasttune.logger.following_process import FollowingProcess, called
from fasttune.logger.options import as_option, named, options_of


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
