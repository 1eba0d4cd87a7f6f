"""Real experiments of every kind of config and report, a few dozen trials each; the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fasttune as tune
from fasttune.analysis import ExperimentAnalysis
from fasttune.schedulers import HyperBandScheduler, PopulationBasedTraining
from fasttune.search import Searcher


class Thing:
    """An object that a config passes on as it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Thing/{self.name}"


class Options(dict[str, Any]):
    """A dict of the user's own."""


THINGS = [Thing("a"), Thing("b")]

SPACES: dict[str, dict[str, Any]] = {
    "flat": {
        "lr": tune.loguniform(1e-5, 1e-1), "momentum": tune.uniform(-1, 1), "q": tune.quniform(0, 10, 0.5),
        "layers": tune.randint(-3, 9), "log": tune.lograndint(1, 1000), "n": tune.randn(0, 1e4), "act": tune.choice(["relu", "tanh"]),
        "huge": tune.randint(2**60, 2**61), "const": 3, "none": None, "text": "x", "ratio": 1.5, "flag": True,
    },
    "nested": {
        "net": {"width": tune.choice([16, 32]), "opt": {"name": tune.choice(["sgd", "adam"]), "lr": tune.uniform(0, 1)}},
        "empty": {}, "sizes": [tune.randint(1, 4), tune.uniform(0, 1)], "pair": (tune.randint(0, 2), "y"), 7: tune.uniform(0, 1),
        "array": np.arange(3), "own": Options(a=1, b={"c": 2}), "lists": tune.choice([[1], [2, 3], (4,)]),
    },
    "objects": {
        "thing": tune.choice(THINGS), "mixed": tune.choice([1, 2.5, "a", None, True]),
        "numpy": tune.choice(list(np.linspace(0, 1, 3))),
        "bools": tune.choice([True, False]), "big": tune.choice([2**70, 1]), "text": tune.choice(["ä/b", "c d", ""]),
        "dicts": tune.choice([{"a": 1}, {"a": 2.0, "b": "x"}, {}]), "range": tune.choice(range(5, 50, 5)),
    },
    "conditional": {
        "opt": tune.choice([
            {"name": "sgd", "momentum": tune.uniform(0, 1)},
            {"name": "adam", "betas": [tune.uniform(0, 1), 0.9], "inner": tune.choice([{"k": tune.randint(0, 5)}, 3, "z"])},
            tune.uniform(5, 6), "plain",
        ]),
        "other": {"choice": tune.choice([1, tune.randint(10, 20), [tune.uniform(0, 1)]])}, "x": tune.uniform(0, 1),
    },
    "grid": {"g": tune.grid_search(["a", "b", "c"]), "h": tune.grid_search([1, 2.0]), "x": tune.uniform(0, 1)},
    "functions": {"x": tune.uniform(0, 1), "f": tune.sample_from(lambda config: [config["x"], "t"]), "g": tune.sample_from(lambda: 4)},
    "nothing": {},
}  # fmt: skip


def plain(config: dict[str, Any], drawn: random.Random, step: int) -> dict[str, Any]:
    return {"loss": drawn.uniform(0, 1), "count": step, "even": step % 2 == 0}


def odd_values(config: dict[str, Any], drawn: random.Random, step: int) -> dict[str, Any]:
    value = drawn.choice([1.0, 2, True, float("nan"), float("inf"), -0.0])
    told: dict[str, Any] = {"loss": value, "in": {"x": step}}
    told |= drawn.choice(
        [{}, {"note": "täxt"}, {"big": 2**60 + step}, {"big": 2.5}, {"list": [1, {"a": 2}]}, {"none": None}]
    )
    return told


def named_like_ours(config: dict[str, Any], drawn: random.Random, step: int) -> dict[str, Any]:
    told: dict[str, Any] = {"loss": drawn.uniform(0, 1), "time_total_s": 10.0 * step}
    return told | drawn.choice([{}, {"done": False}, {"training_iteration": step + 100}, {"config/x": 1.0}, {"pid": 3}])


Report = Callable[[dict[str, Any], random.Random, int], dict[str, Any]]


def trainable(report: Report, calm: bool = False) -> Callable[[dict[str, Any]], None]:
    """Reports some times, or never; fails at times, and goes on from a checkpoint when it is tried again."""

    def train(config: dict[str, Any]) -> None:
        trial = tune.get_context().get_trial_id()
        drawn = random.Random(f"{trial[-5:]} {report.__name__}")
        checkpoint = tune.get_checkpoint()
        begun = checkpoint.to_dict()["step"] if checkpoint else 0
        steps = drawn.choice([3, 3, 5]) if calm else drawn.choice([0, 1, 3, 3, 5])
        for step in range(begun + 1, steps + 1):
            told = report(config, drawn, step)
            if calm or drawn.random() < 0.2:
                tune.report(told, checkpoint=tune.Checkpoint.from_dict({"step": step}))
            else:
                tune.report(told)
            if not calm and drawn.random() < 0.15:
                raise RuntimeError(f"trial {trial} fails at {step}")

    return train


