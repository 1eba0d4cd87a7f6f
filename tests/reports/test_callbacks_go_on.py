"""Callbacks keep their state across sessions, hear of restores, add to results and ask for checkpoints."""

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
import forks
from fasttune.result import SHOULD_CHECKPOINT
from fasttune.schedulers import ASHAScheduler
from fasttune.trial import Trial


class Counting(tune.Callback):
    """Counts results; knows what it has counted in an earlier session."""

    def __init__(self) -> None:
        self.count = 0
        self.story: list[str] = []

    def setup(self, *args: Any, **info: Any) -> None:
        self.story.append("setup")

    def on_trial_start(self, *, trial: Trial, **info: Any) -> None:  # type: ignore[override]
        self.story.append("start")

    def on_trial_restore(self, *, trial: Trial, **info: Any) -> None:  # type: ignore[override]
        self.story.append("restore")

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
        self.count += 1

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count, "path": Path("a"), "f": lambda: self.count}

    def set_state(self, state: dict[str, Any]) -> None:
        assert state["path"] == Path("a")
        self.count = state["count"]
        self.story.append("set_state")


def fails_behind_a_checkpoint(config: dict[str, Any]) -> None:
    saved = tune.get_checkpoint()
    begin = saved.to_dict()["step"] if saved else 0
    for step in range(begin, 2 + begin):
        tune.report({"x": step}, checkpoint=tune.Checkpoint.from_dict({"step": step + 1}))
    if not saved:
        raise OSError("once")


def run(trainable: Any, folder: Path, *callbacks: tune.Callback, **more: Any) -> Any:
    given = {"executor": "inline", "storage_path": str(folder), "name": "a", "verbose": 0, **more}
    return tune.run(trainable, callbacks=list(callbacks), **given)


def test_a_state_and_a_restore_reach_the_callback_of_the_next_session(tmp_path: Path) -> None:
    """A callback that counted results began at 0 after a resume, and never heard of the restore."""
    first, second = Counting(), Counting()
    run(fails_behind_a_checkpoint, tmp_path, first, raise_on_failed_trial=False)
    run(fails_behind_a_checkpoint, tmp_path, second, resume="AUTO+ERRORED")
    assert (first.count, first.story) == (2, ["setup", "start"])
    assert (second.count, second.story) == (4, ["setup", "set_state", "start", "restore"])


def test_a_retry_is_a_restore_too(tmp_path: Path) -> None:
    """A logger was not told that a trial went back to its checkpoint."""
    seen = Counting()
    run(fails_behind_a_checkpoint, tmp_path, seen, max_failures=1)
    assert seen.story == ["setup", "start", "start", "restore"]


KILLED = """
import os, signal, sys, pathlib
import fasttune as tune
from fasttune.engine import callback_states
callback_states.EVERY_S = 0.0
class Counting(tune.Callback):
    count = 0
    def on_trial_complete(self, **info):
        self.count += 1
    def on_step_end(self, trials, **info):
        if self.count == 4 and pathlib.Path(sys.argv[1], "a", "callbacks.pkl").exists():
            self.stop = getattr(self, "stop", 0) + 1
            if self.stop == 3: os.kill(os.getpid(), signal.SIGKILL)
    def get_state(self):
        return {"count": self.count}
    def set_state(self, state):
        self.count = state["count"]
counting = Counting()
tune.run(lambda config: 1.0, num_samples=int(sys.argv[2]), callbacks=[counting], executor="inline", storage_path=sys.argv[1],
         name="a", verbose=0, resume="AUTO", search_alg="random", max_concurrent_trials=1)
print(counting.count)
"""


def test_a_killed_session_leaves_the_states_too(tmp_path: Path) -> None:
    """After a kill all that callbacks had counted was lost."""
    command = [sys.executable, "-c", KILLED.replace('search_alg="random", ', ""), str(tmp_path)]
    killed = forks.run([*command, "4"], check=False, capture_output=True, text=True)
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
    assert (tmp_path / "a" / "callbacks.pkl").exists()
    again = forks.run([*command, "4"], check=True, capture_output=True, text=True)
    assert again.stdout.strip() == "4", again.stderr


def test_states_that_cannot_be_kept_or_taken_are_said_and_cost_nothing(tmp_path: Path) -> None:
    """A state that could not be pickled ended the run."""

    class Lock(tune.Callback):
        def get_state(self) -> dict[str, Any]:
            import threading

            return {"lock": threading.Lock()}

    with pytest.warns(RuntimeWarning, match="state of callback 0-Lock cannot be pickled"):
        run(lambda config: 1.0, tmp_path, Lock(), Counting())
    with pytest.warns(RuntimeWarning, match="no callback of this run is in the place .*: 1-Counting"):
        run(lambda config: 1.0, tmp_path, resume="AUTO")
    (tmp_path / "a" / "callbacks.pkl").write_bytes(b"damaged")
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        run(lambda config: 1.0, tmp_path, resume="AUTO")


