"""Which checkpoints stay on disk: the rule, the bookkeeping, and real runs on both executors."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.config import CheckpointConfig
from fasttune.engine.retention import Kept, Retention, delete, surplus

NAN = math.nan


def left(scores: list[float | None], most: int, order: str | None) -> list[float | None]:
    """Scores of what stays, when checkpoints with these scores come one by one."""
    kept: list[Kept] = []
    for k, score in enumerate(scores):
        kept.append(Kept(str(k), score))
        gone = surplus(kept, most, order)
        kept = [one for one in kept if one not in gone]
    return [one.score for one in kept]


# ---- the rule


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("order", ["max", "min"])
def test_K4_the_best_stay_whatever_their_order_of_coming(most: int, order: str) -> None:
    for scores in itertools.permutations([0.0, 1.0, 2.0, 3.0, 4.0]):
        best = sorted(scores, reverse=order == "max")[:most]
        stays = [score for k, score in enumerate(scores) if score in best or k == len(scores) - 1]
        assert left(list(scores), most, order) == stays


def test_K4_eight_checkpoints_in_every_order_of_the_first_and_the_last() -> None:
    for first in itertools.permutations(range(4)):
        scores = [float(x) for x in (*first, 7, 6, 5, 4)]
        assert left(list(scores), 3, "max") == [7.0, 6.0, 5.0, 4.0]
        assert left(list(scores), 3, "min") == [x for x in scores[:4] if x < 3] + [4.0]


def test_K4_without_an_attribute_the_newest_stay() -> None:
    assert left([5.0, 4.0, 3.0, 2.0], 2, None) == [3.0, 2.0]
    assert left([None, None, None], 1, None) == [None]


@pytest.mark.parametrize("order", ["max", "min"])
def test_K4_nan_is_worst_but_for_no_score_at_all(order: str) -> None:
    found = surplus([Kept("a", None), Kept("b", NAN), Kept("c", 1.0), Kept("d", 2.0)], 2, order)
    assert [one.path for one in found] == ["a", "b"]
    found = surplus([Kept("a", None), Kept("b", NAN), Kept("c", 1.0)], 2, order)
    assert [one.path for one in found] == ["a"]
    assert surplus([Kept("c", 1.0), Kept("b", NAN)], 1, order) == []  # the latest stays although it is worst


def test_K4_infinities_are_scores() -> None:
    assert left([math.inf, 1.0, -math.inf, 0.0], 1, "max") == [math.inf, 0.0]
    assert left([math.inf, 1.0, -math.inf, 0.0], 1, "min") == [-math.inf, 0.0]


def test_K4_of_equals_the_later_stays() -> None:
    assert [one.path for one in surplus([Kept("a", 1.0), Kept("b", 1.0), Kept("c", 0.0)], 1, "max")] == ["a"]


def test_K4_what_is_in_use_stays() -> None:
    kept = [Kept("a", 1.0), Kept("b", 2.0), Kept("c", 3.0)]
    assert [one.path for one in surplus(kept, 1, "max", {"a"})] == ["b"]


# ---- the bookkeeping


def test_K4_a_score_that_comes_behind_its_checkpoint() -> None:
    retention = Retention(CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="a/b"))
    assert retention.saved(0, 1, "c1") == []
    assert retention.reported(0, 1, 5.0) == []
    assert retention.saved(0, 2, "c2") == []
    assert retention.reported(0, 2, 4.0) == []
    assert retention.reported(0, 3, 9.0) == []
    assert retention.saved(0, 4, "c4") == []
    assert retention.reported(0, 4, 4.5) == ["c2"]


def test_K4_a_checkpoint_at_the_end_belongs_to_the_report_before_it() -> None:
    retention = Retention(CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score"))
    retention.saved(0, 1, "c1")
    retention.reported(0, 1, 1.0)
    retention.reported(0, 2, 2.0)
    assert retention.saved(0, 2, "c2") == []  # whoever knows the report already says so again
    assert retention.waits_for(0, 2)
    assert retention.reported(0, 2, 2.0) == ["c1"]


def test_K4_a_checkpoint_that_a_trial_was_started_from_stays_until_it_has_its_own() -> None:
    retention = Retention(CheckpointConfig(num_to_keep=1))
    retention.saved(0, 1, "c1")
    retention.started(7, "c1")  # another trial goes on from here
    assert retention.saved(0, 2, "c2") == []
    assert retention.ended(7) == []  # all that it can go on from in a later session
    retention.started(7, "c1")
    assert retention.saved(7, 2, "d2") == ["c1"]
    assert retention.ended(7) == []
    retention.started(0, "c2")
    assert retention.saved(0, 3, "c3") == ["c2"]


def test_K4_trials_do_not_share_their_number() -> None:
    retention = Retention(CheckpointConfig(num_to_keep=1))
    assert [retention.saved(trial, 1, f"{trial}") for trial in range(3)] == [[], [], []]


def test_K4_deleting_twice_and_what_a_killed_run_left(tmp_path: Path) -> None:
    made = tmp_path / "trial" / "checkpoint_000001"
    made.mkdir(parents=True)
    (made / "file").write_text("x")
    for _ in range(2):
        delete(str(made), str(tmp_path))
        assert os.listdir(tmp_path / "trial") == []
        assert os.listdir(tmp_path / ".writing") == []
    (tmp_path / ".writing" / "dropped_trial_checkpoint_000001").mkdir()
    delete(str(made), str(tmp_path))
    assert os.listdir(tmp_path / ".writing") == []


@pytest.mark.parametrize("kind", ["above", "absolute", "itself", "folder is a link", "is a link", "staging is a link"])
def test_only_what_lies_in_a_trials_folder_is_deleted(tmp_path: Path, kind: str) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "experiment"
    (mine / "checkpoint_000001").mkdir(parents=True)
    (mine / "checkpoint_000001" / "work").write_text("years of it")
    (folder / "trial" / "checkpoint_000001").mkdir(parents=True)
    path = str(folder / "trial" / "checkpoint_000001")
    if kind == "above":
        path = str(folder / ".." / "mine")
    elif kind == "absolute":
        path = str(mine / "checkpoint_000001")
    elif kind == "itself":
        path = str(folder / "trial")
    elif kind == "folder is a link":
        (folder / "linked").symlink_to(mine)
        path = str(folder / "linked" / "checkpoint_000001")
    elif kind == "is a link":
        (folder / "trial" / "checkpoint_000002").symlink_to(mine)
        path = str(folder / "trial" / "checkpoint_000002")
    else:
        (folder / ".writing").symlink_to(mine)
    if kind == "is a link":
        delete(path, str(folder))
        assert not os.path.lexists(path)
    else:
        with pytest.warns(RuntimeWarning, match="is not deleted"):
            delete(path, str(folder))
    assert os.listdir(mine) == ["checkpoint_000001"]
    assert (mine / "checkpoint_000001" / "work").read_text() == "years of it"
    assert (folder / "trial").is_dir()


# ---- runs


class Scores(tune.Trainable):
    """Reports a list of scores, one per step; ``None`` leaves the metric out."""

    def setup(self, config):
        self.i = 0

    def step(self):
        score = self.config["scores"][self.i]
        self.i += 1
        more = {} if score is None else {"nested": {"score": score}}
        return {"i": self.i, "done": self.i == len(self.config["scores"]), **more}

    def save_checkpoint(self, checkpoint_dir):
        Path(checkpoint_dir, "i").write_text(str(self.i))

    def load_checkpoint(self, checkpoint):
        self.i = int(Path(checkpoint, "i").read_text())


def saves(config: dict[str, Any]) -> None:
    import tempfile

    for score in config["scores"]:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "score").write_text(str(score))
            more = {} if score is None else {"nested": {"score": score}}
            tune.report({"other": 1, **more}, checkpoint=tune.Checkpoint.from_directory(folder))


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
@pytest.mark.parametrize("trainable", [saves, Scores])
@pytest.mark.parametrize(
    ("scores", "options", "kept"),
    [
        ([1.0, 5.0, 2.0, 4.0, 3.0], {"num_to_keep": 2, "checkpoint_score_attribute": "nested/score"}, [1, 3, 4]),
        (
            [1.0, 5.0, 2.0, 4.0, 3.0],
            {"num_to_keep": 2, "checkpoint_score_attribute": "nested/score", "checkpoint_score_order": "min"},
            [0, 2, 4],
        ),
        ([1.0, 2.0, 3.0, 4.0], {"num_to_keep": 2}, [2, 3]),
        ([1.0, NAN, None, 0.0], {"num_to_keep": 2, "checkpoint_score_attribute": "nested/score"}, [0, 3]),
        ([1.0, 2.0, 3.0], {}, [0, 1, 2]),
    ],
)
def test_K4_in_a_run(tmp_path: Path, executor: str, trainable: Any, scores: Any, options: Any, kept: Any) -> None:
    config = CheckpointConfig(checkpoint_frequency=1 if trainable is Scores else 0, **options)
    analysis = tune.run(
        trainable,
        config={"scores": scores},
        checkpoint_config=config,
        num_samples=2,
        executor=executor,
        storage_path=tmp_path,
        verbose=0,
    )
    for trial in analysis.trials:
        names = sorted(name for name in os.listdir(trial.logdir) if "checkpoint" in name)
        assert names == [f"checkpoint_{k:06d}" for k in kept]
        paths = [path for path, _ in analysis.get_trial_checkpoints_paths(trial)]
        assert [os.path.basename(path) for path in paths] == names
        assert trial.checkpoint.path == os.path.join(trial.logdir, names[-1])


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_K4_a_retried_trial_finds_its_checkpoint(tmp_path: Path, executor: str) -> None:
    class Fails(Scores):
        def step(self):
            result = super().step()
            marker = Path(self.config["marker"] + str(self.i))
            if self.i in (3, 5) and not marker.exists():
                marker.touch()
                raise RuntimeError("once at this step")
            return result

    analysis = tune.run(
        Fails,
        config={"scores": [3.0, 1.0, 2.0, 1.0, 0.0, 0.5], "marker": str(tmp_path / "marker")},
        checkpoint_config=CheckpointConfig(
            num_to_keep=1, checkpoint_frequency=1, checkpoint_score_attribute="nested/score"
        ),
        max_failures=2,
        executor=executor,
        storage_path=tmp_path / "runs",
        verbose=0,
    )
    (trial,) = analysis.trials
    assert (trial.status, trial.num_failures) == ("TERMINATED", 2)
    assert list(analysis.trial_dataframes[trial.trial_id]["i"]) == [1, 2, 3, 4, 5, 6]
    saved = analysis.get_trial_checkpoints_paths(trial, "nested/score")
    assert [score for _, score in saved] == [3.0, 0.5]


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_K4_a_resumed_run_knows_the_earlier_scores(tmp_path: Path, executor: str) -> None:
    class Stops(Scores):
        def step(self):
            if self.i == 3 and not Path(self.config["marker"]).exists():
                Path(self.config["marker"]).touch()
                raise RuntimeError("the first session ends here")
            return super().step()

    def go(resume: Any) -> tune.ExperimentAnalysis:
        return tune.run(
            Stops,
            config={"scores": [5.0, 1.0, 2.0, 3.0, 4.0], "marker": str(tmp_path / "marker")},
            keep_checkpoints_num=1,
            checkpoint_score_attr="nested/score",
            checkpoint_freq=1,
            name="exp",
            resume=resume,
            raise_on_failed_trial=False,
            executor=executor,
            storage_path=tmp_path,
            verbose=0,
        )

    first = go(None)
    assert [score for _, score in first.get_trial_checkpoints_paths(first.trials[0], "nested/score")] == [5.0, 2.0]
    second = go("AUTO+ERRORED")
    (trial,) = second.trials
    assert trial.last_result["training_iteration"] == 5
    assert [score for _, score in second.get_trial_checkpoints_paths(trial, "nested/score")] == [5.0, 4.0]


def test_one_that_somebody_is_about_to_go_on_from_stays_until_let_go() -> None:
    rule = Retention(CheckpointConfig(num_to_keep=1))
    rule.saved(0, 1, "a")
    rule.hold("a")
    rule.hold("a")
    assert rule.saved(0, 2, "b") == []
    assert rule.let_go("a") == []
    assert rule.let_go("a") == ["a"]
    assert rule.let_go("b") == []
