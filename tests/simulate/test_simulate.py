"""tune.simulate: the machine of a run in virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.analysis import ExperimentAnalysis, Simulation
from fasttune.schedulers import ASHAScheduler, ResourceChangingScheduler, TrialScheduler
from fasttune.search import Searcher
from fasttune.trial import Trial

SPACE = {"x": tune.uniform(0, 1)}


def score(config: dict[str, Any], step: int) -> dict[str, Any]:
    return {"score": config["x"] - 1.0 / step}


def simulated(scheduler: Any = None, **more: Any) -> Simulation:
    asked: dict[str, Any] = {"num_samples": 30, "steps": 27, "metric": "score", "mode": "max", "seed": 5, **more}
    return tune.simulate(score, SPACE, scheduler=scheduler, **asked)


def lengths(analysis: ExperimentAnalysis) -> list[int]:
    return [trial.last_result.get("training_iteration", 0) for trial in analysis.trials]


def uneven(config: dict[str, Any], step: int) -> float:
    """Seconds of a step: no two trials report at the same time."""
    return 1.0 + config["x"] / step


def model(configs: list[dict[str, Any]], workers: int, eta: int, max_t: int) -> tuple[list[int], float]:
    """ASHA in virtual time in twenty plain lines: steps of each trial, and the end of it all."""
    import numpy as np

    rungs: dict[int, list[float]] = {eta**k: [] for k in range(9) if eta**k <= max_t}
    waiting = list(range(len(configs)))
    steps = [0] * len(configs)
    queue: list[tuple[float, int]] = []
    now = 0.0
    while waiting or queue:
        while waiting and len(queue) < workers:
            i = waiting.pop(0)
            queue.append((now + uneven(configs[i], 1), i))
        now, i = queue.pop(queue.index(min(queue)))
        steps[i] += 1
        value, rung = score(configs[i], steps[i])["score"], rungs.get(steps[i])
        stop = steps[i] >= max_t or bool(rung and value < np.percentile(rung, (1 - 1 / eta) * 100))
        if rung is not None and steps[i] < max_t:
            rung.append(value)
        if not stop:
            queue.append((now + uneven(configs[i], steps[i] + 1), i))
    return steps, now


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("eta", [2, 3])
def test_it_is_asha_as_a_slow_model_plays_it(workers: int, eta: int) -> None:
    made = simulated(ASHAScheduler(max_t=27, reduction_factor=eta), workers=workers, num_samples=60, cost=uneven)
    steps, end = model([trial.config for trial in made.trials], workers, eta, 27)
    assert lengths(made) == steps
    assert made.seconds == end
    assert made.epochs == sum(steps)


def test_the_same_arguments_give_the_same_result() -> None:
    first, again = (simulated(ASHAScheduler(max_t=27), workers=4) for _ in range(2))
    assert first.results_df.equals(again.results_df)
    assert first.best_over_time().equals(again.best_over_time())
    other = simulated(ASHAScheduler(max_t=27), workers=4, seed=6)
    assert not first.results_df.equals(other.results_df)


def test_a_scheduler_can_be_given_again() -> None:
    class Once(TrialScheduler):
        def __init__(self) -> None:
            super().__init__()
            self.asked = 0

        def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
            self.asked += 1
            return self.CONTINUE

    given = Once()
    assert [simulated(given, num_samples=2, steps=3).scheduler.asked for _ in range(2)] == [8, 8]  # type: ignore[attr-defined]
    assert given.asked == 0


def test_one_worker_decides_as_a_real_run_with_one_trial_at_a_time(tmp_path: Path) -> None:
    def trainable(config: dict[str, Any]) -> None:
        for step in range(1, 28):
            tune.report(score(config, step))

    def asha() -> TrialScheduler:
        return ASHAScheduler(max_t=27, reduction_factor=3, brackets=2)

    for fresh in (asha, Asked):
        real = tune.run(
            trainable,
            config=SPACE,
            num_samples=30,
            metric="score",
            mode="max",
            scheduler=fresh(),
            executor="inline",
            max_concurrent_trials=1,
            storage_path=tmp_path,
            seed=5,
            verbose=0,
        )
        made = simulated(fresh())
        assert [t.config for t in made.trials] == [t.config for t in real.trials]
        assert lengths(made) == lengths(real)


class Asked(TrialScheduler):
    """Stops what is worse than the report before it was, from the fifth on; asked about everything."""

    def __init__(self) -> None:
        super().__init__()
        self.before = 0.0

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        worse = result["training_iteration"] > 4 and result["score"] < self.before
        self.before = result["score"]
        return self.STOP if worse else self.CONTINUE


class TakesTurns(TrialScheduler):
    """Pauses after every third report and goes on with whoever has come least far."""

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self.PAUSE if result["training_iteration"] % 3 == 0 and not result["done"] else self.CONTINUE

    def choose_trial_to_run(self, state: Any) -> Trial | None:
        waiting = [trial for trial in state.trials if trial.status in ("PENDING", "PAUSED")]
        return min(waiting, key=lambda trial: trial.last_result.get("training_iteration", 0), default=None)


def test_pausing_is_a_place_on_the_curve() -> None:
    made = simulated(TakesTurns(), workers=2, num_samples=6, steps=9)
    assert lengths(made) == [9] * 6
    assert made.seconds == 27.0
    assert {trial.last_result["time_total_s"] for trial in made.trials} == {9.0}  # what they were away does not count
    ends = sorted(trial.last_result["timestamp"] for trial in made.trials)
    assert ends == [21, 21, 24, 24, 27, 27]


# -- time


def test_costs_are_a_number_a_metric_or_a_function() -> None:
    assert simulated(num_samples=3, steps=4, cost=0.5).seconds == 6.0
    assert simulated(num_samples=1, steps=4, cost=lambda config, step: step).seconds == 10.0
    made = tune.simulate(lambda config, step: {"a": 1, "s": step * 2.0}, steps=3, cost="s")
    assert made.seconds == 12.0
    with pytest.raises(ValueError, match="cost must be a finite number"):
        simulated(cost=-1.0)


def test_workers_share_the_time() -> None:
    assert [simulated(workers=n, num_samples=6).seconds for n in (1, 2, 3, 6, 12)] == [162, 81, 54, 27, 27]


def test_a_time_budget_is_virtual() -> None:
    made = simulated(workers=2, time_budget_s=40.5)
    assert made.seconds == 40.5
    assert made.epochs == 80
    assert made.busy_seconds == 81.0
    assert {trial.status for trial in made.trials} <= {"TERMINATED", "PENDING"}


def test_stop_criteria_are_those_of_a_run() -> None:
    assert set(lengths(simulated(stop={"training_iteration": 4}))) == {4}
    assert set(lengths(simulated(stop={"time_total_s": 5.5}))) == {6}
    reached = simulated(stop={"score": 0.5})
    for trial in reached.trials:
        first = next((k for k in range(1, 28) if trial.config["x"] - 1 / k >= 0.5), 27)
        assert trial.last_result["training_iteration"] == first
    assert reached.seconds == sum(lengths(reached))  # nobody held a worker behind its end
    assert set(lengths(simulated(stop=lambda trial_id, result: result["training_iteration"] >= 3))) == {3}
    assert set(lengths(simulated(stop=tune.stopper.MaximumIterationStopper(2)))) == {2}


# -- curves


def test_a_generator_is_a_curve() -> None:
    def losses(config: dict[str, Any]) -> Iterator[Any]:
        loss = 1.0
        for _ in range(config["n"]):
            loss *= 0.5
            yield {"loss": loss, "nested": {"n": config["n"]}}

    made = tune.simulate(losses, {"n": tune.grid_search([1, 2, 5])}, metric="loss", mode="min")
    assert lengths(made) == [1, 2, 5]
    assert made.best_result["loss"] == 0.5**5
    assert made.best_result["nested"] == {"n": 5}


def test_a_curve_may_end_by_none_by_done_or_by_steps() -> None:
    assert lengths(tune.simulate(lambda config, step: None if step > 3 else step)) == [3]
    assert lengths(tune.simulate(lambda config, step: {"a": 1, "done": step == 4})) == [4]
    assert lengths(tune.simulate(lambda config, step: step)) == [100]
    assert lengths(tune.simulate(lambda config, step: step, steps=7)) == [7]


def test_arrays_of_curves() -> None:
    import numpy as np

    loss = np.array([[3.0, 2.0, 1.0], [1.0, math.nan, math.nan], [5.0, 4.0, math.nan]])
    made = tune.simulate({"loss": loss, "s": loss * 2}, cost="s", metric="loss", mode="min")
    assert lengths(made) == [3, 1, 2]
    assert made.seconds == 2 * np.nansum(loss)
    assert [trial.config for trial in made.trials] == [{"config": 0}, {"config": 1}, {"config": 2}]
    named = tune.simulate({"loss": loss}, [{"lr": 1}, {"lr": 2}, {"lr": 3}], num_samples=2)
    assert [trial.config for trial in named.trials] == [{"lr": 1}, {"lr": 2}]
    with pytest.raises(ValueError, match="one shape"):
        tune.simulate({"loss": loss, "s": loss[:2]})
    with pytest.raises(ValueError, match="names 1 configs"):
        tune.simulate({"loss": loss}, [{}])


def test_a_data_frame_of_curves() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "trial_id": ["b", "a", "a", "b", "b"],
            "step": [2, 1, 2, 1, 3],
            "loss": [5.0, 1.0, 2.0, 4.0, 6.0],
            "config/lr": [0.2, 0.1, 0.1, 0.2, 0.2],
        }
    )
    made = tune.simulate(frame, metric="loss", mode="min")
    assert [trial.config for trial in made.trials] == [{"lr": 0.1}, {"lr": 0.2}]
    assert [[r["loss"] for r in made._source.results(i)] for i in range(2)] == [[1.0, 2.0], [4.0, 5.0, 6.0]]
    with pytest.raises(ValueError, match="has a column"):
        tune.simulate(frame.drop(columns="step"))


def test_mistakes_are_told() -> None:
    with pytest.raises(TypeError, match="curves must be"):
        tune.simulate(3)
    with pytest.raises(ValueError, match="workers must be"):
        simulated(workers=0)
    with pytest.raises(ValueError, match="failures is the chance"):
        simulated(failures=1.5)
    with pytest.raises(ValueError, match="is it misspelt"):
        simulated(metric="scor")
    with pytest.raises(ValueError, match="search_alg needs curves by a function"):
        tune.simulate({"a": [[1.0]]}, search_alg="random")
    with pytest.raises(TypeError):
        tune.simulate(score, SPACE, num_sample=3)  # type: ignore[call-arg]


# -- failures


def test_failures_are_drawn_from_the_seed_and_tried_again() -> None:
    some = simulated(failures=0.02, num_samples=60)
    assert 5 < sum(trial.status == "ERROR" for trial in some.trials) < 55
    assert simulated(failures=0.02, num_samples=60).results_df.equals(some.results_df)
    again = simulated(failures=0.02, num_samples=60, max_failures=-1)
    assert {trial.status for trial in again.trials} == {"TERMINATED"}
    assert again.epochs > 60 * 27


def test_an_exception_of_the_curve_fails_its_trial() -> None:
    def broken(config: dict[str, Any], step: int) -> float:
        if config["x"] > 0.5 and step == 3:
            raise ArithmeticError("this config fails")
        return config["x"]

    made = tune.simulate(broken, SPACE, num_samples=10, steps=5)
    for trial in made.trials:
        assert trial.status == ("ERROR" if trial.config["x"] > 0.5 else "TERMINATED")
    assert "this config fails" in str(made.errors[0])


# -- schedulers and searchers


class Downhill(Searcher):
    """Suggests beside the best so far: what it is told decides what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(0)
        self.best = (-math.inf, 0.5)
        self.heard: list[float] = []
        self.asked: dict[str, float] = {}

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        config.clear()
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self.asked[trial_id] = self.best[1] + self.random.uniform(-0.1, 0.1)
        return {"x": self.asked[trial_id]}

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        self.heard.append(result["time_total_s"] + result["timestamp"] * 1e-9)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.best = max(self.best, (result["score"], self.asked[trial_id]))


