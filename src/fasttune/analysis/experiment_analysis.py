"""ExperimentAnalysis: what came out of an experiment, live or from disk."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fasttune.config import no_mode
from fasttune.constraints import as_compared
from fasttune.error import NoBestTrialError
from fasttune.metric_values import whole_text
from fasttune.result import DELIMITER, best_position, check_mode, flatten, number
from fasttune.scope import DEFAULT_SCOPE, check_scope, measured, where
from fasttune.space.as_json import config_to_json
from fasttune.tables.best import Best, best_of
from fasttune.tables.columns import Columns
from fasttune.trial import ERROR, Snapshot, Trial, Trials, TrialSource
from fasttune.working_directory import absolute

if TYPE_CHECKING:
    import logging

    import pandas as pd
    import polars
    import pyarrow

    from fasttune.analysis.curves import Cost
    from fasttune.analysis.verify import Difference
    from fasttune.analysis.what_if import WhatIf
    from fasttune.checkpoint import Checkpoint
    from fasttune.plot import Plots
    from fasttune.schedulers import TrialScheduler
    from fasttune.scope import Scope


class ExperimentAnalysis:
    """The trials of an experiment, the best of them, and data frames.

    Reports are read when they are first needed and then kept: made while trials still run, an analysis shows
    the reports of its first question. Metrics have flattened names ("a/b"). Trials of every status count.
    """

    def __init__(
        self,
        experiment_checkpoint_path: str | os.PathLike[str] | TrialSource,
        *,
        storage_filesystem: None = None,
        trials: Sequence[Trial] | None = None,
        default_metric: str | None = None,
        default_mode: str | None = None,
        default_scope: Scope | None = None,
    ) -> None:
        """Opens an experiment's folder (or a file in it), or takes the state of one that is in memory.

        Args:
            trials: the analysis is of these trials of the experiment only, in this order.
            default_metric: used where a method's ``metric`` is not given; else the experiment's own.
            default_mode: "min" or "max", likewise.
            default_scope: which value of a trial says how good it is, likewise: "last", "all", "avg", "last-5-avg" or
                "last-10-avg".
        """
        if storage_filesystem is not None:
            raise ValueError(
                "storage_filesystem is not supported: experiments lie on this machine's disk, "
                f"got {storage_filesystem!r}; pass the folder's path alone"
            )
        if default_mode is not None:
            check_mode(default_mode)
        self._source = _opened(experiment_checkpoint_path)
        self._chosen = None if trials is None else [self._index(trial) for trial in trials]
        self.default_metric = default_metric if default_metric is not None else self._source.metric
        self.default_mode = default_mode if default_mode is not None else self._source.mode
        told = getattr(self._source, "objectives", {})
        self.objectives: dict[str, str] = told if default_metric in (None, self._source.metric) else {}
        own = getattr(self._source, "scope", DEFAULT_SCOPE)
        self.default_scope: Scope = own if default_scope is None else check_scope(default_scope)

    # ---- trials

    @property
    def trials(self) -> Trials:
        """The trials in the order in which they were suggested, each made when it is looked at."""
        return Trials(self._source, self._chosen)

    @property
    def experiment_path(self) -> str:
        """The experiment's folder."""
        return self._source.path

    @property
    def errors(self) -> list[BaseException]:
        """The errors of the trials that ended with one."""
        table: Any = getattr(self._source, "table", None)
        trials = Trials(self._source, table.of_status(ERROR)) if table is not None and self._chosen is None else self.trials
        failed = (trial.get_error() for trial in trials if trial.status == ERROR)
        return [error for error in failed if error is not None]

    @property
    def interrupted(self) -> bool:
        """Whether the run was over before its trials were: by Ctrl-C or SIGTERM, or because its folder went.

        Of an experiment opened from its folder: whether trials are not over although no process runs it.
        """
        source: Any = self._source
        if getattr(source, "interrupted", False) or not getattr(source, "rereads", False):
            return bool(getattr(source, "interrupted", False))
        from fasttune.storage.recovery import writer_of

        return bool(source.table.finished < len(source) and writer_of(source.path) is None)

    def get_all_configs(self, prefix: bool = False) -> dict[str, dict[str, Any]]:
        """Trial id -> config; with ``prefix`` its keys are "config/<key>"."""
        configs = {trial.trial_id: trial.config for trial in self.trials}
        if not prefix:
            return configs
        return {i: {f"config{DELIMITER}{k}": v for k, v in config.items()} for i, config in configs.items()}

    def stats(self) -> dict[str, Any]:
        """When the first and the last report were written (unix time); how many trials and reports are."""
        time = self._columns.time
        return {
            "start_time": float(time.min()) if len(time) else None,
            "timestamp": float(time.max()) if len(time) else None,
            "trials": self.status_counts(),
            "reports": len(time),
        }

    def status_counts(self) -> dict[str, int]:
        """How many of the trials have which status; a status that none has is left out."""
        table: Any = getattr(self._source, "table", None)
        if table is not None and self._chosen is None:
            return {status: n for status, n in table.counts().items() if n}
        return dict(Counter(self._source.status(i) for i in self._indices))

    def lineage(self) -> pd.DataFrame:
        """Who copied whom: a row per change that a scheduler ordered, in their order.

        Columns: time (unix), trial_id, training_iteration (where the trial was), donor_id (None: it went on from its
        own checkpoint), donor_iteration (of the checkpoint), and old/<key>, new/<key> for each key of the config that
        has ever changed.
        """
        import pandas as pd

        chosen = set(self._indices)
        told: list[Any] = getattr(self._source, "lineage", list)()
        rows = [(one, flatten(one.old_config), flatten(one.new_config)) for one in told if one.trial in chosen]
        names = sorted({n for _, old, new in rows for n in old.keys() | new.keys() if not _is_same(old.get(n), new.get(n))})
        name_of = self._source.trial_id
        columns: dict[str, Any] = {
            "time": [one.time for one, _, _ in rows],
            "trial_id": [name_of(one.trial) for one, _, _ in rows],
            "training_iteration": [one.trial_iteration for one, _, _ in rows],
            "donor_id": [None if one.donor is None else name_of(one.donor) for one, _, _ in rows],
            "donor_iteration": [one.donor_iteration for one, _, _ in rows],
        }
        for name in names:
            columns[f"old/{name}"] = [old.get(name) for _, old, _ in rows]
            columns[f"new/{name}"] = [new.get(name) for _, _, new in rows]
        return pd.DataFrame(columns)

    # ---- the best trial

    def get_best_trial(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str | None = None,
        filter_nan_and_inf: bool = True,
    ) -> Trial | None:
        """The trial with the best score of a metric, the first of equals; None (with a warning) if none has.

        An experiment of one trial gives that trial, whatever the metric.

        Args:
            scope: what a trial's score is: "last" its last value, "all" its best one, "avg", "last-5-avg" or
                "last-10-avg" the mean of all or its last values. Only reports that have the metric count. None: as the
                run was asked, "last" if it was not.
            filter_nan_and_inf: trials whose score is NaN or infinite are left out. Otherwise infinities count
                and NaN is worse than any number.
        """
        if len(self._indices) == 1:
            return Trial(self._source, self._indices[0])
        metric, mode = self._metric(metric), self._mode(mode, metric)
        best = self._find_best(metric, mode, self._scope(scope), filter_nan_and_inf)
        if best is None:
            _logger().warning("No best trial found: %s", self._why_none(metric))
            return None
        return Trial(self._source, best.trial)

    def get_best_config(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str | None = None,
        filter_nan_and_inf: bool = True,
    ) -> dict[str, Any] | None:
        """The config of ``get_best_trial``."""
        best = self.get_best_trial(metric, mode, scope, filter_nan_and_inf)
        return best.config if best else None

    def get_best_logdir(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str | None = None,
        filter_nan_and_inf: bool = True,
    ) -> str | None:
        """The folder of ``get_best_trial``."""
        best = self.get_best_trial(metric, mode, scope, filter_nan_and_inf)
        return best.logdir if best else None

    def pareto_front(self, metrics: Mapping[str, str] | None = None, scope: str | None = None) -> list[Trial]:
        """The trials that no other trial beats: none is at least as good in every metric and better in one.

        They come by the first metric, best first; trials without a finite value of each metric are left out.

        Args:
            metrics: "min" or "max" for each metric, e.g. ``{"loss": "min", "accuracy": "max"}``; None: the ``objectives`` of the run,
                or its own metric alone, which gives the best trials.
            scope: which value of a trial counts, as for ``get_best_trial``.

        Raises:
            ValueError: no metrics, a mode that is neither "min" nor "max", or an unknown scope.
        """
        from fasttune.analysis.fronts import front_of

        return [Trial(self._source, i) for i in front_of(self, metrics, scope)]

    @property
    def best_trials(self) -> list[Trial]:
        """The trials that no other one beats in all of the run's metrics at once: ``pareto_front()``. Of a run with one metric
        those with the best value."""
        return self.pareto_front()

    def hypervolume(
        self, metrics: Mapping[str, str] | None = None, reference: Mapping[str, float] | None = None, scope: str | None = None
    ) -> pd.DataFrame:
        """How much the front covers, trial by trial: columns trial_id and hypervolume, in the order in which trials reported last.

        The hypervolume is the measure of all that at least one trial so far is no worse than, up to the reference: the larger,
        the better. Trials without a finite value of each metric, and those that break their constraints, add nothing.

        Args:
            metrics, scope: as for :meth:`pareto_front`; two metrics or more.
            reference: a value of each metric that is worse than all that count; what is beyond it adds nothing. None: the worst
                value of each that any trial has, so experiments can be compared only by one that is given.

        Raises:
            ValueError: as for :meth:`pareto_front`, one metric alone, or a reference that lacks a metric.
        """
        import pandas as pd

        from fasttune.analysis.fronts import hypervolumes_of

        trials, covered = hypervolumes_of(self, metrics, reference, scope)
        return pd.DataFrame({"trial_id": [self._source.trial_id(i) for i in trials], "hypervolume": covered})

    @property
    def best_trial(self) -> Trial:
        """The best trial by the default metric, mode and scope.

        Raises:
            NoBestTrialError: there is none, and why: no metric or mode is known, or none of several trials has a usable value of it.
                ``get_best_trial`` gives None instead where no trial has a value.
        """
        return Trial(self._source, self._best().trial)

    @property
    def best_config(self) -> dict[str, Any]:
        """The config of ``best_trial``."""
        return self.best_trial.config

    @property
    def best_logdir(self) -> str:
        """The folder of ``best_trial``."""
        return self.best_trial.logdir

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The checkpoint of ``best_trial`` with the best value of the default metric; None if it has kept none."""
        return self.get_best_checkpoint(self.best_trial, self.default_metric, self.default_mode)

    @property
    def best_result(self) -> dict[str, Any]:
        """The result of ``best_trial`` that made it the best: its last one, or with the scope "all" that of its best value."""
        best = self._best()
        if best.step is not None:
            for result in self._source.results(best.trial):
                if result.get("training_iteration") == best.step:
                    return result
        return self._source.last_result(best.trial)

    @property
    def best_result_df(self) -> pd.DataFrame:
        """``best_result`` as a frame of one line, flattened, with index trial_id."""
        from fasttune.analysis.frames import trial_frame, trials_frame

        best = self._best()
        if best.step is None:
            return trials_frame(self._columns, [best.trial])
        frame = trial_frame(self._columns, best.trial)
        return frame[frame["training_iteration"] == best.step].set_index("trial_id")

    @property
    def best_dataframe(self) -> pd.DataFrame:
        """Every report of ``best_trial``, one line each."""
        from fasttune.analysis.frames import trial_frame

        return trial_frame(self._columns, self.best_trial.index)

    @property
    def best_said(self) -> str:
        """What is best and how it was measured, in words: 'best last loss 0.1 (min) by trial ab12c_00003'."""
        best = self._best()
        said = measured(str(self.default_metric), self.default_scope)
        by = f"by trial {self._source.trial_id(best.trial)}"
        return f"best {said} {best.value:.6g} ({self.default_mode}){where(best.step)} {by}"

    # ---- tables

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Trial id -> last result."""
        return {trial.trial_id: trial.last_result for trial in self.trials}

    @property
    def results_df(self) -> pd.DataFrame:
        """One line per trial: its last result, flattened, with index trial_id."""
        from fasttune.analysis.frames import trials_frame

        return trials_frame(self._columns, self._indices)

    @cached_property
    def trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """Trial id -> every report of the trial, one line each; each frame is made when it is asked for."""
        from fasttune.analysis.frames import TrialFrames

        return TrialFrames(self._columns, self._indices)

    def fetch_trial_dataframes(self) -> Mapping[str, pd.DataFrame]:
        """The same as ``trial_dataframes``, under its older name."""
        return self.trial_dataframes

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """One line per trial that reported, with config/<name> columns and the trial's folder as ``logdir``.

        With a mode it is the line of the trial's best ever value of the metric (the first of equals; trials
        that never had a number there are left out); without a mode it is the trial's last report.

        Raises:
            ValueError: a mode without a metric, a mode that is neither "min" nor "max", or a metric that no
                report has although there are reports.
        """
        from fasttune.analysis.frames import reports_frame

        if mode is not None:
            check_mode(mode)
            if metric is None:
                raise ValueError(f"mode={mode!r} needs a metric: dataframe(metric=..., mode={mode!r})")
        columns = self._columns
        if mode is None or metric is None:
            rows = columns.last_rows()
        else:
            rows = columns.best_rows(metric, mode)
            if not len(rows) and len(columns) and metric not in columns.names:
                raise ValueError(f"metric {metric!r} was never reported{self._reported_names()}")
        frame = reports_frame(columns, self._in_order(rows), folders=True)
        if self.objectives and "pareto_front" not in frame:
            from fasttune.analysis.fronts import front_of

            front = front_of(self, None, None, quietly=True)
            frame["pareto_front"] = [i in front for i in columns.trial[self._in_order(rows)].tolist()]
        return frame

    def reports(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """One line per report of all trials, by trial, then step: what to group, plot and fit curves to.

        Columns: trial_id (categorical), training_iteration, time (unix seconds, float64), and every metric by its flattened
        name, in the order of first sight, or ``metrics``; one that a report did not have is NaN. Reports that a trial took
        back, because it began again from before them, are left out. A metric that was reported under the name of one of the
        first three columns takes its place.

        Raises:
            ValueError: one of ``metrics`` was never reported.
        """
        from fasttune.analysis.frames import long_frame

        if isinstance(metrics, str):
            raise TypeError(f"metrics must be a list of names, got the str {metrics!r}: write [{metrics!r}]")
        return long_frame(self._columns, self._chosen, metrics)

    def to_arrow(self, table: str = "trials") -> pyarrow.Table:
        """``dataframe()`` ("trials") or ``reports()`` ("reports") as an Arrow table; needs pyarrow.

        Columns that hold values of several types, or objects, hold their texts.

        Raises:
            ValueError: another table.
            ImportError: pyarrow is not installed; the message says how to.
        """
        from fasttune.analysis.exports import to_arrow

        return to_arrow(self._table(table))

    def to_polars(self, table: str = "trials") -> polars.DataFrame:
        """The same as a Polars frame; needs polars, and not pyarrow."""
        from fasttune.analysis.exports import to_polars

        return to_polars(self._table(table))

    def to_parquet(self, path: str | os.PathLike[str], table: str = "trials") -> None:
        """The same as a Parquet file, which takes the place of one that is there; needs pyarrow."""
        from fasttune.analysis.exports import to_parquet

        to_parquet(self._table(table), path)

    def to_sqlite(self, path: str | os.PathLike[str]) -> None:
        """``results_df`` with each trial's status, and ``reports()``, as the tables ``trials`` and ``reports`` of an SQLite database,
        which takes the place of a file that is there; the view ``reports_of_trials`` has the config beside each report.
        """
        from fasttune.analysis.sql import to_sqlite

        trials = self.results_df.copy().reset_index()
        status: Any = getattr(self._source, "shown_status", self._source.status)
        trials.insert(1, "status", [status(i) for i in self._indices])
        to_sqlite(trials, self.reports(), path)

    def export(self, path: str | os.PathLike[str], format: str | None = None, **options: Any) -> str:  # noqa: A002
        """Write the experiment in the form of another program, and return where it was written; see docs/exchange.md.

        Args:
            path: a file, a folder for "ray", a storage for "optuna", a store for "mlflow".
            format: "csv", "jsonl", "parquet", "sqlite", "ray", "optuna" or "mlflow"; None: as the path's ending says, of
                the first four.
            options: of the form. csv, jsonl, parquet: ``table`` ("trials" or "reports"). optuna: ``study_name``, ``metrics``,
                ``scope``. mlflow: ``experiment_name``, ``metrics``, ``scope``.

        Raises:
            ValueError: an unknown form, or something there that is in the way.
            TypeError: an option that the form does not have.
            ImportError: a library is missing; the message says how to install it.
        """
        from fasttune.analysis.exchange import export

        return export(self, path, format, **options)

    def _table(self, table: str) -> pd.DataFrame:
        if table not in ("trials", "reports"):
            raise ValueError(f'table must be "trials" or "reports", got {table!r}')
        return self.dataframe() if table == "trials" else self.reports()

    # ---- checkpoints

    def get_trial_checkpoints_paths(
        self, trial: Trial | str, metric: str | None = None
    ) -> list[tuple[str, Any]]:
        """(directory, value of the metric or None) of each checkpoint that is kept, oldest first.

        One in memory is written to the trial's folder by asking for its directory.
        """
        return [(os.fspath(saved), value) for saved, value in self._saved(trial, metric)]

    def _saved(self, trial: Trial | str, metric: str | None) -> list[tuple[str | Checkpoint, Any]]:
        metric = metric or self.default_metric or "training_iteration"
        return [(saved, told.get(metric)) for saved, told in self._saved_results(trial)]

    def _saved_results(self, trial: Trial | str) -> list[tuple[str | Checkpoint, dict[str, Any]]]:
        return [(saved, flatten(result)) for saved, result in self._source.checkpoints(self._index(trial))]

    def get_best_checkpoint(
        self, trial: Trial | str, metric: str | None = None, mode: str | None = None
    ) -> Checkpoint | None:
        """The kept checkpoint of a trial (or trial id, or trial folder) with the best value of the metric.

        Checkpoints without a number there, or with NaN, do not count; None (and an error in the log) if that
        leaves none. Of equal values the first.
        """
        from fasttune.checkpoint import Checkpoint

        metric, mode = self._metric(metric), self._mode(mode, metric)
        saved = self._saved_results(trial)
        scored = [(one, number(as_compared(told, metric, mode).get(metric))) for one, told in saved]
        usable = [(one, score) for one, score in scored if score is not None and not math.isnan(score)]
        if not usable:
            name = trial if isinstance(trial, str) else str(trial)
            reason = f"none of its {len(saved)} has a usable value of {metric!r}" if saved else "it has none"
            _logger().error("No best checkpoint of trial %s: %s", name, reason)
            return None
        best = usable[best_position([score for _, score in usable], mode)][0]
        return Checkpoint(best) if isinstance(best, str) else best

    def get_last_checkpoint(
        self, trial: Trial | str | None = None, metric: str = "training_iteration", mode: str = "max"
    ) -> Checkpoint | None:
        """The checkpoint of a trial with the highest training_iteration.

        Without a trial: of the best one by ``metric`` and ``mode``.
        """
        chosen = trial if trial is not None else self.get_best_trial(metric, mode)
        return self.get_best_checkpoint(chosen, "training_iteration", "max") if chosen is not None else None

    # ---- again, under other rules

    def what_if(
        self,
        scheduler: TrialScheduler | str | None = None,
        *,
        workers: int | None = None,
        stop: Any = None,
        cost: Cost | None = None,
    ) -> WhatIf:
        """What the same trials would have cost, and found, under another scheduler: ``print`` it.

        The trials run again in virtual time, each on the curve that it reported; no curve is made up. One that the
        scheduler would have let run on ends where its curve ends, and is counted as truncated.

        Args:
            scheduler: any that does not change configs; None: every trial to its end.
            workers: trials at a time; by default as many as there were at most.
            stop: stop criteria; by default the thresholds that the run had.
            cost: seconds of a step (see ``tune.simulate``); by default those that it took.
        """
        from fasttune.analysis.what_if import Ranking, what_if

        goal = Ranking(self.default_metric, self.default_mode, self.default_scope)
        return what_if(self._source, self._columns, self._indices, goal, scheduler, workers, stop, cost)

    def verify(self, scheduler: TrialScheduler, stop: Any = None) -> list[Difference]:
        """Replays the journal through a fresh scheduler of the run's kind and settings and compares every decision.

        Returns the decisions that come out otherwise: none, unless the settings differ, the scheduler is not
        deterministic, or the journal was changed. ``stop``: the run's stopper, if it had one that is no threshold.
        """
        from fasttune.analysis.verify import verify
        from fasttune.engine.records import ExperimentRecords

        if not isinstance(self._source, ExperimentRecords):
            raise ValueError("this analysis was pickled and holds no journal: open the folder, ExperimentAnalysis(path)")
        return verify(self._source, scheduler, stop)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """What was attached to the run: ``tune.run(..., user_attrs=)``, of all its sessions."""
        return dict(getattr(self._source, "user_attrs", {}))

    # ---- pictures

    def importances(
        self,
        metric: str | None = None,
        mode: str | None = None,
        *,
        params: Sequence[str] | None = None,
        method: Literal["ped-anova", "fanova"] = "ped-anova",
        top: float = 0.1,
        scope: str | None = None,
    ) -> pd.DataFrame:
        """How much each parameter matters for a metric: columns parameter, importance (all together are 1) and chance, which is what a
        parameter without any effect would get (NaN by fANOVA); the most important one first.

        Args:
            metric, mode, scope: as for :meth:`get_best_trial`.
            params: names of parameters; None: all.
            method: "ped-anova": how much values among the best trials differ from those among all (Watanabe et al. 2023). "fanova":
                which explain the metric's variance (needs scikit-learn).
            top: the share of trials that are the best, for "ped-anova".

        Raises:
            ValueError: an unknown method or metric, no mode, or fewer than 4 trials with different values.
        """
        from fasttune.plot import importance_table

        return importance_table(self, metric, mode, params=params, method=method, top=top, scope=scope)

    @property
    def plot(self) -> Plots:
        """The pictures of the experiment, e.g. ``analysis.plot.history()``; each gives a plotly Figure (``fasttune.plot``)."""
        from fasttune.plot import Plots

        return Plots(self)

    def report(self, path: str | os.PathLike[str] | None = None, **asked: Any) -> str:
        """Writes the report page, one HTML file that needs no network, and returns its path; see ``fasttune.plot.report``.

        Args:
            path: by default ``report.html`` in the experiment's folder.
            asked: ``metric``, ``mode``, ``scope``, ``metrics`` of ``fasttune.plot.report``.
        """
        from fasttune.plot import report

        return report(self, path, **asked)

    # ---- inside

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self._source)

    @property
    def _indices(self) -> Sequence[int]:
        return range(len(self._source)) if self._chosen is None else self._chosen

    def _index(self, trial: Trial | str) -> int:
        """Index of a trial that is given as a view, by id or by folder."""
        from fasttune.tables.trial_columns import TrialColumns

        if isinstance(trial, Trial):
            if trial.index < len(self._source) and trial.local_experiment_path == self._source.path:
                return trial.index
        else:
            index_of: Any = getattr(self._source, "index_of", None)
            if index_of is not None:
                with suppress(KeyError, ValueError):
                    at_once = int(index_of(trial))
                    if self._source.trial_id(at_once) == trial:
                        return at_once
            every = TrialColumns(self._source, range(len(self._source)))
            for names in (every.ids, every.folders):
                at = (names == whole_text(trial)).nonzero()[0]
                if len(at):
                    return int(at[0])
        raise ValueError(f"trial {str(trial)!r} is not one of the experiment in {self._source.path}")

    def _metric(self, metric: str | None) -> str:
        chosen = metric or self.default_metric
        if not chosen:
            several = f"has several ({', '.join(self.objectives)}; best_trials are those that no other one beats)"
            raise ValueError(
                f"no metric was given and the experiment {several if self.objectives else 'has no default metric'}: pass metric=..."
            )
        return chosen

    def _scope(self, scope: str | None) -> Scope:
        return self.default_scope if scope is None else check_scope(scope)

    def _mode(self, mode: str | None, metric: str | None = None) -> str:
        if mode is None and self.default_metric is not None and metric not in (None, self.default_metric):
            raise no_mode(metric)  # the default mode is that of another metric
        chosen = mode or self.objectives.get(metric or "") or self.default_mode
        if not chosen:
            raise ValueError('no mode was given and the experiment has no default: pass mode="min" or "max"')
        check_mode(chosen)
        return chosen

    def _best(self) -> Best:
        """By the defaults; NoBestTrialError."""
        metric, mode = self.default_metric, self.default_mode
        if not metric or not mode:
            missing = "metric" if not metric else "mode"
            if self.objectives:
                raise NoBestTrialError(
                    f"no trial is the best of all: the run has {len(self.objectives)} metrics ({', '.join(self.objectives)}). "
                    "Those that no other one beats are best_trials; the best by one of them is "
                    f"get_best_trial({next(iter(self.objectives))!r}, {next(iter(self.objectives.values()))!r})"
                )
            raise NoBestTrialError(
                f"no {missing} says which trial is best: best_... needs a metric and a mode. Give them to tune.run or "
                'ExperimentAnalysis, or use get_best_trial(metric, mode="min" or "max")'
            )
        best = self._find_best(metric, mode, self.default_scope)
        if best is None and len(self._indices) == 1:
            best = Best(self._indices[0], math.nan, None)
        if best is None:
            raise NoBestTrialError(f"no best trial found: {self._why_none(metric)}")
        return best

    def _why_none(self, metric: str) -> str:
        return f"no trial has a usable value of metric {metric!r}{self._reported_names()}"

    def _find_best(self, metric: str, mode: str, scope: str, finite: bool = True) -> Best | None:
        # made once and kept, unless the table of a run knows the answer without the reports
        columns = self.__dict__.get("_columns") or (self._columns if scope != DEFAULT_SCOPE else None)
        return best_of(self._source, metric, mode, scope, finite=finite, chosen=self._chosen, columns=columns)

    def _in_order(self, rows: Any) -> Any:
        """Rows, at most one per trial, of the chosen trials in their order."""
        import numpy as np

        if self._chosen is None:
            return rows
        row_of = dict(zip(self._columns.trial[rows].tolist(), rows.tolist(), strict=True))
        return np.array([row_of[i] for i in self._chosen if i in row_of], dtype=np.int64)

    def _reported_names(self) -> str:
        names = list(self._columns.names)
        return f"; reported were: {', '.join(names[:20])}" if names else "; nothing was reported"

    def __getstate__(self) -> dict[str, Any]:
        source = Snapshot.of(self._source, range(len(self._source)))
        source.interrupted = self.interrupted
        return {
            "_source": source,
            "_chosen": self._chosen,
            "objectives": self.objectives,
            "default_metric": self.default_metric,
            "default_mode": self.default_mode,
            "default_scope": self.default_scope,
        }

    def __repr__(self) -> str:
        return f"<ExperimentAnalysis of {len(self._indices)} trials in {self._source.path}>"

    def _repr_html_(self) -> str:
        from fasttune.analysis.overview import overview_html

        return overview_html(self, self._source.name)


def _opened(experiment: str | os.PathLike[str] | TrialSource) -> TrialSource:
    if not isinstance(experiment, (str, os.PathLike)):
        return experiment
    from fasttune.engine.opening import open_records

    path = absolute(experiment, "the experiment")
    if os.path.isfile(path):  # the journal itself
        path = os.path.dirname(path)
    source: TrialSource = open_records(path)
    return source


def _logger() -> logging.Logger:
    import logging  # costs as much as the rest of this module; most runs have nothing to say

    return logging.getLogger(__name__)


def _is_same(before: Any, now: Any) -> bool:
    """Whether two values of a config are equal, also arrays."""
    try:
        return bool(before == now)
    except (TypeError, ValueError):
        return bool(config_to_json(before) == config_to_json(now))
