"""Aim: a run for each trial, in a repository on this machine or a server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.extras import optional, require
from fasttune.logger.behind import JournalLogger, LoggedExperiment
from fasttune.logger.numbers import as_plain, numbers_of
from fasttune.logger.open_runs import OpenRuns
from fasttune.logger.options import whole_place

RUN_OPTIONS = ("system_tracking_interval", "log_system_params", "capture_terminal_logs", "force_resume", "read_only")


class AimLoggerCallback(JournalLogger):
    """Logs each trial as a run of Aim: its config as ``hparams``, the numbers of its reports by ``training_iteration``.

    Args:
        repo: Aim's repository, a folder (made if it is not there) or a server; None: the experiment's folder, for ``aim up --repo``.
        experiment_name: of Aim's experiment; None: the name of this one.
        metrics: names of the metrics that are logged; None: all.
        max_trials, best_trials: see :class:`JournalLogger`.
        options: all others are those of ``aim.Run``.
    """

    title = "Aim"
    key = "aim"

    def __init__(
        self,
        repo: str | None = None,
        experiment_name: str | None = None,
        metrics: Sequence[str] | None = None,
        *,
        max_trials: int | None = 500,
        best_trials: int = 10,
        **options: Any,
    ) -> None:
        require("aim", "aim", type(self).__name__)
        super().__init__(max_trials=max_trials, best_trials=best_trials)
        wrong = [name for name in options if name not in RUN_OPTIONS]
        if wrong:
            raise TypeError(f"unexpected keyword argument {wrong[0]!r}: it is none of aim.Run ({', '.join(RUN_OPTIONS)})")
        self.repo = None if repo is None else whole_place(repo)
        self.experiment_name = experiment_name
        self.metrics = None if metrics is None else tuple(metrics)
        self.options = options

    def log_destination(self) -> str:
        return " ".join(one for one in (self.repo, self.experiment_name) if one)

    def log_begin(self, experiment: LoggedExperiment) -> None:
        self._aim: Any = optional("aim", "aim", type(self).__name__)
        self._about = experiment
        where = self.repo or experiment.path
        self._home = where if "://" in where else self._aim.Repo.from_path(where, init=True)
        self._hashes = self._known_hashes() if experiment.goes_on else {}
        self._runs: OpenRuns[Any] = OpenRuns(self._open, lambda run: run.close(), most=16)

    def _known_hashes(self) -> dict[str, str]:
        """The runs of trials that were logged before."""
        repo = self._aim.Repo.from_path(self._home) if isinstance(self._home, str) else self._home
        found: dict[str, str] = {}
        for name in repo.list_all_runs():
            # Repo's own ways to runs show those only that `aim up` has put into its index
            about = repo.request_tree("meta", name, read_only=True).subtree(("meta", "chunks", name))
            told = about.get(("attrs", "fasttune"), None) or {}
            if told.get("experiment") == self._about.identity:
                found[told["trial"]] = name
        return found

    def log_trial_start(self, trial: Any) -> None:
        self._runs.of(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        run = self._runs.of(trial)
        for name, value in numbers_of(result).items():
            if self.metrics is None or name in self.metrics:
                run.track(value, name=name, step=iteration)

    def log_trial_attributes(self, trial: Any, attributes: Mapping[str, Any]) -> None:
        run = self._runs.of(trial)
        for name, value in attributes.items():
            run["attributes", name] = as_plain(value)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        run = self._runs.take(trial)
        run["status"] = trial.status
        run.close()

    def log_flush(self) -> None:
        self._runs.put_all_away()  # a run is whole on the disk when it is closed

    def log_end(self, finished: bool) -> None:
        self._runs.put_all_away()

    def _open(self, trial: Any) -> Any:
        """The trial's run: the one that it has already, or a new one."""
        usual = {"system_tracking_interval": None, "log_system_params": False, "capture_terminal_logs": False}
        options = {**usual, **self.options}
        known = self._hashes.get(trial.trial_id)
        if known is not None:
            return self._aim.Run(known, repo=self._home, **options)
        run = self._aim.Run(repo=self._home, experiment=self.experiment_name or self._about.name, **options)
        self._hashes[trial.trial_id] = run.hash
        run.name = str(trial)
        run["hparams"] = as_plain(trial.config)
        run["fasttune"] = {"experiment": self._about.identity, "trial": trial.trial_id, "folder": trial.path}
        return run
