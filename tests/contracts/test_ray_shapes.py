"""Schedulers, searchers, callbacks and stoppers in the shapes that Ray Tune's documentation shows work unchanged.

What counts is the signatures (positional names, keywords, base classes, what is called through the first argument),
so they are written here as a program written for Ray Tune would have them, imports apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.experiment import Trial
from fasttune.logger import LoggerCallback
from fasttune.schedulers import FIFOScheduler, TrialScheduler
from fasttune.search import ConcurrencyLimiter, Searcher


@pytest.fixture(params=["inline", "thread", "process"])
def executor(request: pytest.FixtureRequest) -> str:
    """Where the trials run."""
    return str(request.param)


def train(config):  # type: ignore[no-untyped-def]
    for step in range(1, 5):
        tune.report({"score": config["x"] * step, "nested": {"loss": 1 / step}})


class StopTheWorse(TrialScheduler):
    """The shape of a scheduler: the controller first, then the trial, then a flat result."""

    def __init__(self, metric=None, mode=None):  # type: ignore[no-untyped-def]
        self._metric = metric  # no super().__init__(): Ray's examples do not call it
        self._mode = mode
        self.best = float("-inf")
        self.seen: list[str] = []

    def set_search_properties(self, metric, mode, **spec):  # type: ignore[no-untyped-def]
        if metric:
            self._metric = metric
        if mode:
            self._mode = mode
        return True

    def on_trial_add(self, tune_controller, trial):  # type: ignore[no-untyped-def]
        self.seen.append("add")

    def on_trial_error(self, tune_controller, trial):  # type: ignore[no-untyped-def]
        self.seen.append("error")

    def on_trial_result(self, tune_controller, trial, result):  # type: ignore[no-untyped-def]
        assert isinstance(trial, Trial)
        assert result["nested/loss"] == 1 / result["training_iteration"]
        assert tune_controller.get_trial(trial.trial_id) == trial
        slope = result[self._metric] / result["training_iteration"]
        if result["training_iteration"] >= 2 and slope < self.best:
            return TrialScheduler.STOP
        self.best = max(self.best, slope)
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller, trial, result):  # type: ignore[no-untyped-def]
        assert result["done"] is True or result["training_iteration"] < 4
        self.seen.append("complete")

    def on_trial_remove(self, tune_controller, trial):  # type: ignore[no-untyped-def]
        self.seen.append("remove")

    def choose_trial_to_run(self, tune_controller):  # type: ignore[no-untyped-def]
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PENDING:
                return trial
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PAUSED:
                return trial
        return None

    def debug_string(self):  # type: ignore[no-untyped-def]
        return "Using StopTheWorse."


def test_C13_a_scheduler_in_rays_shape(tmp_path: Path, executor: str) -> None:
    scheduler = StopTheWorse()
    analysis = tune.run(
        train,
        config={"x": tune.grid_search([3, 1, 2, 4])},
        scheduler=scheduler,
        metric="score",
        mode="max",
        storage_path=tmp_path,
        executor=executor,
        verbose=0,
    )
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    assert analysis.best_config == {"x": 4}
    assert scheduler.seen.count("add") == 4
    assert scheduler.seen.count("complete") == 4


class PauseOnce(FIFOScheduler):
    """A subclass of a built-in one: pauses each trial after its second report, runs the others first."""

    def __init__(self):  # type: ignore[no-untyped-def]
        super().__init__()
        self.paused: set[str] = set()

    def on_trial_result(self, tune_controller, trial, result):  # type: ignore[no-untyped-def]
        if result["training_iteration"] == 2 and trial.trial_id not in self.paused:
            self.paused.add(trial.trial_id)
            return TrialScheduler.PAUSE
        return TrialScheduler.NOOP


def test_C13_a_subclass_of_fifo_that_pauses(tmp_path: Path, executor: str) -> None:
    scheduler = PauseOnce()
    analysis = tune.run(
        train,
        config={"x": tune.uniform(0, 1)},
        num_samples=5,
        scheduler=scheduler,
        storage_path=tmp_path,
        executor=executor,
        verbose=0,
    )
    assert len(scheduler.paused) == 5
    for trial in analysis.trials:
        frame = analysis.trial_dataframes[trial.trial_id]
        assert list(frame["training_iteration"]) == [1, 2, 3, 4]  # it went on, it did not begin again


def test_what_a_scheduler_may_ask_its_first_argument(tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    class Asks(FIFOScheduler):
        def on_trial_result(self, tune_controller, trial, result):  # type: ignore[no-untyped-def]
            asked["all"] = [one.trial_id for one in tune_controller.get_trials()]
            asked["live"] = {one.status for one in tune_controller.get_live_trials()}
            asked["trial"] = tune_controller.get_trial(trial.trial_id)
            return self.CONTINUE

    analysis = tune.run(
        train, config={"x": 1}, num_samples=3, scheduler=Asks(), storage_path=tmp_path, executor="inline", verbose=0
    )
    assert asked["all"] == [trial.trial_id for trial in analysis.trials]
    assert asked["live"] <= {"PENDING", "RUNNING", "PAUSED"}
    assert asked["trial"].trial_id in asked["all"]


class Library:
    """As any optimiser: ask and tell."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, float], float]] = []

    def query(self) -> dict[str, float]:
        return {"x": 1.0 / (1 + len(self.told))}

    def update(self, configuration: dict[str, float], value: float) -> None:
        self.told.append((configuration, value))


