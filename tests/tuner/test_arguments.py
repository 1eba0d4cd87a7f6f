"""Everything that is refused is refused before a trial starts and before a folder is made."""

from __future__ import annotations

import functools
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.callback import Callback
from fasttune.config import RunSpec
from fasttune.reporter import CLIReporter, LogReporter, ResultLines
from fasttune.schedulers import ASHAScheduler, FIFOScheduler, create_scheduler
from fasttune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher, SearchGenerator


def objective(config: dict[str, Any]) -> None:
    tune.report(score=1)


class Model(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"score": 1, "done": True}


class Spaced(Searcher):
    """A searcher that has a space already."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"a": 1}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass


class Open(Spaced):
    """A searcher that takes the run's space."""

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        self.told = metric, mode, dict(config)
        return True


class Stopped(Exception):
    """Raised where the machine would begin."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """What the machine is asked to do; it does nothing."""
    specs: list[RunSpec] = []

    def execute(spec: RunSpec) -> None:
        specs.append(spec)
        raise Stopped

    stand_in = types.ModuleType("fasttune.engine.loop")
    stand_in.execute = execute  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fasttune.engine.loop", stand_in)
    return specs


@pytest.fixture
def spec_of(asked: list[RunSpec]) -> Any:
    def spec_of(trainable: Any = objective, **arguments: Any) -> RunSpec:
        with pytest.raises(Stopped):
            tune.run(trainable, **{"verbose": 0, **arguments})
        return asked[-1]

    return spec_of


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        (
            {"num_sample": 3},
            TypeError,
            "unexpected keyword argument 'num_sample'. Did you mean 'num_samples'?",
        ),
        ({"zzz": 3}, TypeError, "unexpected keyword argument 'zzz'.$"),
        ({"config": [1]}, ValueError, "config must be a dict"),
        ({"metric": "a", "mode": "most"}, ValueError, "mode must be 'min' or 'max', got 'most'"),
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1"),
        ({"max_concurrent_trials": 0}, ValueError, "max_concurrent_trials must be None or at least 1, got 0"),
        ({"fail_fast": True, "max_failures": 2}, ValueError, "max_failures must be 0, got 2"),
        ({"fail_fast": "maybe"}, ValueError, "fail_fast must be True, False or 'raise'"),
        ({"stop": {"a": {"b": {}}}}, ValueError, "a/b"),
        ({"time_budget_s": -1}, ValueError, "time_budget_s must be a positive number"),
        ({"resume": "LATER"}, ValueError, "resume must be"),
        ({"executor": "dask"}, ValueError, "executor must be one of 'process', .*, got 'dask'"),
        ({"gpu_memory": "6GB"}, TypeError, "Here it is called 'resources_per_trial': .*'memory': '4GB'"),
        ({"max_workers": 2}, TypeError, "Here it is called 'max_concurrent_trials'"),
        ({"verbose": 7}, ValueError, "verbose must be 0, 1, 2 or 3, got 7"),
        ({"seed": -1}, ValueError, "seed must be None or an integer of at least 0"),
        ({"log_to_file": ("a", "b", "c")}, ValueError, "log_to_file"),
        ({"checkpoint_freq": 3}, ValueError, "works for Trainable classes only"),
        ({"checkpoint_at_end": True}, ValueError, "works for Trainable classes only"),
        ({"callbacks": [Callback]}, TypeError, "must hold Callback objects, got the class Callback"),
        ({"callbacks": Callback()}, TypeError, "callbacks must be a list"),
        ({"progress_reporter": "text"}, TypeError, "progress_reporter must be a ProgressReporter, got str"),
        ({"scheduler": ASHAScheduler}, TypeError, "must be a TrialScheduler, got the class"),
        ({"scheduler": "nope"}, ValueError, "there is no scheduler called 'nope'"),
        ({"search_alg": 3}, TypeError, "search_alg must be a Searcher, its name or None, got int"),
        ({"search_alg": "nope"}, ValueError, "nope"),
        ({"storage_path": "s3://b"}, ValueError, "a folder of this machine"),
        ({"storage_filesystem": object()}, ValueError, "storage_filesystem=.* has no meaning on one machine"),
        ({"export_formats": ["onnx"]}, ValueError, "export_formats=.* has no meaning"),
        ({"_remote": True}, ValueError, "_remote=True has no meaning"),
        ({"loggers": [1]}, ValueError, "give callbacks="),
        ({"resources_per_trial": {"cpu": 100_000}}, ValueError, "100000"),
        ({"resources_per_trial": {"cpu": -1}}, ValueError, "-1"),
    ],
)
def test_R2_refused_before_any_trial(
    asked: list[RunSpec], results_dir: Path, arguments: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        tune.run(objective, **arguments)
    assert not asked
    assert not results_dir.exists()


@pytest.mark.parametrize(
    ("trainable", "error", "complaint"),
    [
        ("never_registered", tune.TuneError, "(?i)unknown trainable"),
        (3, TypeError, "got 3"),
        (dict, TypeError, "derive"),
        (lambda: None, ValueError, "Unknown argument found in the Trainable function"),
        (lambda a, b: None, ValueError, "Unknown argument found in the Trainable function"),
        ([], ValueError, "empty list"),
        (None, tune.TuneError, "something to run"),
    ],
)
def test_T13_what_cannot_run(
    asked: list[RunSpec], trainable: Any, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        tune.run(trainable)
    assert not asked


def test_T13_names_of_trainables(spec_of: Any) -> None:
    tune.register_trainable("registered", objective)
    for trainable, name in (
        (objective, "objective"),
        (lambda config: None, "lambda"),
        (functools.partial(objective), "objective"),
        ("registered", "registered"),
        (Model, "Model"),
    ):
        spec = spec_of(trainable)
        assert spec.trainables[0].name == name
        assert spec.name.startswith(f"{name}_20")


def test_R2_what_the_machine_is_told(spec_of: Any, tmp_path: Path) -> None:
    def named(trial: Any) -> str:
        return "x"

    callback = Callback()
    given = [callback]
    spec = spec_of(
        name="mine",
        storage_path=tmp_path,
        metric="score",
        mode="max",
        config={"a": 1},
        num_samples=-1,
        stop={"training_iteration": 5},
        time_budget_s=30,
        max_failures=3,
        max_concurrent_trials=2,
        executor="inline",
        seed=7,
        callbacks=given,
        reuse_actors=True,
        log_to_file=True,
        restore=tmp_path / "ckpt",
        trial_name_creator=named,
        keep_checkpoints_num=2,
        raise_on_failed_trial=False,
        verbose=2,
    )
    one = spec.trainables[0]
    assert (spec.name, spec.path) == ("mine", str(tmp_path / "mine"))
    assert (one.name, one.trainable, one.space, one.num_samples) == ("objective", objective, {"a": 1}, -1)
    assert one.resources.required_resources == {"CPU": 1}
    assert (spec.metric, spec.mode, spec.seed, spec.executor) == ("score", "max", 7, "inline")
    assert spec.stop.thresholds == {"training_iteration": 5}
    assert (spec.time_budget_s, spec.max_concurrent, spec.failure.max_failures) == (30.0, 2, 3)
    assert spec.callbacks[0] is callback
    assert isinstance(spec.callbacks[1], ResultLines)
    assert given == [callback]  # the caller's list is as it was
    assert (spec.log_to_file, spec.restore) == (("stdout", "stderr"), str(tmp_path / "ckpt"))
    assert spec.trial_name_creator is named
    assert (spec.checkpoint.num_to_keep, spec.reuse_actors, spec.raise_on_failed_trial) == (2, True, False)
    assert isinstance(spec.scheduler, FIFOScheduler)
    assert isinstance(spec.searcher, BasicVariantGenerator)
    assert spec.resume is None
    assert spec.public_spec["num_samples"] == -1


def test_R1_local_dir_is_the_old_name(spec_of: Any, tmp_path: Path) -> None:
    assert spec_of(local_dir=str(tmp_path), name="n").path == str(tmp_path / "n")


@pytest.mark.parametrize(("verbose", "kind"), [(0, type(None)), (1, LogReporter), (None, LogReporter)])
def test_P3_the_reporter_of_a_run(spec_of: Any, verbose: int | None, kind: type) -> None:
    assert type(spec_of(verbose=verbose).progress_reporter) is kind


def test_P3_a_reporter_of_the_user(spec_of: Any) -> None:
    mine = CLIReporter()
    assert spec_of(progress_reporter=mine, verbose=None).progress_reporter is mine
    assert mine.verbose == 3
    assert spec_of(progress_reporter=mine, verbose=1).progress_reporter is mine
    assert mine.verbose == 1
    assert spec_of(progress_reporter=mine, verbose=0).progress_reporter is None


def test_R8_metric_goes_to_scheduler_searcher_and_reporter(spec_of: Any) -> None:
    scheduler, searcher, reporter = ASHAScheduler(), Open(), CLIReporter()
    spec_of(
        metric="m",
        mode="min",
        scheduler=scheduler,
        search_alg=searcher,
        progress_reporter=reporter,
        config={"a": 1},
    )
    assert (scheduler.metric, scheduler.mode) == ("m", "min")
    assert searcher.told == ("m", "min", {"a": 1})
    assert (reporter.metric, reporter.mode) == ("m", "min")


@pytest.mark.parametrize(
    "arguments",
    [
        {"scheduler": lambda: ASHAScheduler(metric="m", mode="max")},
        {"search_alg": lambda: Open(metric="other", mode="max")},
        {"progress_reporter": lambda: CLIReporter(metric="m")},
    ],
)
def test_R8_metric_in_two_places(asked: list[RunSpec], arguments: dict[str, Any]) -> None:
    made = {name: make() for name, make in arguments.items()}
    with pytest.raises(ValueError, match="metric"):
        tune.run(objective, metric="m", mode="max", verbose=1, **made)
    assert not asked


def test_R8_the_schedulers_metric_is_the_runs_when_the_run_has_none(spec_of: Any) -> None:
    spec = spec_of(scheduler=ASHAScheduler(metric="m", mode="max"))
    assert (spec.metric, spec.mode) == ("m", "max")
    assert (spec_of().metric, spec_of().mode) == (None, None)
    assert spec_of(mode="min").metric == "_metric"


def test_R7_a_searcher_is_limited(spec_of: Any) -> None:
    searcher = Open()
    limited = spec_of(search_alg=searcher, max_concurrent_trials=3).searcher
    assert isinstance(limited, ConcurrencyLimiter)
    assert (limited.searcher, limited.max_concurrent) == (searcher, 3)
    limiter = ConcurrencyLimiter(Open(), max_concurrent=3)
    assert spec_of(search_alg=limiter, max_concurrent_trials=3).searcher is limiter
    assert spec_of(search_alg=SearchGenerator(searcher)).searcher is searcher
    assert spec_of(search_alg=BasicVariantGenerator(max_concurrent=5)).max_concurrent == 5
    for other in (ConcurrencyLimiter(Open(), max_concurrent=4), BasicVariantGenerator(max_concurrent=4)):
        with pytest.raises(
            ValueError, match=r"max_concurrent_trials=3, but .* was made with max_concurrent=4"
        ):
            tune.run(objective, search_alg=other, max_concurrent_trials=3)


def test_A7_a_searcher_with_a_space_and_domains_in_config(spec_of: Any) -> None:
    space = {"b": {"c": tune.uniform(0, 1)}, "d": tune.grid_search([1]), "e": [tune.randint(0, 3)], "f": 1}
    with pytest.raises(ValueError, match=r"already instantiated with a search space.* b/c, d, e/0"):
        tune.run(objective, config=space, search_alg=Spaced())
    assert spec_of(config={"f": 1}, search_alg=Spaced()).trainables[0].space == {"f": 1}


def test_T10_resources_are_said_in_one_place(spec_of: Any) -> None:
    asked_for = tune.PlacementGroupFactory([{"CPU": 0.5}])
    with_own = tune.with_resources(objective, asked_for)
    assert spec_of(with_own).trainables[0].resources == asked_for
    assert spec_of(resources_per_trial={"cpu": 0.5}).trainables[0].resources == asked_for
    by_config = (
        spec_of(tune.with_resources(objective, lambda config: {"cpu": config["n"]})).trainables[0].resources
    )
    assert by_config({"n": 0.5}) == asked_for
    with pytest.raises(tune.TuneError, match="say it once"):
        tune.run(with_own, resources_per_trial={"cpu": 1})


def test_T10_a_class_says_what_it_needs(spec_of: Any) -> None:
    class Asking(Model):
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> Any:
            return tune.PlacementGroupFactory([{"CPU": config.get("n", 0.25)}])

    request = spec_of(Asking).trainables[0].resources
    assert request({"n": 0.5}).required_resources == {"CPU": 0.5}
    assert spec_of(Model, resources_per_trial={"cpu": 0.5}).trainables[0].resources.required_resources == {
        "CPU": 0.5
    }
    with pytest.raises(tune.TuneError, match="default_resource_request"):
        tune.run(Asking, resources_per_trial={"cpu": 1})


def test_R9_experiments_share_a_run(spec_of: Any) -> None:
    first = tune.Experiment("one", objective, config={"a": 1}, stop={"training_iteration": 2}, num_samples=2)
    second = tune.Experiment("two", Model, config={"b": 1})
    spec = spec_of([first, second])
    assert [(one.name, one.experiment, one.num_samples) for one in spec.trainables] == [
        ("objective", "one", 2),
        ("Model", "two", 1),
    ]
    assert spec.stop.thresholds == {"training_iteration": 2}
    assert spec.name == "one"
    with pytest.raises(ValueError, match="num_samples=3 has no effect beside an Experiment"):
        tune.run(first, num_samples=3)


def test_R10_a_tuner_says_what_is_wrong_when_it_is_made(asked: list[RunSpec], results_dir: Path) -> None:
    with pytest.raises(tune.TuneError, match="needs something to run"):
        tune.Tuner()
    with pytest.raises(ValueError, match="param_space must be a dict, got list"):
        tune.Tuner(objective, param_space=[1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'run_config'"):
        tune.Tuner(objective, param_space={"run_config": 1})
    with pytest.raises(TypeError, match="tune_config must be a TuneConfig, got dict"):
        tune.Tuner(objective, tune_config={"num_samples": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        tune.Tuner(objective, tune_config=tune.TuneConfig(num_samples=0))
    with pytest.raises(ValueError, match="mode must be"):
        tune.Tuner(objective, tune_config=tune.TuneConfig(mode="up"))
    for kind in (tune.TuneConfig, tune.RunConfig):
        with pytest.raises(TypeError, match=r"It belongs to the trainable: tune.with_resources\(trainable, \{'cpu': 2, "):
            kind(resources_per_trial={"cpu": 2})
    assert not asked
    assert not results_dir.exists()


def test_R10_what_a_tuner_tells_the_machine(asked: list[RunSpec]) -> None:
    def fitted(trainable: Any, **run: Any) -> RunSpec:
        tuner = tune.Tuner(
            trainable,
            param_space={"a": 1},
            tune_config=tune.TuneConfig(num_samples=2, metric="m", mode="max", max_concurrent_trials=1),
            run_config=tune.RunConfig(verbose=0, executor="inline", seed=3, **run),
        )
        with pytest.raises(Stopped):
            tuner.fit()
        return asked[-1]

    spec = fitted(objective, failure_config=tune.FailureConfig(fail_fast=True), stop={"x": 1})
    assert (spec.metric, spec.mode, spec.max_concurrent, spec.executor, spec.seed) == (
        "m",
        "max",
        1,
        "inline",
        3,
    )
    assert spec.failure.fail_fast is True
    assert spec.stop.thresholds == {"x": 1}
    assert spec.raise_on_failed_trial is False
    assert not spec.checkpoint.checkpoint_at_end  # a function saves by itself
    assert fitted(Model).checkpoint.checkpoint_at_end is True
    assert (
        fitted(
            Model, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
        ).checkpoint.checkpoint_at_end
        is False
    )


def test_C15_schedulers_by_name() -> None:
    assert isinstance(create_scheduler("fifo"), FIFOScheduler)
    assert isinstance(create_scheduler("FIFO"), FIFOScheduler)
    asha = create_scheduler("AsyncHyperBand", max_t=9, metric="m", mode="max")
    assert isinstance(asha, ASHAScheduler)
    with pytest.raises(TypeError, match="max_time"):
        create_scheduler("async_hyperband", max_time=9)
    with pytest.raises(
        ValueError, match=r"there is no scheduler called 'nope'; the names are .*async_hyperband.*fifo"
    ):
        create_scheduler("nope")
    with pytest.raises(TypeError, match="takes a name"):
        create_scheduler(FIFOScheduler)  # type: ignore[arg-type]
