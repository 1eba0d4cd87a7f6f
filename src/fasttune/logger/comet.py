"""Comet: an experiment of Comet's for each trial."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fasttune.extras import optional, require
from fasttune.logger.behind import JournalLogger, LoggedExperiment
from fasttune.logger.numbers import as_plain, numbers_of
from fasttune.logger.open_runs import OpenRuns
from fasttune.result import flatten

# fmt: off
EXPERIMENT_OPTIONS = (
    "api_key", "project_name", "workspace", "log_code", "log_graph", "auto_param_logging", "auto_metric_logging", "parse_args",
    "auto_output_logging", "log_env_details", "log_git_metadata", "log_git_patch", "disabled", "offline_directory", "log_env_gpu",
    "log_env_host", "log_env_cpu", "log_env_network", "log_env_disk", "display_summary", "display_summary_level",
    "auto_weight_logging", "auto_log_co2", "auto_metric_step_rate", "auto_histogram_tensorboard_logging",
    "auto_histogram_epoch_rate", "auto_histogram_weight_logging", "auto_histogram_gradient_logging",
    "auto_histogram_activation_logging", "distributed_node_identifier",
)
# fmt: on


class CometLoggerCallback(JournalLogger):
    """Logs each trial as an experiment of Comet: its config as parameters, the numbers of its reports by ``training_iteration``,
    texts and attributes as "others".

    Args:
        online: False: an archive for each trial, for ``comet upload``; it lies in ``offline_directory``, or in the experiment's
            folder, below "comet".
        tags: of each trial's experiment.
        save_checkpoints: the latest checkpoint of a trial is logged as files when it is over.
        max_trials, best_trials: see :class:`JournalLogger`.
        options: all others are those of ``comet_ml.Experiment`` or ``comet_ml.OfflineExperiment``, e.g. ``project_name``,
            ``workspace``, ``api_key``.
    """

    title = "Comet"
    key = "comet"
    secrets = ("_api_key",)
    _api_key: str | None = None

    def __init__(
        self,
        online: bool = True,
        tags: Sequence[str] | None = None,
        save_checkpoints: bool = False,
        *,
        max_trials: int | None = 200,
        best_trials: int = 10,
        **options: Any,
    ) -> None:
        require("comet_ml", "comet", type(self).__name__)
        super().__init__(max_trials=max_trials, best_trials=best_trials)
        if "experiment_key" in options:
            raise TypeError("experiment_key is made of the trial: each has an experiment of its own")
        wrong = [name for name in options if name not in EXPERIMENT_OPTIONS]
        if wrong:
            raise TypeError(
                f"unexpected keyword argument {wrong[0]!r}: it is none of comet_ml.Experiment ({', '.join(EXPERIMENT_OPTIONS)})"
            )
        self._api_key = options.pop("api_key", None)
        self.online = online
        self.tags = tuple(tags or ())
        self.save_checkpoints = save_checkpoints
        self.options = options

    def log_destination(self) -> str:
        where = [self.options.get(name) for name in ("workspace", "project_name", "offline_directory")]
        return " ".join([*(str(one) for one in where if one), *([] if self.online else ["offline"])])

    def setup(self, *arguments: Any, **told: Any) -> None:
        """Start the process that logs. What Comet knows us by is in its environment."""
        self._give_key()
        super().setup(*arguments, **told)

    def _give_key(self) -> None:
        if self._api_key:
            os.environ["COMET_API_KEY"] = self._api_key

    def log_begin(self, experiment: LoggedExperiment) -> None:
        self._give_key()
        os.environ.setdefault("COMET_LOGGING_CONSOLE", "ERROR")
        self._comet: Any = optional("comet_ml", "comet", type(self).__name__)
        self._about = experiment
        self._archives = self.options.get("offline_directory") or os.path.join(experiment.path, "comet")
        self._runs: OpenRuns[Any] = OpenRuns(self._open, lambda one: one.end(), most=32)

    def log_trial_start(self, trial: Any) -> None:
        self._runs.of(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self._runs.of(trial).log_metrics(numbers_of(result), step=iteration)

    def log_trial_attributes(self, trial: Any, attributes: Mapping[str, Any]) -> None:
        self._runs.of(trial).log_others(as_plain(attributes))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        one = self._runs.take(trial)
        one.log_other("status", trial.status)
        if self.save_checkpoints and trial.checkpoint is not None:
            with trial.checkpoint.as_directory() as folder:
                one.log_asset_folder(folder, log_file_name=True)
                one.end()
            return
        one.end()

    def log_end(self, finished: bool) -> None:
        self._runs.put_all_away()

    def _open(self, trial: Any) -> Any:
        """The trial's experiment: the one that it has already, or a new one."""
        key = hashlib.sha256(f"{self._about.identity}/{trial.trial_id}".encode()).hexdigest()[:40]
        usual = {
            "log_code": False, "log_graph": False, "parse_args": False, "auto_output_logging": False, "log_git_metadata": False,
            "log_git_patch": False, "log_env_details": False, "display_summary_level": 0,
        }  # fmt: skip
        options = {**usual, **self.options}
        if self.online:
            options.pop("offline_directory", None)
            known = self._about.goes_on and self._is_online(key)
            kind = self._comet.ExistingExperiment if known else self._comet.Experiment
        else:
            options["offline_directory"] = self._archives
            os.makedirs(self._archives, exist_ok=True)
            known = bool(glob.glob(os.path.join(glob.escape(self._archives), f"{key}*")))
            kind = self._comet.ExistingOfflineExperiment if known else self._comet.OfflineExperiment
        one = kind(experiment_key=key, **options)
        self._comet.config.set_global_experiment(None)  # else the next trial's would end it
        if not known:
            one.set_name(str(trial))
            one.add_tags([*self.tags, self._about.name])
            one.log_parameters({name: as_plain(value) for name, value in flatten(trial.config).items()})
            one.log_others({"trial_id": trial.trial_id, "experiment": self._about.name})
        return one

    def _is_online(self, key: str) -> bool:
        """Whether an earlier process has begun the experiment of this key."""
        return self._comet.API().get_experiment_by_key(key) is not None
