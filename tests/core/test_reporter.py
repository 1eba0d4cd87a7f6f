"""What is reported is what is read back; what is refused leaves nothing behind."""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune import _core
from fasttune._core import Asha, Reporter, Ring, TrialTable
from rounds import rounds

CONTINUE, STOP, WAIT, NOT_PLAIN, FULL, MISSING, LATE = 0, 1, 2, -1, -2, -3, -5


class Run:
    """One reporter, and a table that folds what it writes."""

    def __init__(
        self, capacity: int = 1 << 16, trials: int = 4, metric: str | None = "m", **given: Any
    ) -> None:
        self.ring = Ring(bytearray(4096 + capacity), create=True, epoch=1000.0)
        self.reporter = Reporter(self.ring, metric=metric, **given)
        self.table = TrialTable(metric)
        self.records: list[tuple[Any, ...]] = []
        self.table.apply(_core.encode(_core.KIND_CONFIGS, 0, trials), 0)

    def drain(self, watch: int = 0) -> list[tuple[Any, ...]]:
        events = []
        while (data := self.ring.take()) is not None:
            self.records += _core.decode(data)
            events += self.table.apply(data, 1, watch)
        self.ring.release()
        return events

    def last(self, trial: int = 0) -> dict[str, Any]:
        """The last report as the user gave it."""
        self.drain()
        schema, values, extra = self.table.last(trial)
        told = self.table.schemas[schema]
        kinds = {ord("f"): float, ord("i"): int, ord("b"): bool}
        found = {
            key: kinds[kind](value) for key, kind, value in zip(told.keys, told.kinds, values, strict=True)
        }
        return found | (json.loads(extra) if extra is not None else {})


def fresh(text: str) -> str:
    """An equal string that is another object."""
    return "".join(list(text)) if len(text) > 1 else text


def equal(left: dict[str, Any], right: dict[str, Any]) -> bool:
    return list(left) == list(right) and all(
        type(left[key]) is type(float(right[key]) if isinstance(right[key], float) else right[key])
        and (left[key] == right[key] or (left[key] != left[key] and right[key] != right[key]))
        for key in left
    )


plain = st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.booleans(), st.floats(-1, 1).map(np.float64))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
reports = st.dictionaries(names.filter(lambda name: name != "done"), plain, max_size=40)


@given(first=st.lists(reports, min_size=1, max_size=4), order=st.randoms(use_true_random=False))
@settings(max_examples=rounds(150), deadline=None)
def test_every_plain_report_is_read_back(first: list[dict[str, Any]], order: Any) -> None:
    run = Run(capacity=1 << 18)
    assert run.reporter.begin(0)
    step = 0
    for metrics in first * 2:
        items = [(fresh(key), value) for key, value in metrics.items()]
        for _ in range(2):
            given = dict(items)
            assert run.reporter.report(given) == CONTINUE
            step += 1
            assert equal(run.last(), given)
            assert (run.table.iteration(0), run.reporter.iteration) == (step, step)
            order.shuffle(items)  # the same keys in another order are another set of names
    assert run.table.reports == run.reporter.reports == step


def test_kinds_may_change_from_report_to_report() -> None:
    run = Run()
    run.reporter.begin(0)
    for value in (1, 1.5, True, 2, np.float64(0.25), False, 2**53, -(2**53)):
        assert run.reporter.report({"m": value}) == CONTINUE
        last = run.last()["m"]
        assert last == value
        assert type(last) is (float if isinstance(value, float) else type(value))
    assert len(run.table.schemas) == 3


def test_equal_keys_of_other_objects_are_the_same_names() -> None:
    run = Run()
    run.reporter.begin(0)
    for _ in range(5):
        run.reporter.report({fresh("accuracy"): 0.5, fresh("loss"): 1.0})
    assert run.last() == {"accuracy": 0.5, "loss": 1.0}
    assert len(run.table.schemas) == 1


class Text(str):
    pass


