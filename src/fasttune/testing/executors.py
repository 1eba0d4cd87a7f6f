"""What every executor has to keep: see :mod:`fasttune.executors.base`."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fasttune import _core
from fasttune.devices.resources import resolve_resources
from fasttune.executors.base import Death, Executor, Job, Program, ProgramTrainable, Reply
from fasttune.rule import NO_RULE
from fasttune.session import get_context, report
from fasttune.space.functions import uniform
from fasttune.space.variants import Variants
from fasttune.trainable import Trainable

PATIENCE_S = 30.0  # what has not happened by then never will
NAMES = {value: name[5:] for name, value in vars(_core).items() if name.startswith("KIND_")}


class Record(NamedTuple):
    """What a trial did."""

    kind: str
    step: int
    flags: int
    payload: bytes


def five_reports(config: dict[str, Any]) -> None:
    """Reports 1 to 5."""
    for step in range(1, 6):
        report({"score": step})


def failing(config: dict[str, Any]) -> None:
    """Reports once and fails."""
    report({"score": 1})
    raise ArithmeticError("no luck with this one")


def endless(config: dict[str, Any]) -> None:
    """Reports until it is stopped, and says in a file that it could clean up."""
    try:
        while True:
            report({"score": 1})
    finally:
        with open(os.path.join(config["folder"], "cleaned_up"), "w") as file:
            file.write(str(get_context().get_trial_id()))


def many_reports(config: dict[str, Any]) -> None:
    """Reports more than a ring holds."""
    for step in range(150_000):
        report({"score": step})


def dying(config: dict[str, Any]) -> None:
    """Reports twice and kills its process."""
    report({"score": 1})
    report({"score": 2})
    os.kill(os.getpid(), signal.SIGKILL)


def deaf(config: dict[str, Any]) -> None:
    """Reports once and does not listen any more."""
    report({"score": 1})
    while True:
        time.sleep(1.0)


def leaving_a_word(config: dict[str, Any]) -> None:
    """Five reports; says in a file how it was left."""
    from asyncio import CancelledError

    try:
        five_reports(config)
    except (SystemExit, CancelledError):
        with open(os.path.join(config["folder"], "left"), "a") as file:
            file.write(f"{get_context().get_trial_id()} was left\n")
        report({"score": 100})  # nobody hears this
        raise


class Counter(Trainable):
    """Five steps that count; a checkpoint holds where it was."""

    def setup(self, config: dict[str, Any]) -> None:
        self.n = 0

    def step(self) -> dict[str, Any]:
        self.n += 1
        return {"score": self.n, "done": self.n >= 5}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"n": self.n}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.n = checkpoint["n"]


class BadSaver(Counter):
    """Cannot save."""

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        raise ArithmeticError("this cannot be saved")


def as_coroutine(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """The same function as a coroutine, which awaits before and behind it."""
    import asyncio

    async def trained(config: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        try:
            value = function(config)
        finally:
            await asyncio.sleep(0)
        return value

    return trained


def by_config(config: dict[str, Any]) -> None:
    """Reports what it was given."""
    report({"x": config["x"]})


Answers = Callable[[int, int], int | Reply]


class Drive:
    """Does what the loop does with an executor, in its simplest form: polls, keeps what happened, answers.

    ``answers(trial, step)`` is asked for the answer to a report that waits.
    """

    def __init__(self, executor: Executor, program: Program, answers: Answers | None = None) -> None:
        self.executor = executor
        self.answers: Answers = answers or (lambda trial, step: _core.CONTINUE)
        self.stories: dict[int, list[Record]] = {}
        self.held: dict[int, bytes] = {}  # trial -> its newest checkpoint in memory
        self.deaths: list[Death] = []
        self.batches = 0
        executor.open(program, time.time() - time.monotonic(), None, self._drain, self._drain)
        executor.find_configs(lambda trial: (0, trial))

    def turn(self, timeout: float = 0.01) -> None:
        """Poll once, answer what waits, and let go of what was taken."""
        for batch in self.executor.poll(timeout):
            self._keep(batch.data)
        self.deaths.extend(self.executor.deaths())
        self.executor.release()

    def _drain(self) -> None:
        for batch in self.executor.drain_now():
            self._keep(batch.data)
        self.executor.release()

    def _keep(self, data: Any) -> None:
        self.batches += 1
        self.held.update((trial, checkpoint) for trial, _, checkpoint in _core.without_held(data)[1])
        for kind, flags, _, trial, step, _, payload in _core.decode(data):
            if NAMES[kind] == "SCHEMA":
                continue
            self.stories.setdefault(trial, []).append(Record(NAMES[kind], step, flags & 7, bytes(payload or b"")))
            if NAMES[kind] == "REPORT" and flags & 7 == _core.WAIT:
                answer = self.answers(trial, step)
                self.executor.answer(trial, *(answer if isinstance(answer, Reply) else (answer,)))

    def saved_by(self, trial: int, folder: Path) -> str | bytes:
        """What a trial goes on from: its newest checkpoint, in memory or in a directory."""
        saved = [record for record in self.stories[trial] if record.kind == "CHECKPOINT"][-1]
        if saved.flags & _core.HELD:
            return self.held[trial]
        return str(folder / saved.payload.rstrip(b"\0").decode())

    def until(self, holds: Callable[[], bool]) -> None:
        """Turn until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            self.turn()
            if time.monotonic() > deadline:
                raise AssertionError(f"it never came true; the trials so far: {self.summary()}")

    def give(self, n: int, first: int = 0) -> None:
        """Give the trials first .. first+n-1 as spans, as there is room, until all have been given."""
        given = first
        deadline = time.monotonic() + PATIENCE_S
        while given < first + n:
            room = min(self.executor.room(), first + n - given)
            if room > 0:
                self.executor.run_span(0, given, room, given)
                given += room
            else:
                self.turn()
            if time.monotonic() > deadline:
                raise AssertionError(f"no room for trial {given}; the trials so far: {self.summary()}")

    def start(self, job: Job) -> None:
        """Start one trial, as soon as there is room."""
        deadline = time.monotonic() + PATIENCE_S
        while self.executor.room() <= 0 or not self.executor.start(job):
            self.turn()
            if time.monotonic() > deadline:
                raise AssertionError(f"no room for trial {job.trial}; the trials so far: {self.summary()}")

    def kinds(self, trial: int) -> list[str]:
        """The kinds of a trial's records."""
        return [record.kind for record in self.stories.get(trial, ())]

    def steps(self, trial: int) -> list[int]:
        """The steps of a trial's reports."""
        return [record.step for record in self.stories.get(trial, ()) if record.kind == "REPORT"]

    def over(self, *trials: int) -> bool:
        """All of these trials have ended."""
        return all(self.kinds(trial)[-1:] in (["END"], ["ERROR"]) for trial in trials)

    def summary(self) -> str:
        """What is known, in a line."""
        told = {trial: " ".join(self.kinds(trial)[-6:]) for trial in sorted(self.stories)[:10]}
        return f"{len(self.stories)} trials, {told}, deaths {self.deaths}"


