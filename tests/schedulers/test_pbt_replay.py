"""Policy files and the replay of what they tell, on a stage."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import PopulationBasedTrainingReplay
from fasttune.schedulers.pbt import policy_files

sys.path.insert(0, str(Path(__file__).parent))
from stage import Stage


def copied(trial: int, donor: int | None, at: int, donor_at: int, old: Any, new: Any) -> Any:
    return SimpleNamespace(
        trial=trial, donor=donor, trial_iteration=at, donor_iteration=donor_at, old_config=old, new_config=new
    )


def experiment(*copies: Any, configs: dict[int, Any] | None = None) -> Any:
    """A population of five whose present configs are those of ``configs``."""
    trials = [
        SimpleNamespace(experiment_tag=f"{i}_x={i}@perturbed[x=1]", trial_id=f"{i:05d}", config=(configs or {}).get(i))
        for i in range(5)
    ]
    return SimpleNamespace(trials=trials, lineage=lambda: list(copies))


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


STORY = experiment(
    copied(0, 3, 10, 9, {"x": 0}, {"x": 30}),  # 0 copies 3
    copied(2, None, 12, 12, {"x": 2}, {"x": 2}),  # no copy: its resources were changed
    copied(1, 0, 20, 19, {"x": 1}, {"x": 31}),  # 1 copies 0, which has copied 3
    copied(0, 4, 30, 28, {"x": 30}, {"x": 40}),  # 0 begins anew from 4
    copied(1, 3, 40, 38, {"x": 31}, {"x": 32}),
    configs={3: {"x": 3}, 4: {"x": 4}},
)


def test_C7_the_global_file_tells_every_copy():
    told = lines(policy_files(STORY)["pbt_global.txt"])
    assert told == [
        ["0_x=0", "3_x=3", 10, 9, {"x": 3}, {"x": 30}],
        ["1_x=1", "0_x=0", 20, 19, {"x": 30}, {"x": 31}],
        ["0_x=0", "4_x=4", 30, 28, {"x": 4}, {"x": 40}],
        ["1_x=1", "3_x=3", 40, 38, {"x": 3}, {"x": 32}],
    ]


def test_C7_a_trials_file_begins_with_its_donors():
    early = experiment(*STORY.lineage()[:3], configs={3: {"x": 3}})
    told = lines(policy_files(early)["pbt_policy_00001.txt"])
    assert [line[0] for line in told] == ["0_x=0", "1_x=1"]
    assert sorted(policy_files(STORY)) == ["pbt_global.txt", "pbt_policy_00000.txt", "pbt_policy_00001.txt"]
    assert [line[1] for line in lines(policy_files(STORY)["pbt_policy_00000.txt"])] == ["3_x=3", "4_x=4"]
    assert policy_files(experiment()) == {}


def replay(tmp_path: Path, told: list[Any]) -> PopulationBasedTrainingReplay:
    path = tmp_path / "pbt_policy_x.txt"
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    return PopulationBasedTrainingReplay(path)


HISTORY = [
    ["9", "8", 1, 1, {"x": 90}, {"x": 91}],  # of another story: 9 is nobody's donor below
    ["0", "3", 10, 9, {"x": 3, "y": 1}, {"x": 30, "y": 1}],
    ["1", "0", 20, 19, {"x": 30, "y": 1}, {"x": 31, "y": 2}],
]


def test_C10_the_history_of_the_last_line_is_replayed(tmp_path):
    stage = Stage(replay(tmp_path, HISTORY), metric=None)
    with pytest.warns(UserWarning, match="takes x from its policy file"):
        assert stage.scheduler.complete_space({"x": tune.uniform(0, 1), "z": 7}) == {"x": 3, "y": 1, "z": 7}
    trial = stage.add(1, x=3, y=1, z=7)[0]
    seen = []
    for t in range(1, 25):
        if trial.status != "RUNNING":
            assert stage.choose() is trial
            trial.last_result = {"training_iteration": trial.checkpoint or 0}
        seen.append((trial.config["x"], trial.config["y"]))
        stage.report(trial, training_iteration=t)
    assert seen == [(3, 1)] * 9 + [(30, 1)] * 10 + [(31, 2)] * 5
    assert trial.config["z"] == 7
    assert trial.experiment_tag == "0@perturbed[x=31,y=2]"
    assert stage.scheduler.debug_string() == "PopulationBasedTrainingReplay: 2 of 2 changes made"


def test_C10_nobody_is_asked_between_the_changes(tmp_path):
    stage = Stage(replay(tmp_path, HISTORY), metric=None)
    trial = stage.add()[0]
    assert stage.scheduler.ask_from(trial) == 9
    stage.choose()
    stage.report(trial, training_iteration=25)  # past both
    assert [change.config["x"] for change in stage.changes] == [31]
    assert stage.scheduler.ask_from(trial) >= 1 << 31


def test_C10_what_cannot_be_replayed_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="there is no policy file"):
        PopulationBasedTrainingReplay(str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="is empty"):
        replay(tmp_path, [])
    with pytest.raises(ValueError, match="line 1 of"):
        replay(tmp_path, ["what"])
    stage = Stage(replay(tmp_path, HISTORY), metric=None)
    with pytest.raises(ValueError, match="num_samples must be 1"):
        stage.add(2)
