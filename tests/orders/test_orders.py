"""Orders about other trials: saves, ends and changes, carried out by the real loop on both executors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from scripted import Change, Counting, End, Save, Scripted, counting, plain

import fasttune as tune
from fasttune.engine.opening import open_records
from fasttune.error import TuneError

Run = Callable[..., tune.ExperimentAnalysis]


def copy_the_best(self: Any, state: Any, trial: Any, step: int) -> str:
    """At step 3 everybody pauses; when all have, trial 0 goes on from the last trial's checkpoint with rate 100."""
    if step != 3:
        return str(self.CONTINUE)
    trials = state.get_trials()
    paused = [other for other in trials if other.status == "PAUSED"]
    if len(paused) + 1 == len(trials):
        donor = trials[len(trials) - 1]
        self.given += [
            Save(donor),
            Change(trials[0], config={**trials[0].config, "rate": 100}, donor=donor, tag="0@perturbed[rate=100]"),
        ]
    return str(self.PAUSE)


def only_when_all_wait(state: Any) -> Any:
    """Paused trials wait for each other."""
    pending = state.trials_of("PENDING", 1)
    if pending:
        return pending[0]
    waits = any(trial.last_result.get("training_iteration", 0) < 3 for trial in state.trials_of("RUNNING"))
    return None if waits else next(iter(state.trials_of("PAUSED", 1)), None)


@pytest.mark.parametrize("trainable", [Counting, counting])
@pytest.mark.parametrize("reuse", [False, True])
def test_a_trial_copies_another(run: Run, trainable: Any, reuse: bool, tmp_path: Any) -> None:
    scheduler = Scripted(copy_the_best, every=3)
    scheduler.choose = only_when_all_wait
    analysis = run(trainable, scheduler, trials=3, last=6, reuse_actors=reuse)
    first = analysis.trials[0]
    assert first.last_result["training_iteration"] == 6
    assert first.last_result["score"] == 9.0 + 300.0  # the donor's three steps, then its own
    assert first.config["rate"] == 100
    assert first.experiment_tag == "0@perturbed[rate=100]"
    assert [trial.last_result["score"] for trial in analysis.trials[1:]] == [12.0, 18.0]
    [changed] = open_records(os.path.join(tmp_path, "orders")).lineage()
    assert (changed.trial, changed.donor, changed.trial_iteration, changed.donor_iteration) == (0, 2, 3, 3)
    assert (changed.old_config["rate"], changed.new_config["rate"]) == (1, 100)
    [row] = analysis.lineage().to_dict("records")
    assert row.pop("time") == changed.time
    assert row == {
        "trial_id": first.trial_id,
        "training_iteration": 3,
        "donor_id": analysis.trials[2].trial_id,
        "donor_iteration": 3,
        "old/rate": 1,
        "new/rate": 100,
    }


def test_functions_without_checkpoints_stay_as_they_were(run: Run) -> None:
    scheduler = Scripted(copy_the_best, every=3)
    scheduler.choose = only_when_all_wait
    with pytest.warns(RuntimeWarning, match="must report checkpoints"):
        analysis = run(plain, scheduler, trials=3, last=6)
    assert [trial.last_result["score"] for trial in analysis.trials] == [6.0, 12.0, 18.0]
    assert [trial.last_result["iterations_since_restore"] for trial in analysis.trials] == [6] * 3


def test_a_paused_trial_is_ended(run: Run) -> None:
    def decide(self: Any, state: Any, trial: Any, step: int) -> str | None:
        if step == 1:
            return str(self.PAUSE)
        if step == 2:
            self.given += [End(state.get_trials()[0]), End(state.get_trials()[0])]  # the second does no harm
        return None

    scheduler = Scripted(decide)

    def choose(state: Any) -> Any:
        pending, paused = state.trials_of("PENDING", 1), state.trials_of("PAUSED")
        return pending[0] if pending else paused[1] if len(paused) == 2 else None

    scheduler.choose = choose
    analysis = run(Counting, scheduler, trials=2, last=4)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [1, 4]
    assert ("remove", 0, 0) in scheduler.heard
    assert ("complete", 1, 4) in scheduler.heard


def test_an_order_to_a_trial_that_is_over_does_no_harm(run: Run) -> None:
    def decide(self: Any, state: Any, trial: Any, step: int) -> str | None:
        others = [other for other in state.get_trials() if other.status == "TERMINATED"]
        for other in others:
            self.given += [Save(other), End(other), Change(other, config={"rate": 7, "last": 9})]
        return None

    analysis = run(Counting, Scripted(decide), trials=6, last=2)
    assert [trial.last_result["score"] for trial in analysis.trials] == [2.0 * rate for rate in range(1, 7)]


def test_a_change_of_a_running_trial_is_refused(run: Run) -> None:
    def decide(self: Any, state: Any, trial: Any, step: int) -> str | None:
        self.given.append(Change(trial, config={}))
        return None

    with pytest.raises(TuneError, match=r"Scripted ordered a change of .* RUNNING.*PAUSE first"):
        run(Counting, Scripted(decide), trials=1)


def test_a_trial_that_never_ran_can_be_changed(run: Run) -> None:
    class Starting(Scripted):
        def on_trial_add(self, state: Any, trial: Any) -> None:
            self.given.append(Change(trial, config={**trial.config, "extra": trial.config["rate"] * 10}))

    analysis = run(plain, Starting(lambda self, state, trial, step: None), trials=3, last=2)
    assert [trial.config["extra"] for trial in analysis.trials] == [10, 20, 30]
    assert [trial.last_result["score"] for trial in analysis.trials] == [2.0, 4.0, 6.0]


def test_a_change_without_donor_goes_on_from_where_the_trial_is(run: Run) -> None:
    def decide(self: Any, state: Any, trial: Any, step: int) -> str | None:
        if step != 2:
            return None
        self.given.append(Change(trial, config={**trial.config, "rate": 50}))
        return str(self.PAUSE)

    analysis = run(Counting, Scripted(decide), trials=2, last=4)
    assert [trial.last_result["score"] for trial in analysis.trials] == [2.0 + 100.0, 4.0 + 100.0]
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [4, 4]


def test_a_save_is_of_the_step_it_was_ordered_at(run: Run) -> None:
    def decide(self: Any, state: Any, trial: Any, step: int) -> str | None:
        if step == 3:
            self.given.append(Save(trial))
        return None

    analysis = run(Counting, Scripted(decide), trials=2, last=5)
    for trial in analysis.trials:
        [(checkpoint, result)] = [(path, result) for path, result in trial._source.checkpoints(trial.index)]
        assert result["training_iteration"] == 3
        with open(os.path.join(checkpoint, "score.json")) as file:
            assert json.load(file) == result["score"]