class ExecutorContract(ABC):
    """Derive from it and give :meth:`make`: an executor over ``folder`` with room for two trials at once.

    ``own_processes`` says whether trials run in processes other than this one, which can die alone; ``coroutines``, that it
    runs async functions only: it is given the same trials as coroutines, and no classes.
    """

    own_processes: bool = True
    coroutines: bool = False

    @abstractmethod
    def make(self, folder: str) -> Executor:
        """A new executor; it has not been opened."""

    def program(self, folder: Path, trainable: Callable[[dict[str, Any]], Any], **more: Any) -> Program:
        """A run of one function over one parameter."""
        space = {"x": uniform(0, 1), "folder": str(folder)}
        if self.coroutines:
            trainable = as_coroutine(trainable)
        one = ProgramTrainable(
            "trained",
            trainable,
            isinstance(trainable, type),
            "config",
            resolve_resources(None),
            Variants(space, 5000, seed=1),
        )
        return Program("contract", str(folder), "abcde", [one], metric=None, strict=False, rule=NO_RULE, **more)

    def drive(self, folder: Path, trainable: Callable[[dict[str, Any]], Any], **more: Any) -> Drive:
        """An open executor and what it is driven by."""
        answers = more.pop("answers", None)
        executor = self.make(str(folder))
        try:
            return Drive(executor, self.program(folder, trainable, **more), answers)
        except BaseException:
            executor.close()
            raise

    # -- plain trials -------------------------------------------------------------------------------------------------

    def test_records_of_a_trial_come_in_order(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, five_reports)
        try:
            drive.give(40)
            drive.until(lambda: drive.over(*range(40)))
        finally:
            drive.executor.close()
        for trial in range(40):
            assert drive.kinds(trial) == ["START", *["REPORT"] * 5, "END"]
            assert drive.steps(trial) == [1, 2, 3, 4, 5]

    def test_each_trial_runs_once(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, by_config)
        try:
            drive.give(3000)
            drive.until(lambda: drive.over(*range(3000)))
        finally:
            drive.executor.close()
        assert sorted(drive.stories) == list(range(3000))
        assert {tuple(drive.kinds(trial)) for trial in range(3000)} == {("START", "REPORT", "END")}

    def test_a_trial_gets_its_own_config(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, by_config)
        variants = self.program(tmp_path, by_config).trainables[0].variants
        try:
            drive.give(5)
            drive.until(lambda: drive.over(*range(5)))
            drive.start(Job(5, 0, 0, config={"x": 0.25}, name="named", dirname="named_5"))
            drive.until(lambda: drive.over(5))
        finally:
            drive.executor.close()
        expected = [*(variants.config(trial)["x"] for trial in range(5)), 0.25]
        assert [memoryview(self.report(drive, trial)).cast("d")[0] for trial in range(6)] == expected

    @staticmethod
    def report(drive: Drive, trial: int) -> bytes:
        """The values of a trial's first report."""
        return next(record.payload for record in drive.stories[trial] if record.kind == "REPORT")

    def test_a_trial_that_goes_on_counts_on(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, five_reports)
        try:
            drive.start(Job(0, 0, 0, iteration=7, base_total=1.5, attempt=1))
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert drive.steps(0) == [8, 9, 10, 11, 12]

    def test_a_failure_is_told_with_its_traceback(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, failing)
        try:
            drive.give(3)
            drive.until(lambda: drive.over(0, 1, 2))
        finally:
            drive.executor.close()
        for trial in range(3):
            assert [k for k in drive.kinds(trial) if k != "EXCEPTION"] == ["START", "REPORT", "ERROR"]
            text = drive.stories[trial][-1].payload.decode()
            assert "ArithmeticError: no luck with this one" in text
            assert "in failing" in text
        assert drive.deaths == []

    def test_more_reports_than_a_ring_holds(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, many_reports)
        try:
            drive.give(1)
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert drive.steps(0) == list(range(1, 150_001))

    def test_views_are_valid_until_they_are_released(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, five_reports)
        kept: list[tuple[memoryview, bytes]] = []
        seen = 0
        try:
            drive.give(1)
            deadline = time.monotonic() + PATIENCE_S
            while seen < 20 and time.monotonic() < deadline:
                for batch in drive.executor.poll(0.01):
                    kept.append((batch.data, bytes(batch.data)))
                    seen += sum(kind == _core.KIND_END for kind, *_ in _core.decode(batch.data))
                if seen < 20 and drive.executor.idle and drive.executor.room():
                    drive.executor.run_span(0, seen, 1, seen)
            assert seen == 20
            assert all(bytes(view) == copy for view, copy in kept)
            kept.clear()
            drive.executor.release()
        finally:
            kept.clear()
            drive.executor.close()

    def test_nothing_happens_without_work(self, tmp_path: Path) -> None:
        executor = self.make(str(tmp_path))
        try:
            drive = Drive(executor, self.program(tmp_path, five_reports))
            assert executor.idle
            assert executor.room() > 0
            assert isinstance(executor.usage, str)
            for timeout in (0.0, 0.001, 0.01):
                assert executor.poll(timeout) == []
            assert executor.deaths() == []
            assert drive.stories == {}
        finally:
            executor.close()

    # -- answers ------------------------------------------------------------------------------------------------------

    def test_a_report_that_waits_gets_its_answer(self, tmp_path: Path) -> None:
        asked: list[tuple[int, int]] = []

        def answers(trial: int, step: int) -> int:
            asked.append((trial, step))
            return _core.STOP if trial == 1 and step == 3 else _core.CONTINUE

        drive = self.drive(tmp_path, five_reports, asks=True, answers=answers)
        try:
            for trial in range(3):
                drive.start(Job(trial, 0, trial))
            drive.until(lambda: drive.over(0, 1, 2))
        finally:
            drive.executor.close()
        assert [drive.steps(trial) for trial in range(3)] == [[1, 2, 3, 4, 5], [1, 2, 3], [1, 2, 3, 4, 5]]
        assert [drive.stories[trial][-1].flags for trial in range(3)] == [0, _core.STOP, 0]
        assert sorted(asked) == [(trial, step) for trial in range(3) for step in drive.steps(trial)]

    def test_a_paused_trial_goes_on_where_it_was(self, tmp_path: Path) -> None:
        """Its place is free meanwhile, and what it had in its local variables is still there."""

        def answers(trial: int, step: int) -> int:
            return _core.PAUSE if trial == 0 and step == 2 else _core.CONTINUE

        drive = self.drive(tmp_path, five_reports, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: drive.kinds(0)[-1:] == ["PAUSED"])
            for trial in (1, 2, 3):
                drive.start(Job(trial, 0, trial))
            drive.until(lambda: drive.over(1, 2, 3))
            assert drive.steps(0) == [1, 2]
            drive.until(lambda: drive.executor.resume(0))
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert drive.steps(0) == [1, 2, 3, 4, 5]
        assert [k for k in drive.kinds(0) if k != "REPORT"] == ["START", "PAUSED", "RESUMED", "END"]

    def test_reports_before_the_step_to_ask_from_do_not_wait(self, tmp_path: Path) -> None:
        asked: list[tuple[int, int]] = []

        def answers(trial: int, step: int) -> Reply:
            asked.append((trial, step))
            return Reply(_core.CONTINUE, ask_from=step + 2)

        drive = self.drive(tmp_path, five_reports, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0, ask_from=2))
            drive.start(Job(1, 0, 1, ask_from=_core.NEVER_ASK))
            drive.until(lambda: drive.over(0, 1))
        finally:
            drive.executor.close()
        assert asked == [(0, 2), (0, 4)]
        assert drive.steps(0) == drive.steps(1) == [1, 2, 3, 4, 5]

    def test_a_resumed_trial_is_asked_from_the_step_it_was_told(self, tmp_path: Path) -> None:
        asked: list[int] = []

        def answers(trial: int, step: int) -> Reply:
            asked.append(step)
            return Reply(_core.PAUSE if step == 1 else _core.CONTINUE)

        drive = self.drive(tmp_path, five_reports, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: drive.kinds(0)[-1:] == ["PAUSED"])
            drive.until(lambda: drive.executor.resume(0, 4))
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert asked == [1, 4, 5]

    def test_a_paused_trial_can_be_left_for_good_and_started_anew(self, tmp_path: Path) -> None:
        def answers(trial: int, step: int) -> int:
            return _core.PAUSE if step == 2 else _core.CONTINUE

        drive = self.drive(tmp_path, leaving_a_word, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: drive.kinds(0)[-1:] == ["PAUSED"])
            drive.executor.discard(0)
            drive.start(Job(0, 0, 0, iteration=7, attempt=1))
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert (tmp_path / "left").read_text() == "abcde_00000 was left\n"
        assert drive.kinds(0) == ["START", *["REPORT"] * 2, "PAUSED", "START", *["REPORT"] * 5, "END"]
        assert drive.steps(0) == [1, 2, 8, 9, 10, 11, 12]

    def test_an_answer_may_be_to_save_first(self, tmp_path: Path) -> None:
        if self.coroutines:
            return  # functions save nothing that they do not report

        def answers(trial: int, step: int) -> Reply:
            return Reply(_core.PAUSE if step == 4 else _core.CONTINUE, save=step in (2, 4))

        drive = self.drive(tmp_path, Counter, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0))
            drive.start(Job(1, 0, 1))
            drive.until(lambda: all(drive.kinds(trial)[-1:] == ["PAUSED"] for trial in (0, 1)))
            drive.until(lambda: drive.executor.resume(0))
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        two, four = ["REPORT", "REPORT", "CHECKPOINT"], ["REPORT", "REPORT", "CHECKPOINT", "PAUSED"]
        assert drive.kinds(0) == ["START", *two, *four, "RESUMED", "REPORT", "END"]
        assert [record.step for record in drive.stories[1] if record.kind == "CHECKPOINT"] == [2, 4]
        assert drive.steps(0) == [1, 2, 3, 4, 5]

    def test_a_paused_trial_saves_when_it_is_told_to(self, tmp_path: Path) -> None:
        if self.coroutines:
            return  # functions save nothing that they do not report

        def answers(trial: int, step: int) -> int:
            return _core.PAUSE if step == 3 else _core.CONTINUE

        drive = self.drive(tmp_path, Counter, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: drive.kinds(0)[-1:] == ["PAUSED"])
            drive.executor.save(0)
            drive.until(lambda: drive.kinds(0)[-1:] == ["CHECKPOINT"])
            saved = drive.stories[0][-1]
            drive.executor.discard(0)
            drive.start(Job(0, 0, 0, iteration=saved.step, checkpoint=drive.saved_by(0, tmp_path), attempt=1))
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert saved.step == 3
        assert drive.steps(0) == [1, 2, 3, 4, 5]

    def test_a_trial_that_fails_to_save_fails(self, tmp_path: Path) -> None:
        if self.coroutines:
            return  # functions save nothing that they do not report

        def answers(trial: int, step: int) -> Reply:
            return Reply(_core.PAUSE if trial == 1 else _core.CONTINUE, save=trial == 0)

        drive = self.drive(tmp_path, BadSaver, asks=True, pauses=True, answers=answers)
        try:
            drive.start(Job(0, 0, 0))
            drive.start(Job(1, 0, 1))
            drive.until(lambda: drive.kinds(1)[-1:] == ["PAUSED"])
            drive.executor.save(1)
            drive.until(lambda: drive.over(0, 1))
            drive.start(Job(2, 0, 2, ask_from=_core.NEVER_ASK))  # its place is free again
            drive.until(lambda: drive.over(2))
        finally:
            drive.executor.close()
        assert [k for k in drive.kinds(0) if k != "EXCEPTION"] == ["START", "REPORT", "ERROR"]
        assert [k for k in drive.kinds(1) if k != "EXCEPTION"] == ["START", "REPORT", "PAUSED", "ERROR"]
        assert b"this cannot be saved" in drive.stories[1][-1].payload

    def test_orders_to_trials_that_are_not_paused_do_no_harm(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, five_reports, asks=True, pauses=True)
        try:
            drive.start(Job(0, 0, 0))
            for trial in (0, 1):
                drive.executor.save(trial)
                drive.executor.discard(trial)
                drive.executor.answer(trial + 1, _core.PAUSE, 3, True)
            drive.until(lambda: drive.over(0))
            drive.executor.save(0)
            drive.executor.discard(0)
            drive.start(Job(1, 0, 1))
            drive.until(lambda: drive.over(1))
        finally:
            drive.executor.close()
        assert drive.steps(0) == drive.steps(1) == [1, 2, 3, 4, 5]

    def test_paused_trials_clean_up_when_it_is_closed(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, leaving_a_word, asks=True, pauses=True, answers=lambda trial, step: _core.PAUSE)
        try:
            for trial in range(3):
                drive.start(Job(trial, 0, trial))
                drive.until(lambda trial=trial: drive.kinds(trial)[-1:] == ["PAUSED"])  # type: ignore[misc]
        finally:
            drive.executor.close()
        assert sorted((tmp_path / "left").read_text().split("\n")[:-1]) == [f"abcde_{t:05d} was left" for t in range(3)]
        assert [drive.kinds(trial) for trial in range(3)] == [["START", "REPORT", "PAUSED"]] * 3

    def test_a_trial_that_is_stopped_cleans_up_and_ends(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, endless, asks=True)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: len(drive.steps(0)) >= 3)
            drive.executor.stop(0)
            drive.until(lambda: drive.over(0))
        finally:
            drive.executor.close()
        assert drive.kinds(0)[-1] == "END"
        assert drive.stories[0][-1].flags == _core.STOP
        assert (tmp_path / "cleaned_up").read_text() == "abcde_00000"

    def test_stopping_what_is_over_does_no_harm(self, tmp_path: Path) -> None:
        drive = self.drive(tmp_path, five_reports)
        try:
            drive.give(2)
            drive.until(lambda: drive.over(0, 1))
            drive.executor.stop(0)
            drive.executor.kill(1)
            drive.executor.answer(0, _core.CONTINUE)
            drive.give(2, first=2)
            drive.until(lambda: drive.over(2, 3))
        finally:
            drive.executor.close()
        assert drive.steps(2) == drive.steps(3) == [1, 2, 3, 4, 5]

    # -- deaths -------------------------------------------------------------------------------------------------------

    def test_a_process_that_dies_is_told_once_after_all_it_wrote(self, tmp_path: Path) -> None:
        if not self.own_processes:
            return  # there is no process to die but this one
        drive = self.drive(tmp_path, dying)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: bool(drive.deaths))
            assert drive.kinds(0) == ["START", "REPORT", "REPORT"]
            drive.start(Job(1, 0, 1))
            drive.until(lambda: len(drive.deaths) == 2)
        finally:
            drive.executor.close()
        assert [death.trial for death in drive.deaths] == [0, 1]
        assert "SIGKILL" in drive.deaths[0].why

    def test_a_death_names_the_trials_that_were_paused_there(self, tmp_path: Path) -> None:
        if not self.own_processes:
            return
        drive = self.drive(tmp_path, five_reports, asks=True, pauses=True, answers=lambda trial, step: _core.PAUSE)
        try:
            for trial in range(4):
                drive.start(Job(trial, 0, trial))
                drive.until(lambda trial=trial: drive.kinds(trial)[-1:] == ["PAUSED"])  # type: ignore[misc]
            os.kill(drive.executor.pids[0], signal.SIGKILL)  # type: ignore[attr-defined]
            drive.until(lambda: bool(drive.deaths))
            [death] = drive.deaths
            assert death.suspended
            for trial in death.suspended:
                drive.start(Job(trial, 0, trial, attempt=1, ask_from=_core.NEVER_ASK))
                drive.until(lambda trial=trial: drive.over(trial))  # type: ignore[misc]
        finally:
            drive.executor.close()
        assert death.trial in (-1, 3)  # 3: it was killed between the record of the pause and the pause
        assert death.unstarted == []

    def test_a_trial_that_does_not_listen_can_be_killed(self, tmp_path: Path) -> None:
        if not self.own_processes:
            return
        drive = self.drive(tmp_path, deaf)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: drive.steps(0) == [1])
            drive.executor.kill(0)
            drive.until(lambda: bool(drive.deaths))
        finally:
            drive.executor.close()
        assert [death.trial for death in drive.deaths] == [0]

    # -- the end ------------------------------------------------------------------------------------------------------

    def test_closing_ends_what_runs_and_leaves_nothing_open(self, tmp_path: Path) -> None:
        before = open_files()
        self.close_in_the_middle(tmp_path)
        assert open_files() == before
        assert (tmp_path / "cleaned_up").exists() or self.own_processes  # a process is ended as a whole

    def close_in_the_middle(self, folder: Path) -> None:
        """Close while a trial waits for an answer."""
        drive = self.drive(folder, endless, asks=True)
        try:
            drive.start(Job(0, 0, 0))
            drive.until(lambda: len(drive.steps(0)) >= 3)
        finally:
            drive.executor.close()
        drive.executor.close()  # once more is safe

    def test_it_can_be_closed_before_it_was_opened(self, tmp_path: Path) -> None:
        before = open_files()
        executor = self.make(str(tmp_path))
        executor.close()
        assert open_files() == before


def open_files() -> int:
    """How many files this process has open."""
    import gc

    gc.collect()  # a mapping goes with its last view
    return len(os.listdir("/dev/fd"))