def test_a_searcher_learns_in_virtual_time() -> None:
    made = tune.simulate(score, {}, num_samples=20, steps=5, metric="score", mode="max", workers=4, search_alg=Downhill())
    assert len(made.trials) == 20
    assert made.best_config["x"] > made.trials[0].config["x"]  # type: ignore[index]
    again = tune.simulate(score, {}, num_samples=20, steps=5, metric="score", mode="max", workers=4, search_alg=Downhill())
    assert again.results_df.equals(made.results_df)


def test_the_best_over_time_only_gets_better() -> None:
    made = simulated(ASHAScheduler(max_t=27), workers=4)
    trace = made.best_over_time()
    assert trace["score"].is_monotonic_increasing
    assert trace["time"].is_monotonic_increasing
    assert trace["score"].iloc[-1] == max(r["score"] for t in made.trials for r in made._source.results(t.index))


def test_C12_resources_are_shared_out_in_virtual_time() -> None:
    """8 workers, four trials that end one after the other: 2, 2, 3, 4 and 8 CPUs."""
    seen: dict[int, set[float]] = {}

    class Watched(ResourceChangingScheduler):
        def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
            live = len(state.get_live_trials())
            if live:  # it is asked once more when a trial has ended
                seen.setdefault(live, set()).add(self.resources_of(trial).required_resources["CPU"])
            assert sum(self.resources_of(t).required_resources["CPU"] for t in state.trials_of("RUNNING")) <= 8
            return super().on_trial_result(state, trial, result)

    made = tune.simulate(
        lambda config, step: {"score": config["n"]} if step <= config["n"] else None,
        {"n": tune.grid_search([5, 10, 15, 20])},
        metric="score",
        mode="max",
        workers=8,
        scheduler=Watched(),
        resources_per_trial={"cpu": 1},
    )
    assert lengths(made) == [5, 10, 15, 20]  # nothing is done twice
    assert made.epochs == 50
    assert {n: max(amounts) for n, amounts in seen.items()} == {4: 2.0, 3: 3.0, 2: 4.0, 1: 8.0}