def test_a_strangers_states_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on in a folder of somebody else's would have run their code."""
    run(lambda config: 1.0, tmp_path, Counting())
    if os.geteuid() == 0:
        os.chown(tmp_path / "a" / "callbacks.pkl", 12345, -1)
    else:
        monkeypatch.setattr("fasttune.plain_files.os.geteuid", lambda: 12345)
    with pytest.raises(tune.TuneError, match="belongs to"):
        run(lambda config: 1.0, tmp_path, Counting(), resume="AUTO")


class Adding(tune.Callback):
    def on_trial_result(self, *, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
        result["twice"] = 2 * result["x"]
        result["x"] = -1


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_what_a_callback_adds_is_in_the_last_result(tmp_path: Path, executor: str) -> None:
    """A key that a callback had added was gone from ``last_result``."""

    def train(config: dict[str, Any]) -> None:
        for step in range(4):
            tune.report(x=step)

    analysis = run(train, tmp_path, Adding(), num_samples=2, executor=executor)
    again = tune.ExperimentAnalysis(str(tmp_path / "a"))
    for trial in (*analysis.trials, *again.trials):
        assert (trial.last_result["x"], trial.last_result["twice"]) == (3, 6)


class Saves(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"x": self.iteration + 1, "done": self.iteration == 7 and self.config.get("done", False)}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"iteration": self.iteration}


class ByKey(tune.Callback):
    def on_trial_result(self, *, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
        if result["training_iteration"] in (3, 6):
            result[SHOULD_CHECKPOINT] = True


class ByUpdate(tune.Callback):
    def on_trial_result(self, *, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
        if result["training_iteration"] in (3, 6):
            result.update(should_checkpoint=True)


KEY = "".join(["should", "_", "checkpoint"])


class Hidden(tune.Callback):
    def on_trial_result(self, *, result: dict[str, Any], **info: Any) -> None:  # type: ignore[override]
        if result["training_iteration"] in (3, 6):
            result[KEY] = True


class Declared(Hidden):
    asks_for_checkpoints = True


def saved_at(analysis: Any) -> list[list[int]]:
    return [
        [saved.to_dict()["iteration"] for saved, _ in result.best_checkpoints] for result in tune.ResultGrid(analysis)
    ]


@pytest.mark.parametrize("callback", [ByKey, ByUpdate, Declared])
@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_callback_asks_for_a_checkpoint(tmp_path: Path, callback: type[tune.Callback], executor: str) -> None:
    """A callback set ``result["should_checkpoint"]``, and nothing was ever saved."""
    kept = tune.CheckpointConfig(num_to_keep=10)
    analysis = run(
        Saves,
        tmp_path,
        callback(),
        num_samples=2,
        executor=executor,
        stop={"training_iteration": 8},
        checkpoint_config=kept,
    )
    assert saved_at(analysis) == [[3, 6], [3, 6]]


def test_it_does_beside_a_scheduler_that_decides_in_the_report(tmp_path: Path) -> None:
    """With ASHA the wish came when the trial had long gone on."""
    scheduler = ASHAScheduler(metric="x", mode="max", max_t=8, grace_period=8)
    kept = tune.CheckpointConfig(num_to_keep=10)
    analysis = run(Saves, tmp_path, ByKey(), executor="process", scheduler=scheduler, checkpoint_config=kept)
    assert saved_at(analysis) == [[3, 6]]
    assert analysis.trials[0].last_result["training_iteration"] == 8


def test_a_wish_that_cannot_be_met_is_said(tmp_path: Path) -> None:
    """Nothing was saved, and nothing said so."""
    stop = {"training_iteration": 6}
    with pytest.warns(RuntimeWarning, match="the trial had ended with that report"):
        assert saved_at(run(Saves, tmp_path / "1", ByKey(), stop=stop)) == [[3]]
    with pytest.warns(RuntimeWarning, match="Write `asks_for_checkpoints = True`"):
        assert saved_at(run(Saves, tmp_path / "2", Hidden(), stop=stop)) == [[]]
    with pytest.warns(RuntimeWarning, match="functions save what they report"):
        run(lambda config: [tune.report(x=1) for _ in range(3)] and None, tmp_path / "3", ByKey())


def test_other_callbacks_keep_nobody_waiting(tmp_path: Path) -> None:
    """A callback that only looks at results made each report of a class wait for it."""
    from fasttune.callback import CallbackList

    assert not CallbackList([Counting(), Adding(), Hidden()]).asks_for_checkpoints
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Saves, tmp_path, Counting(), stop={"training_iteration": 4})
    assert all(CallbackList([one()]).asks_for_checkpoints for one in (ByKey, ByUpdate, Declared))
