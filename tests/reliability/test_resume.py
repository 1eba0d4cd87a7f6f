"""Going on with an experiment: schedulers, failures and searchers see what they would have seen (C2 row 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crash_script
import pytest
from laboratory import Lab, check_acks

import fasttune as tune
from fasttune.engine.opening import open_records
from fasttune.search import Searcher


def a_run(trainable: Any, folder: Path, executor: str, **more: Any) -> tune.ExperimentAnalysis:
    settings: dict[str, Any] = {
        "config": {"n": tune.grid_search(list(range(8)))},
        "storage_path": folder,
        "name": "run",
        "metric": "loss",
        "mode": "min",
        "seed": 1,
        "verbose": 0,
        "executor": executor,
        "raise_on_failed_trial": False,
    }
    return tune.run(trainable, **{**settings, **more})


def test_C2_2_failures_of_an_earlier_session_stay_text(tmp_path: Path, executor: str) -> None:
    """Their exceptions are in the journal as pickles; going on with the experiment does not execute them."""
    marker = tmp_path / "executed"

    class Planted(Exception):
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})
        if config["n"] == 3:
            raise Planted("on purpose")

    a_run(trial, tmp_path, executor)
    marker.unlink(missing_ok=True)
    analysis = a_run(trial, tmp_path, executor, resume=True)
    assert analysis.trials[3].status == "ERROR"
    assert "on purpose" in str(analysis.trials[3].get_error())
    assert len(analysis.errors) == 1
    assert not marker.exists()


def test_C2_2_a_checkpointed_trial_goes_on_from_its_checkpoint_after_kills(lab: Lab, executor: str) -> None:
    """The iteration goes on; reports behind the checkpoint are made again and are not there twice under one number."""
    told = lab.told("saving", executor, samples=3, reports=60, workers=2, resume="AUTO")
    for acks in (40, 60):
        process = lab.start(told)
        lab.wait_for_acks(acks, process)
        process.kill()
        process.wait()
        check_acks(lab, lab.reopen())
    lab.nobody_left()
    analysis = crash_script.run(told)
    state = lab.reopen()
    check_acks(lab, state)
    assert state.table.counts()["TERMINATED"] == 3
    for trial in analysis.trials:
        assert trial.last_result["training_iteration"] == 60
        assert trial.last_result["step"] == 59
    assert any(state.table.attempt(i) > 1 for i in range(3))
    for i in range(3):
        folders = [Path(path) for path, _ in state.checkpoints(i)]
        assert folders
        assert all((folder / "step").read_text().isdigit() for folder in folders), "a checkpoint is whole or absent"


def test_C2_2_a_searcher_sees_the_same_story_again(lab: Lab, tmp_path: Path) -> None:
    """After a kill in the middle a resumed searcher has been asked and told as often as one that was never killed."""

    class Counts(Searcher):
        def __init__(self) -> None:
            super().__init__()
            self.suggested: list[str] = []
            self.completed: list[str] = []

        def set_search_properties(self, *_: Any, **__: Any) -> bool:
            return True

        def suggest(self, trial_id: str) -> dict[str, Any]:
            self.suggested.append(trial_id)
            return {"x": len(self.suggested)}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            self.completed.append(trial_id)

    class Stops(Exception):
        pass

    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]})

    class Breaks(tune.Callback):
        """Ends the first session in the middle."""

        def on_trial_complete(self, *, trials: Any, **_: Any) -> None:
            if sum(trial.status == "TERMINATED" for trial in trials) >= 4:
                raise KeyboardInterrupt

    first, second = Counts(), Counts()
    with pytest.raises(KeyboardInterrupt):
        a_run(trial, tmp_path, "inline", config={}, num_samples=10, search_alg=first, callbacks=[Breaks()])
    analysis = a_run(trial, tmp_path, "inline", config={}, num_samples=10, search_alg=second, resume=True)
    assert [one.status for one in analysis.trials] == ["TERMINATED"] * 10
    assert [one.config["x"] for one in analysis.trials] == list(range(1, 11))
    assert len(second.suggested) == 10
    assert sorted(second.completed) == sorted(second.suggested)


def test_C2_2_asha_judges_on_after_a_kill_as_before(lab: Lab, executor: str) -> None:
    """The rungs of a resumed run hold what the killed session recorded: nothing is judged against an empty rung."""
    told = lab.told("steady", executor, samples=100, reports=9, workers=1, scheduler="asha", resume="AUTO")
    process = lab.start(told)
    lab.wait_for_acks(120, process)
    process.kill()
    process.wait()
    before = sum(1 for _ in states_judgements(lab))
    assert before > 10
    crash_script.run(told)
    state = lab.reopen()
    check_acks(lab, state)
    assert len(state) == state.table.counts()["TERMINATED"] == 100
    assert sum(1 for _ in states_judgements(lab)) > before
    stopped = sum(state.table.was_stopped(i) for i in range(100))
    assert 30 < stopped < 100


def states_judgements(lab: Lab) -> list[tuple[int, ...]]:
    """(source, sequence) of each judgement in the journal."""
    from fasttune import _core

    state: Any = lab.reopen()
    learnt: dict[int, list[Any]] = {}
    return [
        (source, sequence)
        for source, _, data in state.storage.read()
        for sequence, *_ in _core.judgements(data, learnt.setdefault(source, []))
    ]


def test_C2_2_a_finished_experiment_has_nothing_to_go_on_with(tmp_path: Path, executor: str) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report({"loss": config["n"]})

    a_run(trial, tmp_path, executor)
    analysis = a_run(trial, tmp_path, executor, resume="AUTO")
    state: Any = open_records(analysis.experiment_path)
    assert [state.table.attempt(i) for i in range(len(state))] == [1] * 8
