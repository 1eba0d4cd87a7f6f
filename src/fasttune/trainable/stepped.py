"""Trials with methods: the class that users derive from, and what may be one.

Trainable                the class to derive from
check_trainable          raise at once if this cannot be a trainable
validate_save_restore    try a class's saving and restoring
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fasttune.argument import is_async
from fasttune.checkpoint import (
    DICT_FILE,
    LARGEST_HELD,
    STATE_FILE,
    Checkpoint,
    pack,
    unpack,
    whole_directory,
)
from fasttune.error import TuneError
from fasttune.script import dumps
from fasttune.totals import state_in
from fasttune.trainable.call_forms import check_function
from fasttune.trainable.containers import copy_containers
from fasttune.trial_context import TrialContext, current_context

METHODS = ("setup", "step", "save_checkpoint", "load_checkpoint", "cleanup", "reset_config", "log_result")  # that a class may write


class Trainable:
    """A trial with methods. Derive from it, override ``setup`` and ``step``, and what else you need.

    setup(config)            once, before the first step; gets its own copy of the config's dicts and lists
    step() -> dict           one training iteration: its metrics. ``done: True`` ends the trial,
                             ``should_checkpoint: True`` asks for a checkpoint
    save_checkpoint(dir)     write files into dir, or return a dict to be stored
    load_checkpoint(saved)   the dict that was returned, or the directory that was written
    cleanup()                once, at the end, also after an error
    reset_config(config)     take over a new config in place and return True: then processes are reused

    Everything else is called by the tuner. Without one: ``t = MyTrainable(config); t.train(); t.stop()``.
    """

    _resources: ClassVar[Any] = None  # what with_resources attached
    _iteration: int
    _time_total: float
    _time_this_iter: float
    _time_since_restore: float
    _timesteps_total: int | None  # None until the user gives timesteps_this_iter; so for episodes
    _episodes_total: int | None
    _iterations_since_restore: int
    _timesteps_since_restore: int
    _clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, config: dict[str, Any] | None = None, storage: object = None) -> None:
        self.config: dict[str, Any] = {} if config is None else config
        self._storage = storage
        self._trial: TrialContext | None = current_context()
        self._logdir: str | None = None
        self._scratch: str | None = None
        self._stopped = False
        self._last_result: dict[str, Any] = {}
        self._set_counters({})
        self.setup(copy_containers(self.config))

    # ---- what users override

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare the first step. ``config`` may be changed: ``self.config`` keeps the original."""

    def step(self) -> dict[str, Any]:
        """One training iteration; returns its metrics."""
        raise NotImplementedError(f"{type(self).__name__} must override step() and return a dict of metrics")

    def save_checkpoint(self, checkpoint_dir: str) -> str | dict[str, Any] | None:
        """Write files into the directory (return it, a path in it or nothing), or return a dict."""
        raise NotImplementedError(
            f"{type(self).__name__} is asked for a checkpoint: override save_checkpoint()"
        )

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go back to what ``save_checkpoint`` saved: the dict it returned, or else the path."""
        raise NotImplementedError(f"{type(self).__name__} is to be restored: override load_checkpoint()")

    def cleanup(self) -> None:
        """Let go of what ``setup`` took. Called once."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial's config and return True, if nothing has to be built anew for it."""
        return False

    def log_result(self, result: dict[str, Any]) -> None:
        """See each complete result as it is made."""

    def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
        """Write the model in these formats; returns format -> path."""
        return {}

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> Any:
        """What a trial with this config needs (PlacementGroupFactory or dict); None leaves it to the run."""
        return None

    @classmethod
    def resource_help(cls, config: dict[str, Any]) -> str:
        """What to tell a user who asked for the wrong resources."""
        return ""

    # ---- one iteration

    def advance(self) -> dict[str, Any]:
        """One step: the user's metrics and the totals of timesteps and episodes, if those were ever given.

        The lean form of ``train`` for executors: what can be derived from the order and time of reports is
        left out.
        """
        metrics = self._timed_step()
        if type(self).log_result is not Trainable.log_result:
            self.log_result(self._complete(metrics))
        return metrics

    def train(self) -> dict[str, Any]:
        """One step and the complete result: metrics, totals and the keys that every result has."""
        result = self._complete(self._timed_step())
        self._last_result = result
        self.log_result(result)
        return result

    def train_buffered(self, buffer_time_s: float, max_buffer_length: int = 1000) -> list[dict[str, Any]]:
        """Results of the steps that fit into the time; at least one, none after done or should_checkpoint."""
        end = self._clock() + buffer_time_s
        results = []
        while True:
            result = self.train()
            results.append(result)
            over = len(results) >= max_buffer_length or self._clock() >= end
            if over or result.get("done") or result.get("should_checkpoint"):
                return results

    def get_auto_filled_metrics(
        self,
        now: float | None = None,
        time_this_iter_s: float | None = None,
        timestamp: int | None = None,
    ) -> dict[str, Any]:
        """The keys that every result has, in their order. ``now`` is unix time."""
        import socket

        unix = time.time() if now is None else now
        filled: dict[str, Any] = {
            "done": False,
            "training_iteration": self._iteration,
            "trial_id": self.trial_id,
            "date": time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(unix)),
            "timestamp": int(unix) if timestamp is None else timestamp,
            "time_this_iter_s": 0.0 if time_this_iter_s is None else time_this_iter_s,
            "time_total_s": self._time_total,
            "pid": os.getpid(),
            "hostname": socket.gethostname(),
            "node_ip": "127.0.0.1",
            "config": self.config,
            "time_since_restore": self._time_since_restore,
            "iterations_since_restore": self._iterations_since_restore,
        }
        if self._timesteps_since_restore:
            filled["timesteps_since_restore"] = self._timesteps_since_restore
        return filled

    def _timed_step(self) -> dict[str, Any]:
        before = self._clock()
        metrics = self.step()
        if not isinstance(metrics, dict):
            raise TypeError(
                f"step() of {type(self).__name__} must return a dict of metrics, got "
                f"{type(metrics).__name__}; is a return missing at its end?"
            )
        self._count(metrics, self._clock() - before)
        return self._with_totals(metrics)

    def _complete(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """A new dict: the metrics, and what they do not give of the keys that every result has."""
        filled = self.get_auto_filled_metrics(time_this_iter_s=self._time_this_iter)
        return {**metrics, **{key: value for key, value in filled.items() if key not in metrics}}

    def _count(self, result: dict[str, Any], measured: float) -> None:
        """Add one iteration to the counters. A time or a number of steps that the user gives is believed."""
        given = result.get("time_this_iter_s")
        self._time_this_iter = measured if given is None else given
        self._iteration += 1
        self._iterations_since_restore += 1
        self._time_total += self._time_this_iter
        self._time_since_restore += self._time_this_iter
        timesteps = result.get("timesteps_this_iter")
        if timesteps is not None:
            self._timesteps_total = (self._timesteps_total or 0) + timesteps
            self._timesteps_since_restore += timesteps
        episodes = result.get("episodes_this_iter")
        if episodes is not None:
            self._episodes_total = (self._episodes_total or 0) + episodes

    def _with_totals(self, result: dict[str, Any]) -> dict[str, Any]:
        if self._timesteps_total is None and self._episodes_total is None:
            return result
        totals = {"timesteps_total": self._timesteps_total, "episodes_total": self._episodes_total}
        return {**{key: total for key, total in totals.items() if total is not None}, **result}

    # ---- saving and restoring

    def save(self, checkpoint_dir: str | None = None) -> Checkpoint:
        """Write a checkpoint into the directory, beside what is in it.

        If None: as a new directory ``logdir/checkpoint_<iteration>``, which is there only when it is whole.
        """
        if checkpoint_dir is not None:
            os.makedirs(checkpoint_dir, exist_ok=True)
            self._save_into(os.path.abspath(checkpoint_dir))
            return Checkpoint(checkpoint_dir)
        target = os.path.join(self.logdir, f"checkpoint_{self._iteration:06d}")
        with whole_directory(target) as directory:
            self._save_into(directory)
        return Checkpoint(target)

    def restore(self, checkpoint: Checkpoint | str | os.PathLike[str]) -> None:
        """Go back to a checkpoint: the user's state, iteration and totals. What counts since then is 0."""
        if isinstance(checkpoint, Checkpoint) and checkpoint.in_memory:
            self.restore_held(checkpoint.held())
            return
        directory = os.path.abspath(os.fspath(checkpoint))
        if not os.path.isdir(directory):
            raise FileNotFoundError(
                f"cannot restore {type(self).__name__}: no checkpoint directory {directory}"
            )
        state = self._read_state(directory)
        dict_file = os.path.join(directory, DICT_FILE)
        if os.path.isfile(dict_file):
            import pickle

            with open(dict_file, "rb") as file:
                self.load_checkpoint(pickle.load(file))
        else:
            self.load_checkpoint(os.path.join(directory, _relative_in(state, directory)))
        self._set_counters(state)

    def save_held(self, scratch: str) -> bytes | None:
        """A checkpoint as bytes, if the user's save returned a dict that is small and wrote nothing.

        Otherwise None, and the checkpoint is what lies in ``scratch``, a directory that was empty.
        """
        saved, relative = self._call_save(scratch)
        if saved is not None:
            data = dumps(saved)
            if len(data) < LARGEST_HELD // 2 and not os.listdir(scratch):
                return pack(data, {"counters": self._counters()})
        self._write_saved(scratch, saved, relative)
        return None

    def restore_held(self, held: bytes) -> None:
        """Go back to a checkpoint in memory. Unpickles it: only for what this experiment's own trials saved."""
        import pickle

        notes, data = unpack(held)
        self.load_checkpoint(pickle.loads(data))
        self._set_counters(notes.get("counters", {}))

    def save_to_object(self) -> bytes:
        """A checkpoint as bytes, for a tuner that keeps it in memory. Files that were written are in it."""
        directory = self._scratch_dir()
        try:
            saved, relative = self._call_save(directory)
            files = _pack(directory) if os.listdir(directory) else {}
        finally:
            _empty(directory)
        return dumps((self._counters(), saved, files, relative))

    def restore_from_object(self, data: bytes) -> None:
        """Go back to what ``save_to_object`` returned. Executes pickles: only for one's own bytes."""
        import pickle

        state, saved, files, relative = pickle.loads(data)
        if saved is not None:
            self.load_checkpoint(saved)
        else:
            directory = self._scratch_dir()
            try:
                _unpack(directory, files)
                self.load_checkpoint(os.path.join(directory, relative) if relative else directory)
            finally:
                _empty(directory)
        self._set_counters(state)

    def _save_into(self, directory: str) -> None:
        self._write_saved(directory, *self._call_save(directory))

    def _write_saved(self, directory: str, saved: dict[str, Any] | None, relative: str) -> None:
        """Put what belongs to a checkpoint beside what the user wrote."""
        import json

        if saved is not None:
            with open(os.path.join(directory, DICT_FILE), "wb") as file:
                file.write(dumps(saved))
        with open(os.path.join(directory, STATE_FILE), "w", encoding="utf-8") as text:
            numbers = {**self._counters(), "saved": relative}
            json.dump(numbers, text, default=lambda number: number.item())  # users count in numpy too

    def _call_save(self, directory: str) -> tuple[dict[str, Any] | None, str]:
        """What the user's save returned: a dict, or a path in the directory, made relative to it."""
        saved = self.save_checkpoint(directory)
        if isinstance(saved, dict):
            return saved, ""
        if saved is None:
            return None, ""
        relative = os.path.relpath(os.fspath(saved), directory)
        if relative.split(os.sep)[0] == os.pardir:
            raise ValueError(
                f"save_checkpoint() of {type(self).__name__} returned {saved!r}, which is not in the "
                f"directory it was given ({directory}); write there, and return a dict, that directory or "
                "nothing"
            )
        return None, "" if relative == os.curdir else relative

    def _read_state(self, directory: str) -> dict[str, Any]:
        """Iteration and totals of a checkpoint; none if somebody else wrote it (a function, or by hand)."""
        return state_in(directory)

    def _counters(self) -> dict[str, Any]:
        return {
            "iteration": self._iteration,
            "time_total": self._time_total,
            "timesteps_total": self._timesteps_total,
            "episodes_total": self._episodes_total,
        }

    def _set_counters(self, state: Mapping[str, Any]) -> None:
        self._iteration = state.get("iteration", 0)
        self._time_total = state.get("time_total", 0.0)
        self._timesteps_total = state.get("timesteps_total")
        self._episodes_total = state.get("episodes_total")
        self._time_this_iter = 0.0
        self._time_since_restore = 0.0
        self._iterations_since_restore = 0
        self._timesteps_since_restore = 0

    # ---- reuse and end

    def reset(self, new_config: dict[str, Any], storage: object = None) -> bool:
        """Become another trial, if ``reset_config`` agrees: counters start at 0. False changes no counter."""
        self._trial = current_context()
        self._logdir = None
        if not self.reset_config(new_config):
            return False
        self.config = new_config
        self._storage = storage
        self._last_result = {}
        self._set_counters({})
        return True

    def reset_or_raise(self, new_config: dict[str, Any]) -> None:
        """``reset`` for an executor that was told to reuse: refusal is the trial's error."""
        if not self.reset(new_config):
            raise TuneError(
                f"reuse_actors=True requires reset_config() to be implemented and to return True: "
                f"{type(self).__name__}.reset_config() did not; override it, or run with reuse_actors=False"
            )

    def stop(self) -> None:
        """End it: ``cleanup`` is called, once however often ``stop`` is."""
        if self._stopped:
            return
        self._stopped = True
        try:
            self.cleanup()
        finally:
            self._drop_scratch()

    def export_model(self, export_formats: str | list[str], export_dir: str | None = None) -> dict[str, str]:
        """Write the model in one or more formats, into ``logdir`` if no directory is given."""
        formats = [export_formats] if isinstance(export_formats, str) else export_formats
        return self._export_model(formats, export_dir or self.logdir)

    def get_state(self) -> dict[str, Any]:
        """Iteration, totals and the last complete result."""
        return {**self._counters(), "last_result": self._last_result}

    def get_config(self) -> dict[str, Any]:
        """The trial's config."""
        return self.config

    # ---- who it is

    @property
    def logdir(self) -> str:
        """The trial's folder; outside of an experiment a temporary one. Made by asking for it."""
        if self._trial is not None:
            return self._trial.trial_dir()
        if self._logdir is None:
            import tempfile

            self._logdir = tempfile.mkdtemp(prefix=f"{type(self).__name__}_")
        return self._logdir

    @property
    def trial_name(self) -> str:
        """Name of the trial, "default" outside of an experiment."""
        return self._trial.trial_name if self._trial is not None else "default"

    @property
    def trial_id(self) -> str:
        """Id of the trial, "default" outside of an experiment."""
        return self._trial.trial_id if self._trial is not None else "default"

    @property
    def trial_resources(self) -> Any:
        """What the trial was given, None outside of an experiment."""
        return self._trial.resources if self._trial is not None else None

    @property
    def iteration(self) -> int:
        """Steps made so far, those before a restore included."""
        return self._iteration

    @property
    def training_iteration(self) -> int:
        """The same as ``iteration``."""
        return self._iteration

    def _scratch_dir(self) -> str:
        """An empty directory for checkpoints in memory, one per thread: no trial keeps it.

        It is in the experiment's folder, so that a killed process leaves nothing elsewhere.
        """
        if self._trial is not None:
            from threading import get_ident

            self._scratch = os.path.join(self._trial.experiment_path, f".scratch_{os.getpid()}_{get_ident()}")
            os.makedirs(self._scratch, exist_ok=True)
        elif self._scratch is None:
            import shutil
            import tempfile
            import weakref

            self._scratch = tempfile.mkdtemp(prefix="fasttune_")
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)  # nobody has to call stop()
        return self._scratch

    def _drop_scratch(self) -> None:
        if self._scratch is not None and os.path.isdir(self._scratch):
            import shutil

            shutil.rmtree(self._scratch, ignore_errors=True)


