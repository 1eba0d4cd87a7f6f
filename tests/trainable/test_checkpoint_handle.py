"""The handle on a checkpoint directory, and directories that are whole or not there."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from fasttune.checkpoint import Checkpoint, copy_whole, whole_directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "weights").write_text("1")
    return path


def test_K6_from_directory_refers_and_copies_nothing(folder: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.from_directory(folder)
    assert checkpoint.path == os.fspath(checkpoint) == str(folder)
    assert checkpoint.filesystem is None
    assert os.listdir(tmp_path) == ["model"]
    with checkpoint.as_directory() as path:
        assert path == str(folder)


def test_K6_relative_paths_are_fixed_where_they_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint("model")
    monkeypatch.chdir("/")
    assert checkpoint.path == str(folder)


def test_K6_to_directory_copies(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    checkpoint = Checkpoint(folder)
    for target in (checkpoint.to_directory(), checkpoint.to_directory(tmp_path / "there")):
        assert target != checkpoint.path
        assert (Path(target) / "sub" / "weights").read_text() == "1"
    assert checkpoint.to_directory(folder) == checkpoint.path


def test_K6_metadata(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    assert checkpoint.get_metadata() == {}
    checkpoint.set_metadata({"a": 1, "b": [2]})
    checkpoint.update_metadata({"a": 3})
    assert Checkpoint(folder).get_metadata() == {"a": 3, "b": [2]}
    checkpoint.set_metadata({"c": 4})
    assert checkpoint.get_metadata() == {"c": 4}
    with pytest.raises(TypeError):
        checkpoint.set_metadata({"c": object()})
    assert checkpoint.get_metadata() == {"c": 4}


def test_K6_equality_hash_repr_and_pickle(folder: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder)
    assert checkpoint == Checkpoint(str(folder) + "/")
    assert checkpoint != Checkpoint(tmp_path)
    assert checkpoint != str(folder)
    assert len({checkpoint, Checkpoint(folder)}) == 1
    assert repr(checkpoint) == f"Checkpoint(filesystem=local, path={folder})"
    assert pickle.loads(pickle.dumps(checkpoint)) == checkpoint


def test_K6_what_is_not_offered_says_what_is(folder: Path) -> None:
    with pytest.raises(AttributeError, match=r"Checkpoint\.to_uri is not offered.*to_directory"):
        _ = Checkpoint(folder).to_uri
    with pytest.raises(ValueError, match=r"directory of files.*as_directory"):
        Checkpoint(folder).to_dict()
    assert not hasattr(Checkpoint, "from_uri")


def test_K6_what_cannot_be_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="directory of this machine"):
        Checkpoint("s3://bucket/x")
    with pytest.raises(ValueError, match="directory of this machine"):
        Checkpoint(tmp_path, filesystem=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Checkpoint({"step": 1})  # type: ignore[arg-type]
    gone = Checkpoint(tmp_path / "gone")
    for use in (gone.to_directory, gone.as_directory().__enter__, lambda: gone.set_metadata({})):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            use()


def test_a_whole_directory_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "a" / "checkpoint_000000"
    with whole_directory(str(target)) as unfinished:
        Path(unfinished, "x").write_text("new")
        assert not target.exists()
    assert (target / "x").read_text() == "new"
    assert os.listdir(tmp_path / "a") == ["checkpoint_000000"]


def test_a_whole_directory_replaces_an_old_one_and_a_killed_attempt(folder: Path, tmp_path: Path) -> None:
    for name in ("model", "model.old"):
        leftover = tmp_path / ".writing" / name
        leftover.mkdir(parents=True)
        (leftover / "half").write_text("half")
    with whole_directory(str(folder)) as unfinished:
        Path(unfinished, "x").write_text("new")
        assert (folder / "sub" / "weights").exists()
    assert os.listdir(folder) == ["x"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_whole_directory_that_fails_changes_nothing(folder: Path, tmp_path: Path) -> None:
    def break_off() -> None:
        with whole_directory(str(folder)) as unfinished:
            Path(unfinished, "x").write_text("new")
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        break_off()
    assert os.listdir(folder) == ["sub"]
    assert os.listdir(tmp_path) == ["model"]


def test_copies_follow_links(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("data")
    (folder / "link").symlink_to(outside)
    copy_whole(str(folder), str(tmp_path / "copy"))
    outside.unlink()
    assert (tmp_path / "copy" / "link").read_text() == "data"
