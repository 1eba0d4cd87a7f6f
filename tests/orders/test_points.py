"""Where a trial that copies another goes on, and what is known of it until it reports there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripted import Change, Scripted

import fasttune as tune
from fasttune import _core
from fasttune.storage.sqlite import checksum

Run = Callable[..., tune.ExperimentAnalysis]
KEEP = {"checkpoint_config": tune.CheckpointConfig(num_to_keep=20)}


def held(config: dict[str, Any]) -> None:
    """Adds ``rate`` to a score in each step, with a dict as checkpoint."""
    found = tune.get_checkpoint()
    score, step = (0.0, 0) if found is None else found.to_dict()["at"]
    while step < config["last"]:
        score, step = score + config["rate"], step + 1
        tune.report(score=score, n=step, checkpoint=tune.Checkpoint.from_dict({"at": (score, step)}))


def in_this_order(*numbers: int) -> Callable[[Any], Any]:
    """Of the trials that wait, the first of these."""

    def choose(state: Any) -> Any:
        if state.trials_of("RUNNING", 1):
            return None
        waiting = [*state.trials_of("PENDING"), *state.trials_of("PAUSED")]
        return min(waiting, key=lambda trial: numbers.index(trial.index), default=None)

    return choose


def test_a_trial_that_copied_an_end_shows_its_own_last_report(run: Run, tmp_path: Path) -> None:
    def decide(self: Any, state: Any, trial: Any, step: int) -> str:
        if (trial.index, step) == (1, 6):
            return str(self.PAUSE)
        if (trial.index, step) == (0, 2):
            self.given.append(Change(trial, config={**trial.config, "rate": 100}, donor=state.get_trials()[1], tag="copied"))
            return str(self.PAUSE)
        return str(self.CONTINUE)

    scheduler = Scripted(decide)
    scheduler.choose = lambda state: next(
        (trial for i in (1, 0) for trial in state.get_trials()[i : i + 1] if _may_run(state, trial)), None
    )
    analysis = run(held, scheduler, **KEEP)
    for known in (analysis, tune.ExperimentAnalysis(analysis.experiment_path)):
        trial = known.trials[0]
        assert trial.status == "TERMINATED"
        assert trial.config["rate"] == 100
        result = trial.last_result
        assert (result["n"], result["training_iteration"], result["score"], result["config"]["rate"]) == (2, 2, 2.0, 1)
        assert result["iterations_since_restore"] == 2
        assert 0.0 <= result["time_this_iter_s"] <= result["time_total_s"]
        assert known.lineage()["donor_iteration"].tolist() == [6]
    database = sqlite3.connect(tmp_path / "orders" / "experiment.db")
    assert database.execute("SELECT iterations, score FROM trials ORDER BY trial").fetchall() == [(2, 2.0), (6, 12.0)]
    database.close()


def _may_run(state: Any, trial: Any) -> bool:
    """Trial 1 runs to its end, which it does not leave; then trial 0 does."""
    if state.trials_of("RUNNING", 1):
        return False
    first = trial.status == "PENDING"
    return first or (trial.status == "PAUSED" and trial.index == 1 and state.get_trials()[0].status == "TERMINATED")


def test_what_an_earlier_attempt_saved_stays_what_it_was(run: Run) -> None:
    """Trial 0 is to go on from what trial 1 saved at step 3, and trial 1 makes step 3 once more before it does."""

    def decide(self: Any, state: Any, trial: Any, step: int) -> str:
        if trial.config["rate"] >= 50 or step != (2 if trial.index == 2 else 3):
            return str(self.CONTINUE)
        if trial.index == 0:  # the last one to come here
            trials = state.get_trials()
            self.given += [
                Change(trials[0], config={**trial.config, "rate": 100}, donor=trials[1]),
                Change(trials[1], config={**trial.config, "rate": 50}, donor=trials[2]),
            ]
        return str(self.PAUSE)

    scheduler = Scripted(decide)
    order = in_this_order(2, 1, 0)
    scheduler.choose = lambda state: _two_rounds(state, order)
    analysis = run(held, scheduler, trials=3, **KEEP)
    assert [trial.last_result["score"] for trial in analysis.trials] == [6.0 + 300.0, 6.0 + 4 * 50.0, 18.0]
    saved = {step_and_attempt(saved) for saved, _ in analysis.trials[1]._source.checkpoints(1)}
    assert len(saved) == 7  # 1, 2, 3 and then 3, 4, 5, 6
    again = tune.ExperimentAnalysis(analysis.experiment_path)
    contents = [saved.to_dict()["at"] for saved, _ in again.trials[1]._source.checkpoints(1)]
    assert contents == [(2.0, 1), (4.0, 2), (6.0, 3), (56.0, 3), (106.0, 4), (156.0, 5), (206.0, 6)]
    assert len({saved.path for saved, _ in again.trials[1]._source.checkpoints(1)}) == 7  # as files, too


def step_and_attempt(saved: Any) -> tuple[float, int]:
    score, step = saved.to_dict()["at"]
    return score, step


def _two_rounds(state: Any, order: Callable[[Any], Any]) -> Any:
    """First all that never ran, then the paused ones; trial 1 comes before trial 0."""
    if state.trials_of("RUNNING", 1):
        return None
    never = [trial for trial in state.trials_of("PENDING") if not trial.last_result]
    return max(never, key=lambda trial: trial.index) if never else order(state)


def test_a_copy_that_was_not_carried_out_goes_on_from_what_was_decided_on(run: Run, tmp_path: Path) -> None:
    """Its journal ends before the change of trial 0, and has all that the donor did afterwards."""

    def decide(self: Any, state: Any, trial: Any, step: int) -> str:
        if step != 3 or trial.config["rate"] == 100:
            return str(self.CONTINUE)
        if trial.index == 0:
            self.given.append(Change(trial, config={**trial.config, "rate": 100}, donor=state.get_trials()[1]))
        return str(self.PAUSE)

    def scheduler() -> Scripted:
        made = Scripted(decide)
        order = in_this_order(1, 0)
        made.choose = lambda state: _two_rounds(state, order)
        return made

    run(held, scheduler(), **KEEP)
    without_the_change(tmp_path / "orders" / "experiment.db")
    resumed = run(held, scheduler(), resume=True, **KEEP)
    assert resumed.lineage()["donor_iteration"].tolist() == [3]
    assert [trial.last_result["score"] for trial in resumed.trials] == [6.0 + 300.0, 12.0]


def without_the_change(path: Path) -> None:
    """Take the change of trial 0 out of a journal, and all that it did then."""
    database = sqlite3.connect(path)
    changed = False
    for number, source, position, data in database.execute(
        "SELECT id, source, position, data FROM journal ORDER BY id"
    ).fetchall():
        kept, at = b"", 0
        while at < len(data):
            size, kind = int.from_bytes(data[at : at + 4], "little"), data[at + 4]
            trial = int.from_bytes(data[at + 8 : at + 12], "little")
            about_it = kind not in (_core.KIND_META, _core.KIND_CONFIGS, _core.KIND_SCHEMA) and trial == 0
            changed = changed or kind == _core.KIND_CHANGED
            if not (changed and about_it):
                kept += data[at : at + size]
            at += size
        database.execute(
            "UPDATE journal SET data = ?, crc = ? WHERE id = ?", (kept, checksum(source, position, kept), number)
        )
    assert changed
    database.execute("DELETE FROM checkpoints WHERE trial = 0 AND step > 3")
    database.commit()
    database.close()