def validate_save_restore(
    trainable_class: type[Trainable],
    config: dict[str, Any] | None = None,
    num_gpus: float = 0,
    use_object_store: bool = False,
) -> bool:
    """Check that the class survives a save and a restore: 3 steps, save, restore elsewhere, steps 4 and 5.

    Runs in this process, which has the GPUs that it has: ``num_gpus`` and ``use_object_store`` are not
    needed. Raises what the class raises, or a ValueError that says what came out.
    """
    if not is_trainable_class(trainable_class):
        raise ValueError(
            f"validate_save_restore needs a class derived from Trainable, got {trainable_class!r}"
        )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        first, second = (trainable_class(copy_containers(config or {})) for _ in range(2))
        try:
            for _ in range(3):
                first.train()
            second.restore(first.save(os.path.join(folder, "checkpoint")))
            for expected in (4, 5):
                found = second.train()["training_iteration"]
                if found != expected:
                    raise ValueError(
                        f"{trainable_class.__name__} was restored after 3 iterations and reports {found} "
                        f"where {expected} is due; does step() set training_iteration itself?"
                    )
        finally:
            first.stop()
            second.stop()
    return True


# ---- what is a trainable, and what lies in its checkpoints ----------------------------------------------------


def counted_in(checkpoint: str) -> tuple[int, float]:
    """Iterations and seconds of training in a class trainable's checkpoint; zeros if somebody else wrote it."""
    state = state_in(checkpoint)
    return int(state.get("iteration", 0)), float(state.get("time_total", 0.0))


