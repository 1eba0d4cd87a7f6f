"""Every exception that fasttune raises on purpose.

    TuneError                     what users catch
      MissingMetricError          a report lacks the metric that the run is steered by (also a KeyError)
      IncompleteTrialsError       trials of a run failed; carries the analysis of all
      NoBestTrialError            asked for the best trial, and there is none (also a ValueError)
      TrialFailedError            one trial's own failure, carrying its traceback text
        WorkerDiedError           the process of a trial died (signal, exit, out of memory)
      ExperimentLockedError       another live process is writing this experiment
      JournalError                an experiment file cannot be read; says where it is damaged
        ForeignFileError          a file belongs to another user, or is a link: it is not written to, nor unpickled
      JournalLockedError          another process holds the database of this experiment, and a Ctrl-C ended the wait
      FolderGoneError             the folder of a running experiment was removed, replaced or made read-only
      ResumeError                 a run cannot go on with an earlier one as it was asked (also a ValueError)
      IllegalTransitionError      our own bug: an event that the trial's status does not allow
    StopTrial                     raised inside a trial when it has been stopped; a SystemExit, so that
                                  ``finally`` blocks run and ``except Exception`` does not swallow it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasttune.analysis import ExperimentAnalysis
    from fasttune.trial import Trial


class TuneError(Exception):
    """Base of all errors that fasttune raises for its users."""


class MissingMetricError(TuneError, KeyError):
    """A report does not contain a metric that the run, its scheduler or its searcher needs."""

    reported: tuple[str, ...] = ()  # what it contains

    def __str__(self) -> str:  # KeyError would show the repr of the text
        return str(self.args[0]) if self.args else ""


class NoBestTrialError(TuneError, ValueError):
    """There is no best trial; the text says why: no metric or mode is known, or no trial has a usable value of it."""


class IncompleteTrialsError(TuneError):
    """Some trials failed, or no trial reported the run's metric, which ended it. ``analysis`` has the results of all of them;
    the text ends with the traceback of the first one that failed."""

    def __init__(
        self, message: str, trials: list[Trial], analysis: ExperimentAnalysis, first_traceback: str = ""
    ) -> None:
        super().__init__(message, trials)
        self.trials = trials
        self.analysis = analysis
        self.first_traceback = first_traceback

    def __str__(self) -> str:
        names = ", ".join(str(trial) for trial in self.trials[:5])
        more = f" and {len(self.trials) - 5} more" if len(self.trials) > 5 else ""
        why = self.args[0].rstrip(".")
        if self.trials:
            why += f"{' ' if why.endswith('?') else ': '}{len(self.trials)} of {len(self.analysis.trials)} failed ({names}{more})"
        text = (
            f"{why}.\n"
            f"All results are in {self.analysis.experiment_path}, and in the .analysis of this exception; "
            "raise_on_failed_trial=False returns them without one."
        )
        return f"{text}\nThe first one's own error:\n\n{self.first_traceback}" if self.first_traceback else text

    def __reduce__(self) -> tuple[type, tuple[str, list[Trial], ExperimentAnalysis, str]]:
        return type(self), (self.args[0], self.trials, self.analysis, self.first_traceback)


class TrialFailedError(TuneError):
    """A trial ended with an error. ``traceback_text`` is the trial's own traceback, as text."""

    def __init__(self, message: str, traceback_text: str = "") -> None:
        super().__init__(message)
        self.traceback_text = traceback_text

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self.args[0]), self.traceback_text)


class WorkerDiedError(TrialFailedError):
    """The process that ran a trial ended without finishing it."""


class ExperimentLockedError(TuneError):
    """Another process is writing this experiment; the message names its process id."""


class JournalError(TuneError):
    """An experiment's journal cannot be read as it should."""


class JournalLockedError(TuneError):
    """Another process has kept a write transaction of the experiment's database open until nobody would wait any more."""


class FolderGoneError(TuneError):
    """The folder of an experiment was removed, replaced by another one or made read-only while it ran."""


class ForeignFileError(JournalError):
    """A file of an experiment's folder is not followed, written or unpickled: it is a link, or another user's."""


class ResumeError(TuneError, ValueError):
    """A run cannot go on with an earlier one as it was asked; the text says what was and what is. Nothing was written."""


class IllegalTransitionError(TuneError):
    """An event arrived that the trial's status does not allow. A bug in fasttune: please report the story."""


class StopTrial(SystemExit):  # a request, not an error
    """Raised by ``report()`` inside a trial that has been stopped."""
