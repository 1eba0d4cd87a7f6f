"""analysis.what_if: another scheduler on the curves that were recorded, and nothing made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.analysis import ExperimentAnalysis
from fasttune.schedulers import ASHAScheduler, TrialScheduler
from fasttune.schedulers.base import Change
from fasttune.trial import Trial


def curve(config: dict[str, Any]) -> None:
    for step in range(1, 28):
        if step == 5 and config.get("fails"):
            raise ArithmeticError("this config fails")
        tune.report({"loss": config["x"] + 1.0 / step, "note": "text"})


def recorded(folder: Path, scheduler: TrialScheduler | None = None, **more: Any) -> ExperimentAnalysis:
    asked: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 20, **more}
    return tune.run(
        curve,
        metric="loss",
        mode="min",
        scheduler=scheduler,
        executor="inline",
        storage_path=folder,
        seed=2,
        verbose=0,
        **asked,
    )


def lengths(analysis: ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


def test_asha_on_the_curves_of_a_full_run(tmp_path: Path) -> None:
    full = recorded(tmp_path / "full", max_concurrent_trials=1)
    answer = full.what_if(ASHAScheduler(max_t=27, reduction_factor=3))
    really = recorded(tmp_path / "asha", ASHAScheduler(max_t=27, reduction_factor=3), max_concurrent_trials=1)
    assert answer.was.epochs == 20 * 27
    assert answer.was.workers == answer.would.workers == 1
    assert lengths(answer.analysis) == lengths(really)
    assert answer.would.epochs == sum(lengths(really)) < answer.was.epochs
    assert answer.truncated == []
    assert answer.would.best == really.best_result["loss"]
    assert 0 < answer.would.seconds < answer.was.seconds
    assert answer.would.busy_seconds == pytest.approx(answer.would.seconds)


def test_what_was_stopped_is_not_made_up(tmp_path: Path) -> None:
    stopped = recorded(tmp_path, ASHAScheduler(max_t=27, reduction_factor=3))
    answer = ExperimentAnalysis(stopped.experiment_path).what_if("fifo")
    assert lengths(answer.analysis) == lengths(stopped)
    assert answer.would.epochs == answer.was.epochs
    early = [i for i, steps in enumerate(lengths(stopped)) if steps < 27]
    assert set(answer.truncated) >= {f"sim_{i:05d}" for i in early}
    gentler = stopped.what_if(ASHAScheduler(max_t=27, reduction_factor=3), workers=1)
    assert all(now <= then for now, then in zip(lengths(gentler.analysis), lengths(stopped), strict=True))


def test_stop_criteria_of_the_run_hold_again(tmp_path: Path) -> None:
    limited = recorded(tmp_path, stop={"training_iteration": 9})
    answer = limited.what_if()
    assert set(lengths(answer.analysis)) == {9}
    assert answer.truncated == []
    assert set(lengths(limited.what_if(stop={"training_iteration": 3}).analysis)) == {3}


def test_a_trial_that_failed_fails_again(tmp_path: Path) -> None:
    space = {"x": 0.5, "fails": tune.grid_search([True, False])}
    failed = recorded(tmp_path, config=space, num_samples=1, raise_on_failed_trial=False)
    answer = failed.what_if("fifo")
    assert [trial.status for trial in answer.analysis.trials] == ["ERROR", "TERMINATED"]
    assert answer.truncated == []


def test_workers_and_costs_can_be_others(tmp_path: Path) -> None:
    full = recorded(tmp_path)
    answers = [full.what_if(workers=n, cost=2.0) for n in (1, 4)]
    assert [answer.would.seconds for answer in answers] == [20 * 27 * 2.0, 5 * 27 * 2.0]
    assert {answer.would.busy_seconds for answer in answers} == {1080.0}


def test_it_prints_as_a_table(tmp_path: Path) -> None:
    text = str(recorded(tmp_path).what_if(ASHAScheduler(max_t=27), workers=2))
    lines = text.splitlines()
    assert lines[0].split() == ["as", "it", "was", "what", "if"]
    assert ["scheduler", "FIFOScheduler", "AsyncHyperBandScheduler"] in [line.split() for line in lines]
    assert {line.split()[0] for line in lines[1:]} >= {"workers", "epochs", "seconds", "best", "truncated"}
    assert len({len(line) for line in lines[1:]}) == 1


def test_a_simulation_can_be_asked_as_well() -> None:
    made = tune.simulate(
        lambda config, step: config["x"] + 1 / step,
        {"x": tune.uniform(0, 1)},
        num_samples=30,
        steps=27,
        metric="loss",
        mode="min",
        workers=4,
    )
    answer = made.what_if(ASHAScheduler(max_t=27, reduction_factor=3))
    assert (answer.was.workers, answer.was.seconds, answer.was.epochs) == (4, made.seconds, made.epochs)
    assert answer.would.seconds < answer.was.seconds


def test_a_pickled_analysis_has_no_journal(tmp_path: Path) -> None:
    import pickle

    lean = pickle.loads(pickle.dumps(recorded(tmp_path, num_samples=2)))
    with pytest.raises(ValueError, match="holds no journal"):
        lean.what_if("fifo")
    with pytest.raises(ValueError, match="holds no journal"):
        lean.verify(ASHAScheduler())


class Explores(TrialScheduler):
    """Changes a config at the third report."""

    def __init__(self) -> None:
        super().__init__()
        self.ordered: list[Any] = []

    def on_trial_result(self, state: Any, trial: Trial, result: dict[str, Any]) -> str:
        if result["training_iteration"] != 3:
            return self.CONTINUE
        self.ordered = [Change(trial, config={"x": 0.1})]
        return self.PAUSE

    def orders(self) -> Any:
        given, self.ordered = self.ordered, []
        return given


def test_a_changed_config_needs_a_curve_by_a_function(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of which no curve was recorded"):
        recorded(tmp_path, num_samples=2).what_if(Explores())


def test_a_changed_config_goes_on_at_its_step_on_its_own_curve() -> None:
    made = tune.simulate(
        lambda config, step: config["x"] * 100 + step,
        {"x": tune.grid_search([0.5, 0.7])},
        steps=6,
        metric="loss",
        mode="min",
        workers=2,
        scheduler=Explores(),
    )
    for i, x in enumerate((0.5, 0.7)):
        told = [result["loss"] for result in made._source.results(i)]
        assert told == pytest.approx([x * 100 + 1, x * 100 + 2, x * 100 + 3, 14, 15, 16])
        assert made.trials[i].config == {"x": 0.1}
    assert made.epochs == 12
    assert made.verify(Explores()) == []
