"""Rows K1, K2, K4 and K6: checkpoints of functions and classes, how many stay, and what a handle can do."""

from __future__ import annotations

import os
import tempfile
from itertools import permutations
from pathlib import Path

import pytest

import fasttune as tune


def test_K1_reported_directories_are_copied_and_counted_from_0(run):
    def saves(config):
        for step in range(3):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(step))
                tune.report({"step": step}, checkpoint=tune.Checkpoint.from_directory(folder))

    trial = run(saves).trials[0]
    names = [f"checkpoint_{i:06d}" for i in range(3)]
    assert sorted(name for name in os.listdir(trial.path) if name.startswith("checkpoint_")) == names
    assert [Path(trial.path, name, "step").read_text() for name in names] == ["0", "1", "2"]
    assert Path(trial.checkpoint.path).name == names[-1]
    assert trial.latest_checkpoint_result["step"] == 2


def test_K2_the_older_form_goes_on_at_the_saved_step(run, tmp_path):
    mark = tmp_path / "failed"

    def train(config, checkpoint_dir=None):
        first = int(Path(checkpoint_dir, "step").read_text()) + 1 if checkpoint_dir else 0
        for step in range(first, 6):
            with tune.checkpoint_dir(step=step) as folder:
                Path(folder, "step").write_text(str(step))
            tune.report(step=step, first=first)
            if step == 3 and not mark.exists():
                mark.touch()
                raise RuntimeError("once")

    analysis = run(train, max_failures=1)
    (trial,) = analysis.trials
    assert trial.status == "TERMINATED"
    frame = analysis.trial_dataframes[trial.trial_id]
    assert frame["step"].tolist() == list(range(6))
    assert frame["first"].tolist() == [0, 0, 0, 0, 4, 4]
    assert sorted(os.listdir(trial.checkpoint.path)) == ["step"]


@pytest.mark.parametrize("scores", [order for order in permutations([1, 2, 3, 4]) if order[0] in (1, 4)][:6])
@pytest.mark.parametrize("order", ["min", "max"])
def test_K4_the_best_and_the_latest_stay(tmp_path, scores, order):
    def saves(config):
        for score in scores:
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "score").write_text(str(score))
                tune.report({"a": {"score": score}}, checkpoint=tune.Checkpoint.from_directory(folder))

    config = tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="a/score", checkpoint_score_order=order)
    analysis = tune.run(saves, checkpoint_config=config, executor="inline", storage_path=tmp_path, verbose=0)
    kept = {
        int(Path(path, "score").read_text()) for path, _ in analysis.get_trial_checkpoints_paths(analysis.trials[0])
    }
    best = set(sorted(scores, reverse=order == "max")[:2])
    latest = scores[-1]
    assert kept == best | {latest}


def test_K6_a_checkpoint_is_a_directory_with_notes(run, tmp_path):
    def saves(config):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "weights").write_text("abc")
            checkpoint = tune.Checkpoint.from_directory(folder)
            checkpoint.set_metadata({"by": "me"})
            tune.report({"loss": 1}, checkpoint=checkpoint)

    checkpoint = run(saves).trials[0].checkpoint
    with checkpoint.as_directory() as folder:
        assert Path(folder, "weights").read_text() == "abc"
    copy = checkpoint.to_directory(tmp_path / "copy")
    assert Path(copy, "weights").read_text() == "abc"
    assert checkpoint.get_metadata() == {"by": "me"}
    checkpoint.update_metadata({"of": "x"})
    assert checkpoint.get_metadata() == {"by": "me", "of": "x"}
    assert tune.Checkpoint(checkpoint.path) == checkpoint