def test_a_simulation_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tune.simulate(
        lambda config: ({"loss": config["lr"] + t} for t in range(8)),
        {"lr": tune.uniform(0, 1)},
        num_samples=8,
        metric="loss",
        mode="min",
        scheduler=tune.schedulers.PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0, 1)}
        ),
        workers=8,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_frames_of_an_analysis_one_below_the_other_are_a_table(tmp_path: Path) -> None:
    """What docs/simulate.md says of a table that is made of an experiment."""
    import pandas as pd

    def train(config: dict[str, Any]) -> None:
        for step in range(1, 5):
            tune.report(loss=config["x"] / step)

    analysis = tune.run(
        train, config={"x": tune.grid_search([1, 2, 3])}, executor="inline", storage_path=str(tmp_path), verbose=0
    )
    table = pd.concat(list(analysis.trial_dataframes.values()))
    made = tune.simulate(table, cost=1.0, metric="loss", mode="min", workers=1)
    assert [trial.config for trial in made.trials] == [trial.config for trial in analysis.trials]
    assert [trial.last_result["loss"] for trial in made.trials] == [1 / 4, 2 / 4, 3 / 4]
    assert made.seconds == 12


def steered(config: dict[str, Any], step: int) -> dict[str, float]:
    return {"loss": (config["x"] - 0.3) ** 2 + 1 / step, "latency": config["x"], "size": 1 - config["x"]}