@pytest.mark.parametrize(
    "metrics",
    [
        {"m": 1.0, "x": "text"},
        {"m": 1.0, "x": None},
        {"m": 1.0, "x": [1]},
        {"m": 1.0, "x": {"y": 1}},
        {"m": 1.0, "x": 2**53 + 1},
        {"m": 1.0, "x": -(2**70)},
        {"m": 1.0, "x": np.int64(3)},
        {"m": 1.0, "x": np.float32(3)},
        {"m": 1.0, "x": np.bool_(True)},
        {"m": 1.0, 5: 1.0},
        {"m": 1.0, Text("x"): 1.0},
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_what_is_not_plain_leaves_nothing_behind(metrics: dict[Any, Any], warm: bool) -> None:
    run = Run()
    run.reporter.begin(0)
    if warm:
        run.reporter.report({key: 7.0 for key in metrics if type(key) is str})
    before = run.ring.head, run.reporter.iteration, run.reporter.reports
    assert run.reporter.report(metrics) == NOT_PLAIN
    assert (run.ring.head, run.reporter.iteration, run.reporter.reports) == before
    assert run.reporter.report({"m": 2.0}) == CONTINUE
    assert run.last() == {"m": 2.0}


def test_a_full_ring_leaves_nothing_behind_and_takes_the_report_later() -> None:
    asha = Asha(10_000, 1, 4, 1, True)
    run = Run(capacity=4096, rule=asha)
    run.reporter.begin(0)
    sent = 0
    for _ in range(6):
        while (code := run.reporter.report({"m": float(sent)})) == CONTINUE:
            sent += 1
        assert code == FULL
        before = run.ring.head, run.reporter.iteration, asha.sequence, asha.rung_sizes()
        assert run.reporter.report({"m": float(sent)}) == FULL
        assert run.reporter.report_extra({"m": float(sent)}, {"s": "t"}, b'{"s":"t"}', "checkpoint") == FULL
        assert run.reporter.report({"m": 1.0, "other": 2.0}) == FULL
        assert not run.reporter.begin(1)
        assert not run.reporter.note(_core.KIND_ERROR, b"text" * 10)
        assert (run.ring.head, run.reporter.iteration, asha.sequence, asha.rung_sizes()) == before
        run.drain()
    assert run.last()["m"] == sent - 1
    assert [record[4] for record in run.records if record[0] == _core.KIND_REPORT] == list(range(1, sent + 1))


def test_a_checkpoint_and_its_report_come_together_or_not_at_all() -> None:
    for room in range(0, 400, 8):
        run = Run(capacity=4096)
        run.reporter.begin(0)
        assert run.reporter.report_extra({"m": 0.5}, {}, b"", None) == CONTINUE
        used = 4096 - run.ring.head
        while used - room > 2040:
            run.ring.write(_core.KIND_TOLD, payload=b"x" * 1000)
            used -= 1024
        while used - room >= 24:
            size = min(used - room, 1000)
            run.ring.write(_core.KIND_TOLD, payload=b"x" * (size // 8 * 8 - 24))
            used -= size // 8 * 8
        code = run.reporter.report_extra({"m": 1.5}, {"s": "x"}, b'{"s":"x"}', "checkpoint_000001")
        run.drain()
        kinds = [record[0] for record in run.records[-2:]]
        if code == FULL:
            assert _core.KIND_CHECKPOINT not in [record[0] for record in run.records]
        else:
            assert kinds == [_core.KIND_CHECKPOINT, _core.KIND_REPORT]
            assert [record[4] for record in run.records[-2:]] == [2, 2]
            assert run.records[-2][6].rstrip(b"\0") == b"checkpoint_000001"


def test_mixed_reports_carry_their_json() -> None:
    run = Run()
    run.reporter.begin(0)
    for text in ("", "a", "ä" * 3, "x" * 500):
        extra = {"note": text, "list": [1, None]}
        told = json.dumps(extra).encode()
        assert run.reporter.report_extra({"m": 1.0, "k": 3}, extra, told, None) == CONTINUE
        assert run.last() == {"m": 1.0, "k": 3, **extra}
    assert run.reporter.report({"m": 2.0, "k": 4}) == CONTINUE
    assert run.last() == {"m": 2.0, "k": 4}
    assert run.reporter.report_extra({}, {"only": "text"}, b'{"only":"text"}', None) == CONTINUE
    assert run.last() == {"only": "text"}
    assert run.table.value(0) == 2.0


def test_a_report_that_can_never_fit_is_an_error() -> None:
    run = Run(capacity=4096)
    run.reporter.begin(0)
    head = run.ring.head
    with pytest.raises(ValueError, match="is too large"):
        run.reporter.report_extra({}, {"s": 1}, b"x" * 5000, "path")
    with pytest.raises(ValueError, match="names of the metrics take"):
        run.reporter.report({f"long name {k} {'x' * 30}": 0.0 for k in range(60)})
    run.drain()
    assert not [record for record in run.records if record[0] in (_core.KIND_CHECKPOINT, _core.KIND_REPORT)]
    assert run.ring.head >= head
    assert run.reporter.report({"m": 1.0}) == CONTINUE


# -- decisions ---------------------------------------------------------------------------------------------


def test_a_strict_run_misses_its_metric() -> None:
    run = Run(strict=True)
    run.reporter.begin(0)
    assert run.reporter.report({"loss": 1.0}) == MISSING
    assert run.reporter.report_extra({"loss": 1.0}, {"m": "text"}, b'{"m":"text"}', "checkpoint") == MISSING
    assert run.reporter.iteration == 0
    assert run.reporter.report({"loss": 1.0, "m": 2.0}) == CONTINUE
    run.drain()
    assert _core.KIND_CHECKPOINT not in [record[0] for record in run.records]
    assert run.last() == {"loss": 1.0, "m": 2.0}


@pytest.mark.parametrize(
    ("limits", "codes"),
    [
        ({"training_iteration": 3}, [0, 0, 1]),
        ({"m": 2.0}, [0, 0, 1]),
        ({"absent": 0.0}, [0, 0, 0]),
        ({"time_total_s": 0.0}, [1]),
        ({"time_total_s": 1e6}, [0, 0, 0]),
        ({"m": 2.0, "training_iteration": 2}, [0, 1]),
    ],
)
def test_thresholds_stop(limits: dict[str, float], codes: list[int]) -> None:
    run = Run(limits=limits)
    run.reporter.begin(0)
    assert [run.reporter.report({"m": float(k)}) for k in range(len(codes))] == codes
    run.reporter.end(codes[-1])
    run.drain()
    assert run.table.was_stopped(0) == (codes[-1] == STOP)


def test_time_total_s_goes_on_from_an_earlier_attempt() -> None:
    run = Run(limits={"time_total_s": 100.0})
    run.reporter.begin(0, 5, 100.0)
    assert run.reporter.report({"m": 1.0}) == STOP
    run.drain()
    assert run.table.iteration(0) == 6
    assert run.table.times(0)[4:] == (100.0, 5)


def test_the_users_own_training_iteration_counts() -> None:
    run = Run(limits={"training_iteration": 10})
    run.reporter.begin(0)
    assert run.reporter.report({"training_iteration": 9}) == CONTINUE
    assert run.reporter.report({"training_iteration": 10}) == STOP


@pytest.mark.parametrize(("value", "code"), [(True, STOP), (False, CONTINUE), (1, STOP), (0.0, CONTINUE)])
def test_done_ends_the_trial(value: Any, code: int) -> None:
    run = Run()
    run.reporter.begin(0)
    assert run.reporter.report({"m": 1.0, "done": value}) == code


def test_nan_reaches_no_threshold() -> None:
    run = Run(limits={"m": -math.inf})
    run.reporter.begin(0)
    assert run.reporter.report({"m": math.nan}) == CONTINUE
    assert run.reporter.report({"m": -math.inf}) == STOP


def test_ask_from_waits_for_the_loop() -> None:
    run = Run()
    run.reporter.begin(0, ask_from=3)
    assert [run.reporter.report({"m": 1.0}) for _ in range(4)] == [CONTINUE, CONTINUE, WAIT, WAIT]
    assert run.ring.urgent
    asked = run.drain()
    assert [(kind, step, flags & 7) for kind, _, flags, step, _, _ in asked] == [
        (_core.KIND_REPORT, s, WAIT) for s in (3, 4)
    ]
    run.reporter.ask_again_from(_core.NEVER_ASK)
    assert run.reporter.report({"m": 1.0}) == CONTINUE


def test_a_trial_that_is_asked_to_stop_stops_and_no_other() -> None:
    run = Run()
    run.reporter.begin(0)
    run.ring.ask_stop(1)
    assert run.reporter.report({"m": 1.0}) == CONTINUE
    run.ring.ask_stop(0)
    assert run.reporter.report({"m": 2.0}) == LATE
    assert run.reporter.report_extra({"m": 2.0}, {"t": 1}, b'{"t":1}', "saved") == LATE
    run.reporter.end(STOP)
    run.reporter.begin(1)
    assert run.reporter.report({"m": 1.0}) == CONTINUE
    run.drain()
    assert (run.table.iteration(0), run.table.value(0)) == (1, 1.0)


def test_what_saves_at_its_end_may_be_late() -> None:
    run = Run()
    run.reporter.takes_late = True
    run.reporter.begin(0)
    run.ring.ask_stop(0)
    assert run.reporter.report({"m": 2.0}) == STOP
    run.drain()
    assert (run.table.iteration(0), run.table.value(0)) == (1, 2.0)


def test_what_adds_up_is_taken_with_its_totals_only() -> None:
    run = Run()
    run.reporter.begin(0)
    steps = {"m": 1.0, "timesteps_this_iter": 5}
    assert run.reporter.report({"m": 1.0}) == CONTINUE
    for _ in range(2):
        assert run.reporter.report(steps) == NOT_PLAIN
        assert run.reporter.report_extra(steps, {}, b"") == CONTINUE
        assert run.reporter.report({"m": 1.0}) == CONTINUE
    assert run.reporter.report({"episodes_this_iter": 5}) == NOT_PLAIN
    run.drain()
    assert run.table.iteration(0) == 5


def test_stop_criteria_come_before_the_rule() -> None:
    asha = Asha(100, 1, 4, 1, True)
    run = Run(rule=asha, limits={"m": 5.0})
    run.reporter.begin(0)
    assert run.reporter.report({"m": 6.0}) == STOP
    assert asha.rung_sizes()[0][0] == 0
    assert run.reporter.end(STOP)  # the end records what the rung did not see
    assert asha.rung_sizes()[0][0] == 1
    run.drain()
    assert run.table.rung(0) == 0


def test_the_rule_runs_on_the_clock_it_is_given() -> None:
    for time_attr, key in (("training_iteration", "m"), ("epoch", "epoch")):
        asha = Asha(16, 1, 4, 1, True)
        run = Run(rule=asha, time_attr=time_attr)
        run.reporter.begin(0)
        codes = [run.reporter.report({"m": 1.0, "epoch": 4.0 * k}) for k in range(1, 5)]
        assert codes == ([0, 0, 0, 0] if key == "m" else [0, 0, 0, 1])
    asha = Asha(16, 1, 4, 1, True)
    run = Run(rule=asha, time_attr="absent")
    run.reporter.begin(0)
    assert [run.reporter.report({"m": 1.0}) for _ in range(20)] == [CONTINUE] * 20


def test_a_full_rung_at_the_end_of_a_trial_is_no_judgement() -> None:
    asha = Asha(100, 1, 4, 1, True, capacity=1)
    run = Run(rule=asha, limits={"m": 0.0})
    for trial in range(2):
        run.reporter.begin(trial)
        assert run.reporter.report({"m": 1.0}) == STOP
        assert run.reporter.end(STOP)
    run.drain()
    assert (run.table.rung(0), run.table.rung(1), asha.sequence) == (0, -1, 1)
    assert [record[1] & 8 for record in run.records if record[0] == _core.KIND_END] == [8, 0]


def test_a_full_rung_in_a_report_is_an_error_that_stays_outside_the_lock() -> None:
    asha = Asha(100, 1, 4, 1, True, capacity=1)
    run = Run(rule=asha)
    for trial in range(3):
        run.reporter.begin(trial)
        if trial:
            with pytest.raises(OverflowError, match="1 trials have reached it"):
                run.reporter.report({"m": 1.0})
        else:
            run.reporter.report({"m": 1.0})
        run.reporter.end()
    assert asha.rung_sizes()[0][0] == 1


# -- a trial's life ----------------------------------------------------------------------------------------


def test_suspend_and_resume_keep_the_counters() -> None:
    run = Run()
    run.reporter.begin(0, pid=os.getpid())
    run.reporter.report({"m": 1.0})
    run.reporter.note(_core.KIND_PAUSED)
    saved = run.reporter.suspend()
    assert run.ring.busy_trial == -1
    run.reporter.begin(1)
    run.reporter.report({"m": 5.0})
    run.reporter.end()
    run.reporter.resume(*saved, _core.NEVER_ASK)
    run.reporter.note(_core.KIND_RESUMED)
    assert (run.ring.busy_trial, run.reporter.iteration) == (0, 1)
    run.reporter.report({"m": 2.0})
    run.drain()
    assert [run.table.iteration(i) for i in (0, 1)] == [2, 1]
    assert run.table.status(0) == "RUNNING"
    assert run.table.pid(0) == os.getpid()


def test_the_current_reporter_is_forgotten_with_its_owner() -> None:
    assert _core.current() is None
    run = Run()
    run.reporter.bind()
    assert _core.current() is run.reporter
    run.reporter.unbind()
    assert _core.current() is None
    run.reporter.bind(True)
    assert _core.current() is run.reporter
    run.reporter.unbind()
    assert _core.current() is None
    run.reporter.begin(0)
    assert _core.current() is run.reporter  # in a worker a thread that nobody knows belongs to the trial that runs
    run.reporter.end()
    assert _core.current() is None
    assert _core.absence() == _core.OVER
    other = Run()
    other.reporter.bind()
    del run
    assert _core.current() is other.reporter
    other.reporter.unbind()
    assert _core.current() is None


def in_thread(call: Callable[[], Any], loan: Any = None) -> Any:
    """What a call gives in another thread, which is lent a reporter or knows of none."""
    told: list[Any] = []

    def run() -> None:
        _core.rebind(loan)
        try:
            told.append(call())
        finally:
            _core.rebind(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return told[0]


def test_a_thread_has_the_reporter_for_the_life_of_its_trial_only() -> None:
    run = Run()
    run.reporter.bind()
    assert _core.loan() is None
    run.reporter.begin(0)
    loan = _core.loan()
    assert in_thread(_core.current, loan) is run.reporter
    assert in_thread(lambda: run.reporter.report({"m": 3.0}), loan) == _core.CONTINUE
    assert in_thread(_core.loan, loan) == loan  # threads of threads belong to the same trial
    assert in_thread(_core.current) is None
    run.reporter.end()
    run.reporter.begin(1)
    assert in_thread(_core.current, loan) is None
    assert in_thread(_core.absence, loan) == _core.OVER
    assert in_thread(lambda: run.reporter.report({"m": -1000.0}), loan) == _core.GONE
    run.reporter.end()
    assert in_thread(_core.loan, loan) == loan
    run.reporter.unbind()
    run.drain()
    assert run.table.value(0) == 3.0
    assert [run.table.iteration(i) for i in (0, 1)] == [1, 0]


def test_a_thread_of_a_trial_that_is_left_is_away_until_it_goes_on() -> None:
    run = Run()
    run.reporter.bind()
    run.reporter.begin(0)
    loan = _core.loan()
    saved = run.reporter.suspend()
    assert in_thread(_core.absence, loan) == _core.AWAY
    run.reporter.begin(1)
    assert in_thread(_core.absence, loan) == _core.AWAY
    assert in_thread(lambda: run.reporter.report({"m": 1.0}), loan) == _core.GONE
    run.reporter.end()
    run.reporter.resume(*saved, _core.NEVER_ASK)
    assert in_thread(_core.current, loan) is run.reporter
    run.reporter.retire()
    assert in_thread(_core.absence, loan) == _core.OVER
    run.reporter.unbind()


def test_only_the_trials_own_thread_waits_for_an_answer() -> None:
    run = Run()
    run.reporter.bind()
    run.reporter.begin(0, ask_from=0)
    loan = _core.loan()
    assert in_thread(lambda: run.reporter.report({"m": 1.0}), loan) == _core.CONTINUE
    assert run.reporter.unasked
    assert run.reporter.report({"m": 1.0}) == _core.WAIT
    assert not run.reporter.unasked
    run.reporter.unbind()


def test_what_one_thread_is_told_to_stop_holds_for_all() -> None:
    run = Run(limits={"training_iteration": 2.0})
    run.reporter.bind()
    run.reporter.begin(0)
    loan = _core.loan()
    assert run.reporter.report({"m": 1.0}) == _core.CONTINUE
    assert in_thread(lambda: run.reporter.report({"m": 1.0}), loan) == _core.STOP
    assert run.reporter.report({"m": 1.0}) == _core.STOP
    run.reporter.end(_core.STOP)
    run.reporter.begin(1)
    assert run.reporter.report({"m": 1.0}) == _core.CONTINUE
    run.reporter.unbind()


def test_threads_that_report_new_names_at_the_same_time_lose_nothing() -> None:
    """Each announces its own sets of names; the collector runs all the time, so that threads change in between."""
    run = Run(capacity=1 << 20)
    run.reporter.bind()
    run.reporter.begin(0)
    loan = _core.loan()
    each, threads = 300, 4
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()

    class Slow:
        """Runs bytecode whenever the collector comes by."""

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            sum(range(50))

    def work(number: int) -> None:
        _core.rebind(loan)
        for i in range(each):
            Slow()
            names = {f"t{number}_{i % 50}": float(i), "m": float(i)}
            assert run.reporter.report(names) == _core.CONTINUE
        _core.rebind(None)

    sys.setswitchinterval(1e-6)
    gc.set_threshold(5, 1, 1)
    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        run.reporter.unbind()
    run.drain()
    assert run.table.iteration(0) == run.table.reports == each * threads
    assert len(run.table.schemas) == 50 * threads


def test_unknown_arguments_are_errors() -> None:
    ring = Ring(bytearray(8192), create=True)
    with pytest.raises(TypeError):
        Reporter(ring, metrics="m")
    with pytest.raises(TypeError):
        Reporter(None)


# ---- trials that are tasks: a reporter each, found by context


def test_reporters_for_tasks_write_into_one_ring_and_share_what_they_tell() -> None:
    run = Run()
    first, second = run.reporter.for_task(), run.reporter.for_task()
    first.begin(0)
    second.begin(1)
    for step in range(3):
        assert first.report({"m": 1.0 + step}) == second.report({"m": 10.0 + step}) == CONTINUE
    assert (first.iteration, second.iteration) == (3, 3)
    first.end()
    second.end()
    run.drain()
    assert [record[0] for record in run.records].count(_core.KIND_SCHEMA) == 1
    assert run.last(0) == {"m": 3.0}
    assert run.last(1) == {"m": 12.0}


def test_a_context_has_its_reporter_until_that_trial_is_over() -> None:
    import contextvars

    run = Run()
    first, second = run.reporter.for_task(), run.reporter.for_task()
    mine, other = contextvars.copy_context(), contextvars.copy_context()
    first.begin(0)
    second.begin(1)
    mine.run(first.enter)
    other.run(second.enter)
    assert _core.current() is None
    assert mine.run(_core.current) is first
    assert other.run(_core.current) is second
    copied = mine.run(contextvars.copy_context)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(copied.run(_core.current)))
    thread.start()
    thread.join()
    assert seen == [first]
    first.suspend()
    assert mine.run(_core.current) is None
    assert mine.run(_core.absence) == _core.AWAY
    second.end()
    assert other.run(_core.current) is None
    assert other.run(_core.absence) == _core.OVER
    assert second.report({"m": 1.0}) == _core.GONE


def test_only_the_tasks_own_step_is_asked_to_wait() -> None:
    import contextvars

    run = Run()
    reporter = run.reporter.for_task()
    reporter.begin(0, ask_from=0)
    context = contextvars.copy_context()
    context.run(reporter.enter)
    assert context.run(reporter.report, {"m": 1.0}) == CONTINUE  # another task of the trial
    assert reporter.unasked
    reporter.step_in()
    assert _core.current() is reporter
    assert reporter.report({"m": 2.0}) == WAIT
    reporter.step_out()
    assert _core.current() is None
    outer = Reporter(run.ring, metric="m")
    outer.bind()
    reporter.step_in()
    assert _core.current() is reporter
    reporter.step_out()
    assert _core.current() is outer
    outer.unbind()


def test_each_task_is_told_to_stop_for_itself() -> None:
    run = Run()
    first, second = run.reporter.for_task(), run.reporter.for_task()
    first.begin(0)
    second.begin(1)
    first.stopped = True
    assert first.report({"m": 1.0}) == LATE
    assert second.report({"m": 1.0}) == CONTINUE
    second.mute(True)
    assert second.report({"m": 1.0}) == STOP
