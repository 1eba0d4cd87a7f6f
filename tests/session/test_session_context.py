"""Who the trial is, and its checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_reporter import FakeReporter, make_context

from fasttune import _core, session
from fasttune.checkpoint import Checkpoint, remove_unfinished
from fasttune.session import checkpoint_dir, get_checkpoint, get_context, report
from fasttune.trial_functions import run_function

Enter = Callable[..., FakeReporter]


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.txt").write_text(text)
    return folder


def read(path: str | os.PathLike[str]) -> str:
    return (Path(path) / "model.txt").read_text()


def test_T11_context_and_the_shorter_names(enter: Enter, tmp_path: Path) -> None:
    enter()
    context = get_context()
    folder = str(tmp_path / "exp" / "train_ab12c_00007_7_a=1")
    assert context.get_experiment_name() == "exp"
    assert context.get_trial_id() == session.get_trial_id() == "ab12c_00007"
    assert context.get_trial_name() == session.get_trial_name() == "train_ab12c_00007"
    assert context.get_trial_resources() == session.get_trial_resources() == {"cpu": 1}
    assert context.get_storage().trial_fs_path == folder
    assert not Path(folder).exists()
    assert context.get_trial_dir() == session.get_trial_dir() == folder
    assert Path(folder).is_dir()
    assert session.is_session_enabled()


def test_T11_a_trial_is_a_world_of_one(enter: Enter) -> None:
    enter()
    context = get_context()
    assert (context.get_world_size(), context.get_local_world_size()) == (1, 1)
    assert (context.get_world_rank(), context.get_local_rank(), context.get_node_rank()) == (0, 0, 0)


def test_outside_a_trial_every_answer_is_none() -> None:
    assert not session.is_session_enabled()
    assert session.get_trial_id() is None
    assert session.get_trial_dir() is None
    assert get_context().get_experiment_name() is None
    assert get_context().get_storage().experiment_fs_path is None


def test_get_checkpoint_outside_a_trial_warns_once() -> None:
    with pytest.warns(UserWarning, match="get_checkpoint") as caught:
        answers = [get_checkpoint() for _ in range(2)]
    assert answers == [None, None]
    assert len(caught) == 1


def test_K1_reported_directories_are_copied_and_counted_from_0(enter: Enter, tmp_path: Path) -> None:
    reporter = enter()
    for text in ("one", "two"):
        report({"loss": 1.0}, checkpoint=Checkpoint.from_directory(write(tmp_path / "mine", text)))
        (tmp_path / "mine" / "model.txt").unlink()
    report(loss=0.5)
    names = [os.path.join("train_ab12c_00007_7_a=1", f"checkpoint_00000{i}") for i in (0, 1)]
    assert reporter.checkpoints == [*names, None]
    assert [read(tmp_path / "exp" / name) for name in names] == ["one", "two"]
    assert sorted(os.listdir(reporter.context.trial_path)) == ["checkpoint_000000", "checkpoint_000001"]


def test_K1_the_index_goes_on_after_what_is_there(enter: Enter, tmp_path: Path) -> None:
    reporter = enter()
    os.makedirs(os.path.join(reporter.context.trial_dir(), "checkpoint_000011"))
    report(loss=1.0, checkpoint=str(write(tmp_path / "mine", "x")))
    assert reporter.checkpoints == [os.path.join(reporter.context.trial_dirname, "checkpoint_000012")]


def test_get_checkpoint_is_the_one_to_go_on_from_then_the_latest(enter: Enter, tmp_path: Path) -> None:
    given = write(tmp_path / "given", "given")
    enter(checkpoint=str(given))
    assert get_checkpoint() == Checkpoint(given)
    report(loss=1.0, checkpoint=Checkpoint(write(tmp_path / "mine", "new")))
    latest = get_checkpoint()
    assert latest is not None
    assert read(latest) == "new"


def test_the_copy_is_whole_before_the_report_is_written(enter: Enter, tmp_path: Path) -> None:
    reporter = enter()
    found = []
    write_row = reporter._write

    def look_first(row: dict[str, object], checkpoint: str | None) -> int:
        found.append(read(tmp_path / "exp" / (checkpoint or "")))
        return write_row(row, checkpoint)

    reporter._write = look_first  # type: ignore[method-assign]
    report(loss=1.0, checkpoint=Checkpoint(write(tmp_path / "mine", "x")))
    assert found == ["x"]


def test_a_missing_checkpoint_directory_says_the_usual_cause(enter: Enter, tmp_path: Path) -> None:
    reporter = enter()
    with pytest.raises(FileNotFoundError, match="before the temporary directory that holds it is deleted"):
        report(loss=1.0, checkpoint=Checkpoint(tmp_path / "gone"))
    assert reporter.rows == []


def test_a_checkpoint_that_is_no_directory_is_refused(enter: Enter) -> None:
    enter()
    with pytest.raises(TypeError, match="Checkpoint or the path of a directory, got dict"):
        report(loss=1.0, checkpoint={"step": 1})  # type: ignore[arg-type]


def test_K2_checkpoint_dir_is_kept_by_step_and_belongs_to_the_next_report(enter: Enter) -> None:
    reporter = enter()
    for step in (0, 5):
        with checkpoint_dir(step=step) as folder:
            assert os.path.basename(folder) == f"checkpoint_{step:06d}"
            Path(folder, "model.txt").write_text(str(step))
        report(loss=1.0)
        report(loss=2.0)
    names = [os.path.join(reporter.context.trial_dirname, f"checkpoint_{step:06d}") for step in (0, 5)]
    assert reporter.checkpoints == [names[0], None, names[1], None]
    assert isinstance(reporter.context.checkpoint, str)
    assert read(reporter.context.checkpoint) == "5"
    assert reporter.quick_calls == 2


def test_K2_resume_at_the_saved_step(tmp_path: Path, enter: Enter) -> None:
    def train(config: dict[str, object], checkpoint_dir: str | None = None) -> None:
        start = int(read(checkpoint_dir)) + 1 if checkpoint_dir else 0
        for step in range(start, 4):
            with session.checkpoint_dir(step) as folder:
                Path(folder, "model.txt").write_text(str(step))
            report(step=step)

    first = enter()
    run_function(train, {}, first, "checkpoint_dir")
    saved = os.path.join(first.context.trial_path, "checkpoint_000001")
    second = enter(checkpoint=saved)
    run_function(train, {}, second, "checkpoint_dir")
    assert [row["step"] for row in first.rows] == [0, 1, 2, 3]
    assert [row["step"] for row in second.rows] == [2, 3]
    assert read(os.path.join(second.context.trial_path, "checkpoint_000003")) == "3"


def test_K2_a_block_that_raises_leaves_nothing(enter: Enter) -> None:
    def break_off() -> None:
        with checkpoint_dir(step=1) as folder:
            Path(folder, "half.txt").write_text("half")
            raise RuntimeError("broken off")

    reporter = enter()
    with pytest.raises(RuntimeError, match="broken off"):
        break_off()
    report(loss=1.0)
    assert reporter.checkpoints == [None]
    assert os.listdir(reporter.context.trial_path) == []


def test_K2_written_after_the_last_report_it_is_recorded_when_the_function_ends(enter: Enter) -> None:
    def train(config: dict[str, object]) -> None:
        report(loss=1.0)
        with checkpoint_dir(step=3) as folder:
            Path(folder, "model.txt").write_text("3")
        assert reporter.notes == []

    reporter = enter()
    run_function(train, {}, reporter)
    name = os.path.join(reporter.context.trial_dirname, "checkpoint_000003")
    assert reporter.notes == [(_core.KIND_CHECKPOINT, name.encode())]
    assert reporter.checkpoints == [None]


@pytest.mark.parametrize("step", [None, -1, 1.5, True])
def test_K2_step_must_be_a_whole_number(enter: Enter, step: object) -> None:
    enter()
    with pytest.raises(ValueError, match="whole number >= 0"), checkpoint_dir(step):  # type: ignore[arg-type]
        pass


def test_K2_outside_a_trial_it_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="checkpoint_dir"), checkpoint_dir(step=1) as folder:
        assert Path(folder) == tmp_path


def test_what_a_killed_trial_was_writing_can_be_removed(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.trial_dir()
    os.makedirs(os.path.join(context.experiment_path, ".writing", "7_trial", "checkpoint_000000"))
    remove_unfinished(context.experiment_path)
    remove_unfinished(context.experiment_path)
    assert os.listdir(context.experiment_path) == [context.trial_dirname]
