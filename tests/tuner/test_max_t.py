"""``max_t=``: the longest that a trial trains, said to the run: which scheduler and searcher that means, at every door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import TuneError
from fasttune.schedulers import ASHAScheduler, AutoScheduler, HyperBandScheduler
from fasttune.search import TPESearch

SPACE = {"x": tune.uniform(0, 1)}


def endless(config: dict[str, Any]) -> None:
    for epoch in range(1, 1000):
        tune.report(loss=config["x"] + 1 / epoch)


def run(tmp_path: Path, **more: Any) -> tune.ExperimentAnalysis:
    given: dict[str, Any] = {"config": SPACE, "num_samples": 20, "metric": "loss", "mode": "min", "verbose": 0, "seed": 0}
    return tune.run(endless, **{**given, "executor": "inline", "storage_path": str(tmp_path), "name": "it", **more})


def longest(analysis: Any) -> int:
    return max(trial.last_result["training_iteration"] for trial in analysis.trials)


def test_alone_it_is_auto_scheduler_and_auto_searcher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = run(tmp_path, max_t=27, verbose=1)
    assert longest(analysis) == 27
    assert sum(trial.last_result["training_iteration"] for trial in analysis.trials) < 0.5 * 27 * 20
    out = capsys.readouterr().out
    assert "The scheduler is AutoScheduler: " in out
    assert 'The searcher is "tpe": ' in out
    asked = tune.ExperimentAnalysis(tmp_path / "it")._source.meta["asked"]
    assert (asked["scheduler"]["kind"], asked["searcher"]["kind"]) == ("AutoScheduler", "TPESearch")


@pytest.mark.parametrize(
    ("name", "kind"), [("asha", "AsyncHyperBandScheduler"), ("auto", "AutoScheduler"), ("PASHA", "PASHAScheduler")]
)
def test_it_is_that_of_the_scheduler_that_is_named(tmp_path: Path, name: str, kind: str) -> None:
    analysis = run(tmp_path, max_t=9, scheduler=name)
    asked = analysis._source.meta["asked"]
    assert asked["scheduler"]["kind"] == kind
    assert asked["scheduler"]["settings"]["max_t"] == 9
    assert asked["searcher"]["kind"] == "BasicVariantGenerator"  # nobody has asked for another one
    assert longest(analysis) <= 9


def test_a_searcher_that_is_named_stays(tmp_path: Path) -> None:
    assert run(tmp_path, max_t=9, search_alg="gp")._source.meta["asked"]["searcher"]["kind"] == "GPSearch"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_t": 0}, r"max_t, the longest that a trial trains, must be a finite number > 0, got 0"),
        ({"max_t": "long"}, r"max_t, the longest .* got 'long'"),
        ({"max_t": float("inf")}, r"max_t, the longest .* got inf"),
        ({"max_t": 0.5}, r"grace_period must be at most max_t \(0.5\), got 1"),
        ({"max_t": 9, "scheduler": "pbt"}, r"'pbt' ends none by how long it has trained: say stop=\{'training_iteration': 9\}"),
        ({"max_t": 9, "scheduler": "fifo"}, r"'fifo' ends none by how long it has trained"),
        ({"max_t": 9, "scheduler": "nobody"}, r"there is no scheduler called 'nobody'"),
        ({"max_t": 9, "stop": {"training_iteration": 5}}, r"max_t=9 and stop=\{'training_iteration': 5\} both say where trials end"),
        ({"max_t": 9, "scheduler": "asha", "stop": {"training_iteration": 10}}, r"both say where trials end"),
        ({"max_t": 9, "metric": None, "mode": None}, r"without a metric and mode"),
        ({"max_t": 9, "metric": ["loss", "size"], "mode": ["min", "min"]}, r"compares trials by one metric, and the run has 2"),
    ],
)
def test_what_cannot_be_is_an_error_before_the_run(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(tmp_path, **wrong)
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("scheduler", [ASHAScheduler(max_t=9), AutoScheduler(), HyperBandScheduler()])
def test_a_scheduler_that_is_made_has_its_own(tmp_path: Path, scheduler: Any) -> None:
    kind = type(scheduler).__name__
    with pytest.raises(ValueError, match=rf"max_t=9 was given to the run, whose scheduler is already made: say {kind}\(max_t=9\)"):
        run(tmp_path, max_t=9, scheduler=scheduler)
    with pytest.raises(ValueError, match="whose scheduler is already made"):
        tune.TuneConfig(metric="loss", mode="min", max_t=9, scheduler=scheduler)
    with pytest.raises(ValueError, match="whose scheduler is already made"):
        tune.simulate(lambda config, step: config["x"], SPACE, max_t=9, scheduler=scheduler)


def test_a_stop_that_says_the_same_is_no_conflict(tmp_path: Path) -> None:
    assert longest(run(tmp_path, max_t=9, stop={"training_iteration": 9})) == 9
    assert longest(run(tmp_path, name="other", max_t=9, stop={"loss": 100})) == 9


def test_rows_that_cannot_be_paused_are_stopped_there(tmp_path: Path) -> None:
    @tune.vectorized(size=8)
    def rows(config: Any) -> Iterator[dict[str, Any]]:
        for epoch in range(1, 100):
            going_on = yield {"loss": config["x"] + 1 / epoch}
            config = config if going_on is None else going_on.configs

    analysis = tune.run(
        rows, config=SPACE, num_samples=8, metric="loss", mode="min", max_t=9, verbose=0, seed=0, storage_path=str(tmp_path)
    )
    assert analysis._source.meta["asked"]["scheduler"]["kind"] == "AsyncHyperBandScheduler"
    assert longest(analysis) == 9


# ---- going on


def test_a_run_is_gone_on_with_by_the_same_words(tmp_path: Path) -> None:
    first = run(tmp_path, max_t=9)
    again = run(tmp_path, max_t=9, num_samples=40, resume=True)
    assert len(again.trials) == 40
    assert [trial.last_result for trial in again.trials[:20] if trial.last_result["training_iteration"] == 9] == [
        trial.last_result for trial in first.trials if trial.last_result["training_iteration"] == 9
    ]
    with pytest.raises(TuneError, match=r"scheduler/max_t: 9.0 was, 27.0 is"):
        run(tmp_path, resume=True, max_t=27)
    with pytest.raises(TuneError, match="scheduler: AutoScheduler was, FIFOScheduler is"):
        run(tmp_path, resume=True)


def test_a_tuner_takes_it_and_goes_on_with_it(tmp_path: Path) -> None:
    config = tune.TuneConfig(metric="loss", mode="min", num_samples=10, max_t=9)
    tuner = tune.Tuner(
        endless,
        param_space=SPACE,
        tune_config=config,
        run_config=tune.RunConfig(name="tuner", storage_path=str(tmp_path), verbose=0, seed=0, executor="inline"),
    )
    grid = tuner.fit()
    assert max(result.metrics["training_iteration"] for result in grid) == 9
    again = tune.Tuner.restore(str(tmp_path / "tuner"), endless).fit()
    assert [result.metrics["loss"] for result in again] == [result.metrics["loss"] for result in grid]


def test_where_one_asks_and_tells(tmp_path: Path) -> None:
    more = {"metric": "loss", "mode": "min", "max_t": 3, "num_samples": 6, "seed": 0}
    with tune.open_experiment(SPACE, name="told", storage_path=str(tmp_path), **more) as experiment:
        assert isinstance(experiment._loop.spec.scheduler, AutoScheduler)
        assert isinstance(experiment._loop.spec.searcher, TPESearch)


def test_simulated() -> None:
    made = tune.simulate(
        lambda config, step: config["x"] + 1 / step, SPACE, max_t=9, num_samples=20, metric="loss", mode="min", seed=1
    )
    assert isinstance(made.scheduler, AutoScheduler)
    assert longest(made) == 9
    other = tune.simulate(
        lambda config, step: config["x"] + 1 / step, SPACE, max_t=9, scheduler="asha", num_samples=20, metric="loss", mode="min"
    )
    assert isinstance(other.scheduler, ASHAScheduler)


@pytest.mark.parametrize("scheduler", [None, "auto", "asha", "hyperband"])
def test_a_stop_in_a_list_says_where_trials_end_too(tmp_path: Path, scheduler: str | None) -> None:
    with pytest.raises(ValueError, match="both say where trials end"):
        run(tmp_path, max_t=81, scheduler=scheduler, stop=[{"training_iteration": 9}])
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_needs_more_than_max_t_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"SuccessiveHalvingScheduler\(n=\.\.\., max_t=9\), and leave max_t out"):
        run(tmp_path, max_t=9, scheduler="successive_halving")