def _relative_in(state: dict[str, Any], directory: str) -> str:
    """Where in a checkpoint's directory the user's save had written, as its notes say. ValueError for another place."""
    relative = state.get("saved") or ""
    if not isinstance(relative, str) or os.path.isabs(relative) or os.pardir in relative.split(os.sep):
        raise ValueError(f"the checkpoint {directory} says that its files are in {relative!r}, which is not in it")
    return relative


def is_trainable_class(trainable: Any) -> bool:
    """Whether it is a class derived from Trainable."""
    return isinstance(trainable, type) and issubclass(trainable, Trainable)


def check_trainable(trainable: Any) -> None:
    """Raise at once if this cannot be a trainable: TypeError for what it is, ValueError for its arguments."""
    if is_trainable_class(trainable):
        check_methods(trainable)
        return
    if isinstance(trainable, type):
        raise TypeError(
            f"{trainable.__name__} is a class that does not derive from tune.Trainable; "
            "derive from it, or give a function of the config"
        )
    if not callable(trainable):
        raise TypeError(
            "a trainable is a function of the config or a class derived from tune.Trainable, got "
            f"{trainable!r}"
        )
    check_function(trainable)


def check_methods(trainable: type) -> None:
    """TypeError for a class whose methods would have to be awaited: they are called."""
    for name in METHODS:
        if is_async(getattr(trainable, name)):
            raise TypeError(
                f"{trainable.__name__}.{name}() is an async method, and the methods of a class are called, not awaited: nothing of it "
                "would run. Write the trial as a function, async def train(config), or let the method run what it awaits by "
                "asyncio.run(...)"
            )


def _pack(directory: str) -> dict[str, bytes]:
    """Every file below the directory: relative path -> contents."""
    files = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, directory)] = file.read()
    return files


def _unpack(directory: str, files: dict[str, bytes]) -> None:
    for relative, contents in files.items():
        path = os.path.join(directory, relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(contents)


def _empty(directory: str) -> None:
    """Make the scratch directory empty again: the next trial uses it. Costs little if a dict was saved."""
    if os.listdir(directory):
        import shutil

        shutil.rmtree(directory)
        os.mkdir(directory)
