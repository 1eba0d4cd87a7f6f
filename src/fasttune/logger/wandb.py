"""Weights & Biases: a run for each trial, in the group of the experiment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from fasttune.extras import optional, require
from fasttune.logger.behind import JournalLogger, LoggedExperiment
from fasttune.logger.numbers import as_plain, shown
from fasttune.logger.open_runs import OpenRuns
from fasttune.logger.options import whole_place

# fmt: off
INIT_OPTIONS = (
    "entity", "project", "dir", "id", "name", "notes", "tags", "config", "config_exclude_keys", "config_include_keys",
    "allow_val_change", "group", "job_type", "mode", "force", "reinit", "resume", "resume_from", "fork_from", "save_code",
    "tensorboard", "sync_tensorboard", "monitor_gym", "settings", "anonymous",
)
# fmt: on
MOST_RUNS = 32  # that are open at a time: each is a stream of W&B's own process


class WandbLoggerCallback(JournalLogger):
    """Logs each trial as a run of Weights & Biases: id and name are the trial's, the group is the experiment, reports are logged
    over ``training_iteration`` at their own time.

    Without a network: ``mode="offline"`` (or $WANDB_MODE), and ``wandb sync`` later. Runs offline lie in W&B's usual folder,
    ``wandb`` where the program was started, or in ``dir``.

    Args:
        project: default: $WANDB_PROJECT_NAME, or W&B's own.
        group: default: $WANDB_GROUP_NAME, or the experiment's name.
        api_key_file, api_key: what W&B knows you by; None: as W&B finds it.
        excludes: names of metrics that are not logged, or patterns such as "debug/*".
        log_config: the config is logged with every report, too: for schedulers that change it.
        upload_checkpoints: the checkpoints of a trial that are kept are logged as an artifact when it is over.
        max_trials, best_trials: see :class:`JournalLogger`. A run costs W&B a tenth of a second or more.
        options: all others are those of ``wandb.init``, e.g. ``entity``, ``mode``, ``dir``, ``tags``, ``settings``.
    """

    title = "W&B"
    key = "wandb"
    secrets = ("_api_key",)
    _api_key: str | None = None

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | None = None,
        api_key: str | None = None,
        excludes: Sequence[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        save_checkpoints: bool = False,
        *,
        max_trials: int | None = 200,
        best_trials: int = 10,
        **options: Any,
    ) -> None:
        require("wandb", "wandb", type(self).__name__)
        super().__init__(max_trials=max_trials, best_trials=best_trials)
        if api_key is not None and api_key_file is not None:
            raise ValueError("give api_key or api_key_file, not both")
        check_options(options)
        self.project = project or os.environ.get("WANDB_PROJECT_NAME")
        self.group = group or os.environ.get("WANDB_GROUP_NAME")
        self.api_key_file = api_key_file
        self._api_key = api_key
        self.excludes = tuple(excludes or ())
        self.log_config = log_config
        self.upload_checkpoints = upload_checkpoints or save_checkpoints  # its name in Ray Tune 1.x
        self.options = {**options, **({"dir": whole_place(str(options["dir"]))} if options.get("dir") else {})}

    def log_destination(self) -> str:
        where = [self.options.get("entity"), self.project, self.options.get("dir"), self.options.get("mode")]
        return " ".join(str(one) for one in where if one)

    def setup(self, *arguments: Any, **told: Any) -> None:
        """Start the process that logs. What W&B knows us by is in its environment."""
        give_key(self._api_key, self.api_key_file)
        super().setup(*arguments, **told)

    def log_begin(self, experiment: LoggedExperiment) -> None:
        give_key(self._api_key, self.api_key_file)
        self._wandb: Any = optional("wandb", "wandb", type(self).__name__)
        self._about = experiment
        self._runs: OpenRuns[Any] = OpenRuns(self._open, lambda run: run.finish(), most=MOST_RUNS)

    def log_trial_start(self, trial: Any) -> None:
        self._runs.of(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        told = {name: as_plain(value) for name, value in shown(result).items()}
        told = {name: value for name, value in told.items() if not any(fnmatch(name, one) for one in self.excludes)}
        if self.log_config:
            told["config"] = as_plain(result.get("config", {}))
        told.update(training_iteration=iteration, _timestamp=result.get("timestamp"))
        self._runs.of(trial).log(told)

    def log_trial_attributes(self, trial: Any, attributes: Mapping[str, Any]) -> None:
        self._runs.of(trial).config.update(as_plain(attributes), allow_val_change=True)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        run = self._runs.take(trial)
        if self.upload_checkpoints and trial.checkpoint is not None:
            artifact = self._wandb.Artifact(name=f"checkpoint_{trial.trial_id}", type="model")
            with trial.checkpoint.as_directory() as folder:
                artifact.add_dir(folder)
                run.log_artifact(artifact)
                run.finish(exit_code=int(failed))
            return
        run.finish(exit_code=int(failed))

    def log_end(self, finished: bool) -> None:
        self._runs.put_all_away()

    def _open(self, trial: Any) -> Any:
        run = self._wandb.init(
            **{
                "id": trial.trial_id,
                "name": str(trial),
                "group": self.group or self._about.name,
                "project": self.project,
                "config": as_plain(trial.config),
                "resume": "allow",  # a trial that is gone on with goes on in its run
                "reinit": "create_new",  # beside the runs of other trials
                "settings": self._wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True),
                **self.options,
            }
        )
        run.define_metric("training_iteration", hidden=True)
        run.define_metric("*", step_metric="training_iteration")
        return run


def setup_wandb(
    config: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | None = None,
    rank_zero_only: bool = True,
    **options: Any,
) -> Any:
    """Begin a W&B run for the trial that runs here, with its config, and return it.

    For trials that log by themselves, ``run.log(...)``. The run of the trial before, in the same process, is finished.

    Args:
        config: the trial's. Its key "wandb", a dict, may hold arguments of ``wandb.init``.
        api_key, api_key_file: what W&B knows you by.
        rank_zero_only: means nothing here: a trial is one process.
        options: arguments of ``wandb.init``. Defaults: the trial's id and name, the experiment as ``group``.
    """
    wandb: Any = optional("wandb", "wandb", "setup_wandb")
    from fasttune.session import get_context

    told = dict(config or {})
    asked = {**(told.pop("wandb", None) or {}), **options}
    give_key(asked.pop("api_key", None) or api_key, asked.pop("api_key_file", None) or api_key_file)
    check_options(asked)
    context = get_context()
    usual = {
        "id": context.get_trial_id(),
        "name": context.get_trial_name(),
        "group": context.get_experiment_name(),
        "resume": "allow",
        "reinit": "finish_previous",
        "config": as_plain(told),
    }
    return wandb.init(**{**usual, **asked})


def give_key(key: str | None, file: str | None) -> None:
    """Tell W&B who we are."""
    if file is not None:
        with open(os.path.expanduser(file), encoding="utf-8") as text:
            key = text.readline().strip()
    if key:
        os.environ["WANDB_API_KEY"] = key


def check_options(options: Mapping[str, Any]) -> None:
    """TypeError for what ``wandb.init`` does not take: it would be said only behind the run."""
    wrong = [name for name in options if name not in INIT_OPTIONS]
    if wrong:
        raise TypeError(f"unexpected keyword argument {wrong[0]!r}: it is none of wandb.init ({', '.join(INIT_OPTIONS)})")