class AskAndTell(Searcher):
    """The shape of a searcher around a library, which passes keyword arguments on and takes some with **kwargs."""

    def __init__(self, library, metric="score", mode="max", **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(metric=metric, mode=mode, **kwargs)
        self.library = library
        self.configurations: dict[str, dict[str, float]] = {}

    def suggest(self, trial_id):  # type: ignore[no-untyped-def]
        configuration = self.library.query()
        self.configurations[trial_id] = configuration
        return dict(configuration)

    def on_trial_complete(self, trial_id, result, **kwargs):  # type: ignore[no-untyped-def]
        configuration = self.configurations.pop(trial_id)
        if result and self.metric in result:
            self.library.update(configuration, result[self.metric])


@pytest.mark.parametrize("limited", [False, True])
def test_A2_a_searcher_in_rays_shape(tmp_path: Path, executor: str, limited: bool) -> None:
    library = Library()
    searcher: Searcher = AskAndTell(library)
    analysis = tune.run(
        train,
        search_alg=ConcurrencyLimiter(searcher, max_concurrent=2) if limited else searcher,
        num_samples=6,
        storage_path=tmp_path,
        executor=executor,
        verbose=0,
    )
    assert len(library.told) == len(analysis.trials) == 6
    assert sorted(value for _, value in library.told) == sorted(4 * trial.config["x"] for trial in analysis.trials)


class Writes(tune.Callback):
    """The shape of a callback."""

    def __init__(self):  # type: ignore[no-untyped-def]
        self.told: list[str] = []

    def setup(self, stop=None, num_samples=None, total_num_samples=None, **info):  # type: ignore[no-untyped-def]
        self.told.append(f"setup {total_num_samples}")

    def on_trial_start(self, iteration, trials, trial, **info):  # type: ignore[no-untyped-def]
        self.told.append("start")

    def on_trial_result(self, iteration, trials, trial, result, **info):  # type: ignore[no-untyped-def]
        assert trial in trials
        self.told.append(f"{result['score']:g} {result['nested']['loss']:g}")

    def on_trial_complete(self, iteration, trials, trial, **info):  # type: ignore[no-untyped-def]
        self.told.append("complete")

    def on_experiment_end(self, trials, **info):  # type: ignore[no-untyped-def]
        self.told.append(f"end {len(trials)}")


def test_L3_a_callback_in_rays_shape(tmp_path: Path, executor: str) -> None:
    callback = Writes()  # type: ignore[no-untyped-call]
    tune.Tuner(
        train,
        param_space={"x": 2},
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), callbacks=[callback], verbose=0, executor=executor
        ),
    ).fit()
    assert callback.told == ["setup 1", "start", "2 1", "4 0.5", "6 0.333333", "8 0.25", "complete", "end 1"]


class LineLogger(LoggerCallback):
    """The shape of a logger: a file for each trial, opened and closed by the hooks."""

    def __init__(self, filename: str = "log.txt"):
        self._trial_files: dict[Any, Any] = {}
        self._filename = filename

    def log_trial_start(self, trial):  # type: ignore[no-untyped-def]
        path = Path(trial.logdir)
        path.mkdir(parents=True, exist_ok=True)
        self._trial_files[trial] = open(path / self._filename, "a")  # noqa: SIM115

    def log_trial_result(self, iteration, trial, result):  # type: ignore[no-untyped-def]
        if trial in self._trial_files:
            self._trial_files[trial].write(f"{result['training_iteration']} {result['score']}\n")

    def log_trial_end(self, trial, failed=False):  # type: ignore[no-untyped-def]
        if trial in self._trial_files:
            self._trial_files.pop(trial).close()


def test_L4_a_logger_in_rays_shape(tmp_path: Path, executor: str) -> None:
    analysis = tune.run(
        train,
        config={"x": tune.grid_search([1, 2])},
        callbacks=[LineLogger("my.txt")],
        storage_path=tmp_path,
        executor=executor,
        verbose=0,
    )
    for trial in analysis.trials:
        written = (Path(trial.logdir) / "my.txt").read_text()
        assert written == "".join(f"{step} {trial.config['x'] * step}\n" for step in range(1, 5))


class StopAllOnGood(tune.Stopper):
    """The shape of a stopper that ends everything once one trial is good."""

    def __init__(self):  # type: ignore[no-untyped-def]
        self.should_stop = False

    def __call__(self, trial_id, result):  # type: ignore[no-untyped-def]
        if not self.should_stop and result["score"] > 5:
            self.should_stop = True
        return self.should_stop

    def stop_all(self):  # type: ignore[no-untyped-def]
        return self.should_stop


def test_R3_a_stopper_in_rays_shape(tmp_path: Path, executor: str) -> None:
    analysis = tune.run(
        train,
        config={"x": tune.grid_search([1, 2, 3, 4])},
        stop=StopAllOnGood(),  # type: ignore[no-untyped-call]
        max_concurrent_trials=1,
        storage_path=tmp_path,
        executor=executor,
        raise_on_failed_trial=False,
        verbose=0,
    )
    reports = {trial.config["x"]: trial.last_result.get("training_iteration") for trial in analysis.trials}
    assert reports[1] == 4
    assert reports[2] == 3
    assert not {trial.status for trial in analysis.trials} & {"RUNNING", "ERROR"}
