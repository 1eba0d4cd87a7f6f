"""What schedulers are handed: the experiment to look at, and nothing to act with. A scheduler around another one passes all on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import FIFOScheduler, PopulationBasedTraining, ResourceChangingScheduler, TrialScheduler
from fasttune.schedulers.view import ExperimentView


def train(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(loss=config["x"] + step)


class Asking(FIFOScheduler):
    """Does something with what it is handed."""

    def __init__(self, does: Any) -> None:
        super().__init__()
        self._does = does

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        self._does(state)
        return self.CONTINUE


def run(scheduler: TrialScheduler, folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    settings = {"config": {"x": tune.grid_search([1.0, 2.0])}, "metric": "loss", "mode": "min", "verbose": 0, "executor": "inline"}
    return tune.run(train, scheduler=scheduler, storage_path=str(folder), **{**settings, **more})


@pytest.mark.parametrize(
    "act",
    [
        lambda state: state.stop_all("enough"),
        lambda state: state.fail(0, "no luck"),
        lambda state: state.handle(0, b""),
        lambda state: state.table,
        lambda state: state.searcher.suggest("x"),
    ],
)
def test_nothing_on_it_acts(tmp_path: Path, act: Any) -> None:
    with pytest.raises(AttributeError, match=r"the experiment that a scheduler sees has no .* it has trials, total, .* orders"):
        run(Asking(act), tmp_path)


def test_nothing_of_it_can_be_set(tmp_path: Path) -> None:
    def change(state: Any) -> None:
        for name in ("total", "trials", "metric", "anything"):
            with pytest.raises(AttributeError):
                setattr(state, name, 5)
        with pytest.raises(TypeError):
            state.machine["cpu"] = 100

    assert len(run(Asking(change), tmp_path).trials) == 2


def test_what_there_is_to_look_at(tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(state: ExperimentView) -> None:
        seen.append(state)
        assert (state.total, state.metric, state.mode, state.reuses_processes) == (2, "loss", "min", False)
        assert state.machine["cpu"] >= 1
        assert [trial.trial_id for trial in state.get_trials()] == [trial.trial_id for trial in state.trials]
        running = state.trials_of("RUNNING")
        if not running:
            return  # it has ended by itself, and is seen once more
        assert state.get_trial(running[0].trial_id).trial_id == running[0].trial_id
        assert running[0].trial_id in [trial.trial_id for trial in state.get_live_trials()]
        assert state.lineage() == []
        assert not state.can_begin_again(running[0])  # a function, and no checkpoint came with the report

    run(Asking(look), tmp_path)
    assert len(seen) == 8
    assert len({id(one) for one in seen}) == 1


def test_a_scheduler_around_another_one_passes_everything_on() -> None:
    own = {"core_rule"}  # it has to be asked on every report
    methods = {name for name, one in vars(TrialScheduler).items() if callable(one) and not name.startswith("_")} - own
    assert methods <= vars(ResourceChangingScheduler).keys()
    for name in ("takes_searcher", "holds_back"):
        base = PopulationBasedTraining(hyperparam_mutations={"x": [1.0, 2.0]})
        assert getattr(ResourceChangingScheduler(base), name) == getattr(base, name)


def test_what_a_population_adds_to_the_space_is_there_through_another_scheduler(tmp_path: Path) -> None:
    base = PopulationBasedTraining(perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(3.0, 4.0)}, seed=1)
    analysis = run(ResourceChangingScheduler(base), tmp_path, config={}, num_samples=2)
    assert all(3.0 <= trial.config["x"] <= 4.0 for trial in analysis.trials)