def asked_as_a_run(space: Any = None, **more: Any) -> Any:
    asked = {"metric": "loss", "mode": "min", "num_samples": 30, "steps": 9, **more}
    return tune.simulate(steered, space or {"x": tune.uniform(0, 1)}, **asked)


@pytest.mark.parametrize("scheduler", [None, "asha", "auto"])
@pytest.mark.parametrize("constraints", ["latency <= 0.2", lambda result: result["latency"] - 0.2])
def test_constraints_come_first_as_in_a_run(constraints: Any, scheduler: str | None) -> None:
    found = asked_as_a_run(constraints=constraints, scheduler=scheduler)
    holds = [trial for trial in found.trials if trial.config["x"] <= 0.2]
    assert found.best_config["x"] == max(trial.config["x"] for trial in holds)


def test_a_warm_start_is_that_of_a_run() -> None:
    earlier = asked_as_a_run()
    near = asked_as_a_run(search_alg="tpe", warm_start_from=[earlier], num_samples=9)
    assert near.trials[0].config == earlier.best_config
    taught = asked_as_a_run(search_alg="tpe", warm_start=earlier, num_samples=9)
    fresh = asked_as_a_run(search_alg="tpe", num_samples=9)
    assert [trial.config for trial in taught.trials] != [trial.config for trial in fresh.trials]


