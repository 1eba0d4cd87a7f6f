"""A scheduler's file is taken by its like only, and says by what it is not."""

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import (
    ASHAPromotionScheduler,
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    ResourceChangingScheduler,
)
from fasttune.schedulers.base import TrialScheduler


def train(config: dict[str, Any]) -> None:
    for step in range(9):
        tune.report(score=config["x"] * (step + 1))


def run(scheduler: TrialScheduler, folder: Path, **more: Any) -> Any:
    space = {"x": tune.grid_search([4.0, 3.0, 2.0, 1.0])}
    return tune.run(
        train, config=space, scheduler=scheduler, executor="inline", storage_path=str(folder), verbose=0, **more
    )


@pytest.fixture
def state(tmp_path: Path) -> str:
    """What a run left that looked for the largest score on rungs at 1, 3 and 9."""
    saved = ASHAScheduler(max_t=9, reduction_factor=3)
    run(saved, tmp_path, metric="score", mode="max")
    saved.save(str(tmp_path / "asha"))
    return str(tmp_path / "asha")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reduction_factor": 2}, "reduction_factor: 3 was, 2 is"),
        ({"grace_period": 2}, "grace_period: 1 was, 2 is"),
        ({"brackets": 2}, "brackets: 1 was, 2 is"),
        ({"time_attr": "time_total_s"}, "time_attr: 'training_iteration' was, 'time_total_s' is"),
        ({"rule": "rank"}, "rule: 'percentile' was, 'rank' is"),
        ({"stop_last_trials": False}, "stop_last_trials: True was, False is"),
        ({"metric": "score", "mode": "min"}, "mode: 'max' was, 'min' is"),
        ({"metric": "loss", "mode": "max"}, "metric: 'score' was, 'loss' is"),
    ],
)
def test_another_scheduler_refuses_the_file(state: str, more: dict[str, Any], said: str) -> None:
    """A saved scheduler was restored into one that looked for the least: good trials were stopped without a word."""
    with pytest.raises(ValueError, match=said):
        ASHAScheduler(**{"max_t": 9, "reduction_factor": 3, **more}).restore(state)


def test_a_run_that_asks_for_the_other_end_refuses_what_was_restored(state: str, tmp_path: Path) -> None:
    """The mode that came with the run, behind the restore, was not looked at."""
    restored = ASHAScheduler(max_t=9, reduction_factor=3)
    restored.restore(state)
    with pytest.raises(ValueError, match="restored from a state of another run: mode: 'max' was, 'min' is"):
        run(restored, tmp_path / "again", metric="score", mode="min")


def test_what_was_restored_before_the_mode_was_known_judges_by_it(state: str, tmp_path: Path) -> None:
    """A state that was restored before the run said its mode judged in the other direction."""
    restored = ASHAScheduler(max_t=9, reduction_factor=3)
    restored.restore(state)
    analysis = run(restored, tmp_path / "again", metric="score", mode="max", name="again")
    assert analysis.trials[0].last_result["training_iteration"] == 9
    assert analysis.trials[3].last_result["training_iteration"] == 1


def test_a_scheduler_that_was_looked_at_before_its_run_takes_its_mode(tmp_path: Path) -> None:
    """Printing a scheduler before the run turned it around."""

    class Asked(ASHAScheduler):
        def on_trial_result(self, *args: Any) -> str:  # so that it is asked report by report
            return super().on_trial_result(*args)

    seen = Asked(max_t=9, reduction_factor=3)
    assert "num_stopped=0" in seen.debug_string()
    analysis = run(seen, tmp_path, metric="score", mode="max", max_concurrent_trials=1)
    assert analysis.trials[0].last_result["training_iteration"] == 9
    assert analysis.trials[3].last_result["training_iteration"] == 1


def test_a_file_of_another_kind_is_refused_by_name(state: str, tmp_path: Path) -> None:
    """The file of one scheduler was given to another kind, which took it, or broke somewhere inside."""
    with pytest.raises(ValueError, match="is the state of AsyncHyperBandScheduler, and FIFOScheduler cannot"):
        FIFOScheduler().restore(state)
    FIFOScheduler().save(str(tmp_path / "fifo"))
    FIFOScheduler().restore(str(tmp_path / "fifo"))
    with pytest.raises(ValueError, match="is the state of FIFOScheduler"):
        ResourceChangingScheduler(ASHAScheduler()).restore(str(tmp_path / "fifo"))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="is not what save"):
        ASHAScheduler().restore(str(tmp_path / "text"))


@pytest.mark.parametrize(
    "scheduler",
    [
        HyperBandScheduler(),
        MedianStoppingRule(),
        ASHAPromotionScheduler(),
        PopulationBasedTraining(hyperparam_mutations={"x": [1, 2]}),
        TrialScheduler(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_who_writes_no_state_says_so(scheduler: TrialScheduler, tmp_path: Path) -> None:
    """A scheduler was saved and restored, and had forgotten everything: the file was never written."""
    with pytest.raises(NotImplementedError, match="it is rebuilt from the journal"):
        scheduler.save(str(tmp_path / "state"))
    with pytest.raises(NotImplementedError, match="writes its state to no file"):
        scheduler.restore(str(tmp_path / "state"))
