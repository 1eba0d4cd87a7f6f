"""Class trainables: stepping, totals, saving, reuse, end."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttune.error import TuneError
from fasttune.trainable import METHODS, Trainable, check_trainable, validate_save_restore
from fasttune.trial_context import TrialContext


class Counter(Trainable):
    """Counts its steps; saves a dict."""

    _clock = staticmethod(itertools.count(100.0, 0.5).__next__)

    def setup(self, config: dict[str, Any]) -> None:
        self.value = config.get("start", 0)
        self.ended = 0

    def step(self) -> dict[str, Any]:
        self.value += 1
        return {"value": self.value, **self.config.get("extra", {})}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return {"value": self.value}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.value = checkpoint["value"]

    def cleanup(self) -> None:
        self.ended += 1


class Filer(Counter):
    """Saves a file in a subdirectory; ``returns`` says what save_checkpoint gives back."""

    returns = staticmethod(lambda folder, path: None)

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        path = os.path.join(checkpoint_dir, "sub", "value.txt")
        os.mkdir(os.path.dirname(path))
        Path(path).write_text(str(self.value))
        return self.returns(checkpoint_dir, path)

    def load_checkpoint(self, checkpoint: Any) -> None:
        path = Path(checkpoint)
        self.value = int((path if path.is_file() else path / "sub" / "value.txt").read_text())


class PathFiler(Filer):
    returns = staticmethod(lambda folder, path: path)


class FolderFiler(Filer):
    returns = staticmethod(lambda folder, path: folder)


ALL_KINDS = [Counter, Filer, PathFiler, FolderFiler]


def test_T5_setup_once_steps_cleanup_once() -> None:
    trainable = Counter({"start": 10})
    results = [trainable.train() for _ in range(20)]
    trainable.stop()
    trainable.stop()
    assert [result["value"] for result in results] == list(range(11, 31))
    assert trainable.training_iteration == trainable.iteration == 20
    assert trainable.ended == 1


def test_T5_what_is_not_overridden_says_so() -> None:
    class Empty(Trainable):
        pass

    for call in ("step", "train"):
        with pytest.raises(NotImplementedError, match=r"Empty must override step\(\)"):
            getattr(Empty(), call)()
    with pytest.raises(NotImplementedError, match=r"override save_checkpoint\(\)"):
        Empty().save_to_object()


def test_setup_gets_its_own_copy_and_self_config_the_original() -> None:
    marker = object()

    class Changer(Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            config["list"].append(1)
            config["new"] = 1
            self.seen = config["object"]

    config = {"list": [], "object": marker}
    trainable = Changer(config)
    assert trainable.config is config
    assert config == {"list": [], "object": marker}
    assert trainable.seen is marker


def test_step_must_return_a_dict() -> None:
    class Wrong(Trainable):
        def step(self) -> Any:
            return 0.5

    with pytest.raises(TypeError, match=r"step\(\) of Wrong must return a dict of metrics, got float"):
        Wrong().advance()


def test_T7_the_thirteen_keys_in_their_order(inside: Callable[[str], TrialContext]) -> None:
    inside("ab12c_00000")
    result = Counter({"start": 1}).train()
    assert list(result) == [
        "value",
        "done",
        "training_iteration",
        "trial_id",
        "date",
        "timestamp",
        "time_this_iter_s",
        "time_total_s",
        "pid",
        "hostname",
        "node_ip",
        "config",
        "time_since_restore",
        "iterations_since_restore",
    ]
    assert (result["done"], result["training_iteration"], result["trial_id"]) == (False, 1, "ab12c_00000")
    assert (result["time_this_iter_s"], result["pid"], result["config"]) == (0.5, os.getpid(), {"start": 1})


def test_T7_a_users_own_value_wins() -> None:
    own = {"done": True, "training_iteration": 70, "time_this_iter_s": 3.0, "trial_id": "mine"}
    trainable = Counter({"extra": own})
    trainable.train()
    result = trainable.train()
    assert {key: result[key] for key in own} == own
    assert result["time_total_s"] == 6.0
    assert trainable.iteration == 2


def test_T6_timesteps_and_episodes_add_up() -> None:
    trainable = Counter()
    for i in range(10):
        trainable.config["extra"] = {"timesteps_this_iter": 3, "episodes_this_iter": i}
        result = trainable.train()
    assert (result["timesteps_total"], result["episodes_total"]) == (30, 45)
    assert result["timesteps_since_restore"] == 30


def test_T6_a_total_given_by_the_user_wins_and_nothing_appears_uncalled() -> None:
    trainable = Counter({"extra": {"timesteps_this_iter": 3, "timesteps_total": 1000}})
    assert trainable.advance()["timesteps_total"] == 1000
    assert Counter().advance() == {"value": 1}


def test_T6_advance_hands_over_done_and_should_checkpoint() -> None:
    trainable = Counter({"extra": {"done": True, "should_checkpoint": True, "timesteps_this_iter": 2}})
    assert trainable.advance() == {
        "value": 1,
        "done": True,
        "should_checkpoint": True,
        "timesteps_this_iter": 2,
        "timesteps_total": 2,
    }


def test_log_result_sees_complete_results_either_way() -> None:
    class Logging(Counter):
        def log_result(self, result: dict[str, Any]) -> None:
            self.__dict__.setdefault("seen", []).append((result["value"], result["training_iteration"]))

    trainable = Logging()
    trainable.train()
    trainable.advance()
    assert trainable.seen == [(1, 1), (2, 2)]


def test_train_buffered_ends_by_length_done_checkpoint_or_time() -> None:
    assert len(Counter().train_buffered(1e9, max_buffer_length=5)) == 5
    assert len(Counter({"extra": {"done": True}}).train_buffered(1e9)) == 1
    assert len(Counter({"extra": {"should_checkpoint": True}}).train_buffered(1e9)) == 1
    assert len(Counter().train_buffered(0.0)) == 1
    # the clock moves half a second each time it is read, three times a step
    assert len(Counter().train_buffered(4.0)) == 3


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_save_and_restore_in_a_directory(kind: type[Counter], tmp_path: Path) -> None:
    first = kind({"extra": {"timesteps_this_iter": np.int64(4)}})
    for _ in range(3):
        total = first.train()["time_total_s"]
    checkpoint = first.save(str(tmp_path / "saved"))
    second = kind()
    second.restore(checkpoint)
    result = second.train()
    assert result["value"] == 4
    assert result["training_iteration"] == 4
    assert result["iterations_since_restore"] == 1
    assert result["timesteps_total"] == 12
    assert "timesteps_since_restore" not in result
    assert result["time_total_s"] == total + 0.5
    assert result["time_since_restore"] == 0.5


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_save_and_restore_in_memory_leaves_no_file(
    kind: type[Counter], tmp_path: Path, inside: Callable[[str], TrialContext]
) -> None:
    inside("ab12c_00000")
    first, second = kind({"start": 5}), kind()
    first.train()
    for _ in range(2):
        second.restore_from_object(first.save_to_object())
    assert (second.value, second.iteration) == (6, 1)
    scratch = list((tmp_path / "exp").iterdir())
    assert [folder.name.startswith(".scratch_") for folder in scratch] == [True]
    assert list(scratch[0].iterdir()) == []
    first.stop()
    second.stop()
    assert list((tmp_path / "exp").iterdir()) == []


def test_a_save_that_fails_leaves_nothing_for_the_next_trial(inside: Callable[[str], TrialContext]) -> None:
    class Failing(Filer):
        @staticmethod
        def returns(folder: str, path: str) -> Any:
            raise RuntimeError("disk is full")

    inside("ab12c_00000")
    with pytest.raises(RuntimeError, match="disk is full"):
        Failing().save_to_object()
    assert b"value.txt" not in Counter().save_to_object()


def test_scratch_outside_an_experiment_is_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    trainable = Filer()
    trainable.restore_from_object(trainable.save_to_object())
    trainable.stop()
    assert list(tmp_path.iterdir()) == []


def test_save_without_a_directory_goes_to_logdir(inside: Callable[[str], TrialContext]) -> None:
    context = inside("ab12c_00000")
    trainable = Filer()
    trainable.train()
    path = trainable.save().path
    assert path == os.path.join(context.trial_path, "checkpoint_000001")
    assert os.listdir(context.trial_path) == ["checkpoint_000001"]


def test_saving_beside_other_files_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    Counter().save(str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_path_outside_the_directory_is_refused(tmp_path: Path) -> None:
    class Elsewhere(Counter):
        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            return str(tmp_path / "elsewhere")

    with pytest.raises(ValueError, match="is not in the directory it was given"):
        Elsewhere().save(str(tmp_path / "here"))


def test_restoring_what_a_function_wrote_starts_at_iteration_0(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "value.txt").write_text("41")
    trainable = Filer()
    trainable.restore(tmp_path)
    assert trainable.train()["value"] == 42
    assert trainable.iteration == 1
    with pytest.raises(FileNotFoundError, match="no checkpoint directory"):
        trainable.restore(tmp_path / "gone")


def test_a_dict_with_a_lambda_can_be_saved() -> None:
    class Holder(Counter):
        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            return {"value": lambda: 9}

        def load_checkpoint(self, checkpoint: Any) -> None:
            self.value = checkpoint["value"]()

    trainable = Holder()
    trainable.restore_from_object(trainable.save_to_object())
    assert trainable.value == 9


class Reusable(Counter):
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.value = new_config["start"]
        return True


def test_T8_reset_makes_it_another_trial(inside: Callable[[str], TrialContext]) -> None:
    inside("ab12c_00000")
    trainable = Reusable({"start": 0, "extra": {"timesteps_this_iter": 1}})
    trainable.train()
    inside("ab12c_00001")
    assert trainable.reset({"start": 50})
    result = trainable.train()
    assert (result["value"], result["training_iteration"], result["trial_id"]) == (51, 1, "ab12c_00001")
    assert result["config"] == {"start": 50}
    assert "timesteps_total" not in result


def test_T8_a_class_that_cannot_be_reset_is_an_error_that_says_what_to_do() -> None:
    trainable = Counter()
    assert trainable.reset({}) is False
    with pytest.raises(TuneError, match=r"requires reset_config\(\) to be implemented.*Counter"):
        trainable.reset_or_raise({})


def test_T11_properties_are_the_trials(inside: Callable[[str], TrialContext]) -> None:
    context = inside("ab12c_00003")
    trainable = Counter()
    assert (trainable.trial_id, trainable.trial_name) == ("ab12c_00003", "Counter_ab12c_00003")
    assert trainable.trial_resources == {"cpu": 2}
    assert trainable.logdir == context.trial_path
    assert os.path.isdir(trainable.logdir)


def test_properties_outside_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    trainable = Counter()
    assert (trainable.trial_id, trainable.trial_name) == ("default", "default")
    assert trainable.trial_resources is None
    assert trainable.logdir == trainable.logdir
    assert os.path.dirname(trainable.logdir) == str(tmp_path)


def test_export_model_takes_one_or_more_formats(tmp_path: Path) -> None:
    class Exporting(Counter):
        def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
            return {name: os.path.join(export_dir, name) for name in export_formats}

    assert Exporting().export_model("onnx", str(tmp_path)) == {"onnx": str(tmp_path / "onnx")}
    assert list(Exporting().export_model(["a", "b"], str(tmp_path))) == ["a", "b"]


def test_get_state_and_get_config() -> None:
    trainable = Counter({"start": 2})
    result = trainable.train()
    assert trainable.get_state()["iteration"] == 1
    assert trainable.get_state()["last_result"] == result
    assert trainable.get_config() == {"start": 2}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_validate_save_restore_passes(kind: type[Counter]) -> None:
    assert validate_save_restore(kind, {"start": 1})


def test_validate_save_restore_tells_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="reports 1 where 4 is due"):
        validate_save_restore(Counter, {"extra": {"training_iteration": 1}})
    with pytest.raises(ValueError, match="class derived from Trainable"):
        validate_save_restore(lambda config: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METHODS)
def test_async_methods_are_refused_with_the_way_to_write_them(name: str) -> None:
    """Nothing of one would run: what it gives back is a coroutine that nobody awaits."""

    async def method(self: Any, *given: Any) -> None:
        pass

    kind = type("Waits", (Counter,), {name: method})
    with pytest.raises(TypeError, match=rf"Waits\.{name}\(\) is an async method, .*async def train\(config\)"):
        check_trainable(kind)