class Counting(Searcher):
    """Configs of a searcher, of changing names."""

    def suggest(self, trial_id: str) -> Any:
        self.count = getattr(self, "count", -1) + 1
        if self.count >= 30:
            return tune.search.FINISHED
        return {"x": self.count / 7, "deep": {"k": self.count}} | ({"late": "a"} if self.count % 3 else {})

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass


class Adds(tune.Callback):
    """Adds to results."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if trial.index % 3 == 0:
            result["added"] = trial.index


def run(report: Report, name: str, calm: bool = False, **asked: Any) -> Any:
    steered = {
        "metric": "loss",
        "mode": "min",
        "seed": 5,
        "verbose": 0,
        "executor": "inline",
        "raise_on_failed_trial": False,
    }
    return tune.run(trainable(report, calm), name=name, **{**steered, **asked})


def of_space(space: str, report: Report) -> Any:
    samples = 8 if space == "grid" else 40
    return run(report, f"{space}-{report.__name__}", config=SPACES[space], num_samples=samples, max_failures=1)


def with_points() -> Any:
    points = [{"lr": 0.5, "act": "other"}, {"momentum": 0}]
    search = tune.search.BasicVariantGenerator(points_to_evaluate=points)
    return run(plain, "points", config=SPACES["flat"], search_alg=search, num_samples=30)


def of_a_searcher() -> Any:
    return run(
        odd_values, "searcher", search_alg=Counting(metric="loss", mode="min"), num_samples=30, max_concurrent_trials=2
    )


def of_a_population() -> Any:
    mutations = {"x": tune.uniform(0, 1), "new": [1, 2]}
    scheduler = PopulationBasedTraining("training_iteration", perturbation_interval=1, hyperparam_mutations=mutations)
    space = {"x": tune.uniform(0, 1), "y": tune.choice(["a", "b"])}
    return run(saving, "population", calm=True, scheduler=scheduler, config=space, num_samples=24)


def saving(config: dict[str, Any], drawn: random.Random, step: int) -> dict[str, Any]:
    return {"loss": config["x"] + drawn.uniform(0, 0.1), "step": step}


def paused() -> Any:
    return run(
        plain, "paused", calm=True, scheduler=HyperBandScheduler(max_t=5), config=SPACES["conditional"], num_samples=24
    )


def named_by_the_user() -> Any:
    return run(
        plain, "named", config=SPACES["flat"], num_samples=24, callbacks=[Adds()],
        trial_name_creator=lambda trial: f"my {trial.trial_id}", trial_dirname_creator=lambda trial: f"d {trial.trial_id}",
    )  # fmt: skip


def gone_on() -> Any:
    run(plain, "again", config=SPACES["flat"], num_samples=20)
    return run(plain, "again", config=SPACES["flat"], num_samples=35, resume="AUTO")


class Looks(tune.Callback):
    """Opens the experiment in the middle of its run."""

    found: Any = None

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if trial.index >= 12 and self.found is None:
            self.found = ExperimentAnalysis(trial.local_experiment_path)
            assert self.found.status_counts()["PENDING"]


def while_it_runs() -> Any:
    looks = Looks()
    run(plain, "running", config=SPACES["conditional"], num_samples=3000, callbacks=[looks], stop=StopsAll())
    return looks.found


class StopsAll(tune.Stopper):
    """Ends the run after some reports."""

    seen = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.seen += 1
        return False

    def stop_all(self) -> bool:
        return self.seen > 60


def of_processes() -> Any:
    """Reports of trials that ran at the same time."""
    return run(
        plain,
        "processes",
        calm=True,
        config=SPACES["flat"],
        num_samples=40,
        executor="process",
        max_concurrent_trials=2,
    )


def several() -> Any:
    experiments = [
        tune.Experiment(name, trainable(report), config=SPACES[space], num_samples=20)
        for name, report, space in (("one", plain, "flat"), ("two", odd_values, "conditional"))
    ]
    return tune.run(
        experiments, metric="loss", mode="min", seed=5, verbose=0, executor="inline", raise_on_failed_trial=False
    )


def everything() -> Iterator[tuple[str, Callable[[], Any]]]:
    for space in SPACES:
        yield f"{space}", lambda space=space: of_space(space, odd_values if space in ("flat", "conditional") else plain)  # type: ignore[misc]
    yield "names of ours", lambda: of_space("nested", named_like_ours)
    for make in (
        with_points,
        of_a_searcher,
        of_a_population,
        paused,
        named_by_the_user,
        gone_on,
        while_it_runs,
        several,
    ):
        yield make.__name__, make


EXPERIMENTS = dict(everything())
