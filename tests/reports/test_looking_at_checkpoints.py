"""Looking at the checkpoints or the history of many trials reads the journal once, not once for each."""

import random
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.engine.report_index import ReportIndex
from fasttune.result import ReportBlock, reports_by_trial, results_of
from fasttune.storage.reader import SqliteReader


def saves(config: dict[str, Any]) -> None:
    saved = tune.get_checkpoint()
    begin = saved.to_dict()["step"] if saved else 0
    for step in range(begin, 6):
        kept = tune.Checkpoint.from_dict({"step": step + 1}) if step % 3 == 1 else None
        tune.report({"loss": config["x"] * step, "text": f"at {step}"}, checkpoint=kept)
        if step == 3 and saved is None and config["x"] % 2:
            raise OSError


@pytest.fixture
def analysis(tmp_path: Path) -> Any:
    tune.run(
        saves, config={"x": tune.grid_search(list(range(12)))}, max_failures=1, executor="inline", verbose=0,
        checkpoint_config=tune.CheckpointConfig(num_to_keep=5), storage_path=str(tmp_path), name="a",
    )  # fmt: skip
    return tune.ExperimentAnalysis(str(tmp_path / "a"))


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each reading of a journal."""
    found: list[int] = []
    read = SqliteReader.read

    def counted(self: SqliteReader, *arguments: Any) -> Any:
        found.append(1)
        return read(self, *arguments)

    monkeypatch.setattr(SqliteReader, "read", counted)
    return found


def test_a_checkpoint_is_found_without_the_reports(analysis: Any, readings: list[int]) -> None:
    """``trial.checkpoint`` of 700 trials read 85 MB 700 times."""
    assert all(trial.has_checkpoint() for trial in analysis.trials)
    assert [trial.checkpoint.to_dict() for trial in analysis.trials] == [{"step": 5}] * 12
    assert not readings


def test_the_results_of_checkpoints_take_two_readings(analysis: Any, readings: list[int]) -> None:
    """So did every look at the result that a checkpoint belongs to, and at a trial's history."""
    grid = tune.ResultGrid(analysis)
    for result in grid:
        assert [metrics["text"] for _, metrics in result.best_checkpoints] == ["at 1", "at 4"]
        assert [metrics["training_iteration"] for _, metrics in result.best_checkpoints] == [2, 5]
        assert result.get_best_checkpoint("loss", "max").to_dict() == {"step": 2 if result.config["x"] == 0 else 5}
    for trial in analysis.trials:
        assert trial.latest_checkpoint_result["text"] == "at 4"
        assert trial.metric_n_steps["loss"]["10"] == [trial.config["x"] * step for step in range(6)]
    assert len(readings) <= 2


def test_what_the_index_finds_is_what_reading_all_finds(analysis: Any) -> None:
    """A trial's result must be the same whichever way it was found."""
    source = analysis.trials[0]._source
    source.results(0)  # the first look is at one trial alone
    for trial in analysis.trials:
        i = trial.index
        alone = results_of(reports_by_trial(source.report_blocks())[i], source.last_result(i))
        assert source._report_index() is not None
        assert source.results(i) == alone
        for saved, metrics in source.checkpoints(i):
            assert metrics == alone[metrics["training_iteration"] - 1], saved
        all_steps = [result["training_iteration"] for result in alone]
        found = source._report_index().results_at(i, [*all_steps, 99], source.last_result(i))
        assert list(found.values()) == alone


@pytest.mark.parametrize("seed", range(20))
def test_restarts_in_several_blocks_are_put_in_order(seed: int) -> None:
    """Reports of several attempts lie in several blocks, out of order."""
    draw = random.Random(seed)
    rows: list[tuple[int, int, float]] = []
    for trial in range(5):
        step, now = 0, draw.random()
        for _ in range(draw.randrange(12)):
            step = draw.randrange(1, step + 2)
            now += draw.random()
            rows.append((trial, step, now))
    blocks = [block(sorted(part, key=lambda row: row[2])) for part in (rows[::3], rows[1::3], rows[2::3])]
    index = ReportIndex(blocks)
    expected = reports_by_trial(blocks)
    for trial in range(6):
        assert index.reports(trial) == expected.get(trial, [])


def block(rows: list[tuple[int, int, float]]) -> ReportBlock:
    from array import array

    trials, steps, times = zip(*rows, strict=True) if rows else ((), (), ())
    values = [array("d", times)]
    return ReportBlock(
        ("t",), "f", array("i", trials), array("i", steps), array("d", times), values, {0: {"text": "first"}}
    )