@pytest.mark.parametrize("search_alg", [None, "tpe"])
def test_configs_that_come_twice(search_alg: str | None) -> None:
    asked = {"space": {"x": tune.choice([0.1, 0.2, 0.4])}, "search_alg": search_alg, "num_samples": 12}
    with pytest.warns(UserWarning, match="all 3 configs"):
        skipped = asked_as_a_run(on_duplicate="skip", **asked)
    assert sorted(trial.config["x"] for trial in skipped.trials) == [0.1, 0.2, 0.4]
    reused = asked_as_a_run(on_duplicate="reuse", **asked)
    assert (len(reused.trials), reused.epochs, reused.seconds) == (12, 27, 27.0)
    assert {trial.last_result["loss"] for trial in reused.trials} == {trial.last_result["loss"] for trial in skipped.trials}


@pytest.mark.parametrize("search_alg", [None, "motpe", "nsga2"])
def test_several_metrics_have_a_front(search_alg: str | None) -> None:
    found = asked_as_a_run(metric=["loss", "size"], mode=["min", "min"], search_alg=search_alg, workers=4)
    values = [(trial.last_result["loss"], trial.last_result["size"]) for trial in found.trials]
    best = {one for one in values if not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in values)}
    assert {(trial.last_result["loss"], trial.last_result["size"]) for trial in found.best_trials} == best


@pytest.mark.parametrize("asked", [
    {"search_alg": "tpe"}, {"warm_start_from": ["somewhere"]}, {"warm_start": "somewhere"}, {"on_duplicate": "skip"},
])  # fmt: skip
def test_nothing_is_searched_among_recorded_curves(asked: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"those of their configs: {next(iter(asked))} needs curves by a function"):
        tune.simulate(asked_as_a_run(), metric="loss", mode="min", **asked)


def test_budgets_and_requests_are_taken_as_by_a_run() -> None:
    from datetime import timedelta

    assert asked_as_a_run(time_budget_s=timedelta(seconds=7)).seconds == asked_as_a_run(time_budget_s=7).seconds == 7
    for wrong in (-1, 0, float("nan")):
        with pytest.raises(ValueError, match="time_budget_s must be"):
            asked_as_a_run(time_budget_s=wrong)
    for search_alg in (None, "tpe"):
        told: Any = {"resources_per_trial": lambda config: {"cpu": 2 if config["x"] < 0.5 else 1}, "search_alg": search_alg}
        wide = asked_as_a_run(workers=4, **told)
        units = sum(2 if trial.config["x"] < 0.5 else 1 for trial in wide.trials)
        assert units * 9 / 4 <= wide.seconds < units * 9 / 4 * 1.3
        assert asked_as_a_run(workers=4, resources_per_trial={"cpu": 2}, search_alg=search_alg).seconds == 30 * 2 * 9 / 4


def test_what_breaks_its_constraints_is_never_the_best_so_far() -> None:
    made = tune.simulate(
        lambda config, step: {"loss": config["x"], "latency": -config["x"]}, {"x": tune.grid_search([0.9, 0.7, 0.1])}, steps=1,
        metric="loss", mode="min", constraints="latency <= -0.6",
    )  # fmt: skip
    assert made.best_over_time()["loss"].tolist() == [0.9, 0.7]


def test_values_near_the_largest_there_are_break_no_constraint() -> None:
    made = tune.simulate(
        lambda config, step: {"a": 1.7e308, "b": config["x"]}, {"x": tune.grid_search([1.0, 2.0])}, steps=1, metric=["a", "b"],
        mode=["min", "min"],
    )  # fmt: skip
    from fasttune.tables.front import front_of

    found = front_of(made._source, {"a": "min", "b": "min"}, "last")
    assert found is not None
    assert found.trials == [0]
