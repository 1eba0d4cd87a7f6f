"""The stopper that ends a run when more trials are hardly worth it: its estimate against all halves, and what it does to runs."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fasttune as tune
from fasttune.cli import main
from fasttune.stopper import CombinedStopper, MaximumIterationStopper, RegretStopper, resolve_stop


def told(values: list[float], mode: str = "min", **more: Any) -> RegretStopper:
    stopper = RegretStopper("loss", mode, **more)
    for k, value in enumerate(values):
        assert stopper(f"t{k}", {"loss": value}) is False
    return stopper


@given(st.lists(st.integers(0, 20), min_size=4, max_size=9))
def test_the_estimate_is_the_mean_over_all_halves(values: list[int]) -> None:
    n = len(values)
    halves = list(itertools.combinations(values, n // 2))
    gain, distance = told([float(one) for one in values]).left_to_gain()
    assert gain == pytest.approx(sum(map(min, halves)) / len(halves) - min(values))
    assert distance == sorted(values)[n // 2] - min(values)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_about_what_a_doubling_of_random_trials_gains_at_most(seed: int) -> None:
    draw = random.Random(seed)
    estimates, gains = 0.0, 0.0
    for _ in range(60):
        values = [draw.random() ** 2 for _ in range(80)]
        estimates += told(values[:40]).left_to_gain()[0]
        gains += min(values[:40]) - min(values)
    assert gains < 2 * estimates


def test_values_that_do_not_count_and_the_last_of_each_step() -> None:
    stopper = told([3.0, float("nan"), float("inf"), 1.0, 2.0, 5.0])
    stopper("t3", {"loss": 4.0, "training_iteration": 1})  # it has begun again
    stopper("bad", {"loss": 0.0, "constraints": {"c": 1.0}})
    assert stopper.compared() == (1, [2.0, 3.0, 4.0, 5.0])


def came_to(reports: list[tuple[int, float]], step: int) -> float | None:
    """What a trial had there: its last value up to it, if it came so far."""
    until = [loss for at, loss in reports if at <= step]
    return until[-1] if until and reports[-1][0] >= step else None


TRACES = st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 99)), min_size=1, max_size=12)


@given(TRACES, st.integers(4, 6))
def test_trials_are_compared_at_the_last_step_that_enough_came_to(traces: list[tuple[list[int], int]], least: int) -> None:
    stopper = RegretStopper("loss", "min", least=least)
    known: dict[str, list[tuple[int, float]]] = {}
    for k, (gaps, seed) in enumerate(traces):
        draw = random.Random(seed)
        known[f"t{k}"] = [(step, draw.random()) for step in itertools.accumulate(gaps)]
        for step, value in known[f"t{k}"]:
            stopper(f"t{k}", {"loss": value, "training_iteration": step})
    last = max(reports[-1][0] for reports in known.values())
    ends = [reports[-1][1] for reports in known.values() if reports[-1][0] == last]
    marks = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
    at = {step: [v for one in known.values() if (v := came_to(one, step)) is not None] for step in marks}
    enough = [(step, sorted(values)) for step, values in at.items() if len(values) >= least]
    first = next(((step, sorted(values)) for step, values in at.items() if values), (0, []))
    expected = (last, sorted(ends)) if len(ends) >= least else enough[-1] if enough else first
    assert stopper.compared() == expected


def test_what_was_ended_early_is_not_far_from_the_best_for_that() -> None:
    """Losses fall with steps, whatever the config: the distance to those that came to one step alone would be all of it."""
    stopper, whole = (RegretStopper("loss", "min", tolerance=0.1) for _ in range(2))
    draw = random.Random(3)
    configs = [draw.random() for _ in range(240)]
    for k, x in enumerate(configs):
        better = sum(other < x for other in configs)
        for step in range(1, 65 if better < 4 else 17 if better < 40 else 2):
            stopper(f"t{k}", {"loss": x + 1000.0 / step, "training_iteration": step})
        if better < 40:
            whole(f"t{k}", {"loss": x + 1000.0 / 16})
    assert stopper.compared()[0] == 16
    assert stopper.left_to_gain() == pytest.approx(whole.left_to_gain())
    assert stopper.stop_all() == whole.stop_all() is True
    assert " after 16 steps by about " in stopper.reason()


@pytest.mark.parametrize("scheduler", ["asha", "auto"])
def test_behind_a_scheduler_it_waits_as_long_as_without(scheduler: str) -> None:
    def falls(config: dict[str, Any]) -> None:
        for step in range(1, 17):
            tune.report(loss=config["x"] + 1000.0 / step)

    asked: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "metric": "loss", "mode": "min", "num_samples": 300, "seed": 1}
    found = tune.run(falls, scheduler=scheduler, stop=[{"training_iteration": 16}, "regret"], executor="inline", verbose=0, **asked)
    stopper = RegretStopper("loss", "min")
    told = ((n, stopper(trial.trial_id, {"loss": trial.config["x"]})) for n, trial in enumerate(found.trials, 1))
    alone = next(n for n, _ in told if stopper.stop_all())
    assert len(found.trials) > alone / 2


def loss(config: dict[str, Any]) -> float:
    return float((config["x"] - 0.3) ** 2)


def run(**more: Any) -> Any:
    asked = {"config": {"x": tune.uniform(0, 1)}, "search_alg": "tpe", "num_samples": 2000, "metric": "loss", "mode": "min", **more}
    return tune.run(loss, **{"executor": "inline", "stop": "regret", "seed": 1, "verbose": 0, **asked})


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_run_ends_and_says_what_it_expects_to_lose(executor: str, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = run(executor=executor, verbose=1)
    assert 30 <= len(analysis.trials) < 400
    said = " ".join(capsys.readouterr().out.split())
    assert "more trials are hardly worth it: as many again would improve loss=" in said
    assert analysis._source.ended_because is not None


def test_it_waits_longer_where_less_may_be_lost_and_for_its_least_trials() -> None:
    rough, fine = (len(run(stop=RegretStopper(tolerance=tolerance)).trials) for tolerance in (0.1, 1e-6))
    assert 30 <= rough < fine
    assert len(run(stop=RegretStopper(least=200, tolerance=0.5)).trials) >= 200


def test_of_a_maximum_and_of_a_constant() -> None:
    assert told([1.0] * 30).stop_all()
    stopper = told([-((k % 7) ** 2) - 1e-9 * k for k in range(60)], "max")
    assert stopper.stop_all()
    assert "loss=0" in stopper.reason()


def test_a_run_that_goes_on_knows_what_was_told(tmp_path: Path) -> None:
    where = {"name": "again", "storage_path": str(tmp_path), "resume": "AUTO"}
    run(num_samples=20, **where)
    parts = run(**where)
    assert len(parts.trials) == len(run().trials)


def test_beside_others_and_in_simulations() -> None:
    assert len(run(stop=["regret", {"loss": 100.0}]).trials) < 400
    simulated = tune.simulate(
        lambda config, step: {"loss": loss(config)} if step < 2 else None, config={"x": tune.uniform(0, 1)}, num_samples=2000,
        metric="loss", mode="min", stop="regret", search_alg="tpe",
    )  # fmt: skip
    assert len(simulated.trials) < 400


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="there is no stopper called 'regrets'; the names are regret"):
        resolve_stop("regrets")
    with pytest.raises(ValueError, match="has not one metric and mode"):
        tune.run(loss, config={"x": tune.uniform(0, 1)}, stop="regret", num_samples=3, verbose=0)
    with pytest.raises(ValueError, match="has not one metric and mode"):
        run(metric=["loss", "size"], mode="min", search_alg=None)
    with pytest.raises(ValueError, match="tolerance"):
        RegretStopper(tolerance=0)
    with pytest.raises(ValueError, match="mode must be"):
        RegretStopper(mode="up")


def test_the_command_line(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("def train(config):\n    return {'loss': (config['x'] - 0.3) ** 2}\n", encoding="utf-8")
    line = ["run", f"{script}:train", "--set", "x={uniform=[0, 1]}", "--num-samples", "2000", "--metric", "loss", "--mode", "min"]
    line += ["--executor", "inline", "--storage", str(tmp_path), "--name", "ends", "--verbose", "0", "--search", "tpe"]
    assert main([*line, "--stop", "regret", "--stop", "loss=9"]) == 0
    assert len(tune.ExperimentAnalysis(str(tmp_path / "ends")).trials) < 400


def test_it_may_be_given_to_another_run_and_lie_within_others() -> None:
    """What the first run found ended the second one before its first trial."""
    shared = RegretStopper()
    first, second = run(stop=shared), run(stop=shared)
    assert len(first.trials) == len(second.trials) >= 30
    nested = CombinedStopper(CombinedStopper(RegretStopper(), MaximumIterationStopper(5)), MaximumIterationStopper(9))
    assert len(run(stop=nested).trials) == len(first.trials)


def misleads(config: dict[str, Any]) -> Any:
    """Until step 20 all are alike but for what is no use later."""
    for epoch in range(1, 82):
        yield {"loss": (config["x"] if epoch > 20 else 0.5 + 1e-3 * config["y"]) + 1 / epoch}


@pytest.mark.parametrize("scheduler", ["auto", "asha", "asha_promotion", "hyperband"])
def test_early_steps_end_nothing_behind_a_scheduler_that_ends_trials_early(scheduler: str) -> None:
    space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
    made = tune.simulate(
        misleads, space, num_samples=1000, metric="loss", mode="min", scheduler=scheduler, max_t=81, search_alg="random",
        stop="regret", workers=4, seed=2,
    )  # fmt: skip
    came = [trial.last_result["training_iteration"] for trial in made.trials if trial.last_result]
    assert len(came) == 1000 or sum(one >= 48 for one in came) >= 30


def test_who_is_told_where_trials_end_looks_at_what_comes_near() -> None:
    stopper = RegretStopper("loss", "min", least=4)
    stopper.set_goal("loss", "min", early=True, end=81)
    for k in range(40):
        stopper(f"t{k}", {"loss": k / 1000, "training_iteration": 1})
    assert not stopper.stop_all()
    for k in range(4):
        stopper(f"t{k}", {"loss": 1.0, "training_iteration": 48})
    assert stopper.compared() == (48, [1.0] * 4)
    stopper.set_goal("loss", "min", early=True)  # nobody knows where they end
    for k in range(8):
        stopper(f"t{k}", {"loss": 1.0, "training_iteration": 12})
        assert len(stopper.compared()[1]) == (8 if k == 7 else 0)


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("scheduler", [None, "asha", "auto", "medianstopping"])
def test_all_trials_of_a_simulation_end_with_what_they_report_at_that_moment(scheduler: str | None, workers: int) -> None:
    """At one moment several report, and the first of them ends all."""
    for seed in range(6):
        made = tune.simulate(
            lambda config, step: {"loss": config["x"] + 1 / step}, {"x": tune.uniform(0, 1)}, steps=9, num_samples=500,
            metric="loss", mode="min", scheduler=scheduler, stop=RegretStopper(least=8, tolerance=0.5), workers=workers, seed=seed,
        )  # fmt: skip
        assert all(trial.status == "TERMINATED" for trial in made.trials if trial.last_result)


def test_a_simulation_leaves_the_stopper_as_it_was() -> None:
    stop = MaximumIterationStopper(5)
    spent = [
        tune.simulate(lambda config, step: {"loss": 1.0}, {}, steps=9, num_samples=4, metric="loss", mode="min", stop=stop).epochs
        for _ in range(3)
    ]
    assert spent == [20, 20, 20]
