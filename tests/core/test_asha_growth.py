"""The rungs' memory grows with what they hold: decisions stay those of the plain rule, whoever grows it, dies, or gets none."""

from __future__ import annotations

import bisect
import errno
import math
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import in_child

from fasttune._core import Asha, Reporter, Ring

OPEN_ENDED: dict[str, Any] = {
    "max_t": 1000, "grace_period": 1, "reduction_factor": 3, "brackets": 3, "maximise": True
}  # fmt: skip
PIECES = (1024, 2048, 8191, 16383, 32767)  # values behind which a rung asks for pages, or another level
MIB = 1 << 20


@pytest.fixture
def memory() -> Iterator[int]:
    """A file that processes share."""
    fd = os.memfd_create("rungs")
    yield fd
    os.close(fd)


def one_rung(fd: int = -1, **given: Any) -> Asha:
    """A rule whose trials all reach the one rung there is."""
    return Asha(1, 1, 3, 1, True, **{"stop_last_trials": False, "fd": fd, **given})


def held_bytes(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file becomes longer than that: who tries gets EFBIG, or is killed if it does not ignore SIGXFSZ as Python does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def values(n: int, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [draw.choice([draw.random(), float(draw.randrange(9)), draw.gauss(0, 1e9)]) for _ in range(n)]


def is_below(sorted_others: list[float], v: float, rank: bool) -> bool:
    """Whether the rule stops ``v``; as ``model_asha_rank``, on a list that is kept sorted."""
    n = len(sorted_others)
    if rank:
        return n - bisect.bisect_right(sorted_others, v) + 1 > max(1, math.floor((n + 1) / 3))
    if not n:
        return False
    at = (1 - 1 / 3) * 100 / 100 * (n - 1)
    low, t = sorted_others[math.floor(at)], at - math.floor(at)
    high = sorted_others[min(math.floor(at) + 1, n - 1)]
    return v < (high - (high - low) * (1 - t) if t >= 0.5 else low + (high - low) * t)


@pytest.mark.parametrize("rank", [False, True])
@pytest.mark.parametrize("where", ["private", "shared"])
@pytest.mark.parametrize("order", ["any", "rising", "falling"])
def test_C2_decisions_stay_those_of_the_plain_rule_while_it_grows(
    memory: int, where: str, rank: bool, order: str
) -> None:
    asha = one_rung(memory if where == "shared" else -1, rank=rank)
    told = values(PIECES[-1] + 100)
    if order != "any":
        told.sort(reverse=order == "falling")
    held: list[float] = []
    for trial, value in enumerate(told):
        assert asha.judge(trial, 1, value) == is_below(held, value, rank), trial
        bisect.insort(held, value)
    assert asha.state()["rungs"][0][3] == told
    again = one_rung(rank=rank)
    again.restore(asha.state())
    assert (again.cutoffs(), again.state()["rungs"]) == (asha.cutoffs(), asha.state()["rungs"])


def test_a_second_process_sees_what_the_first_one_has_grown(memory: int) -> None:
    """Also one that only looks, and one that comes when there are many."""
    asha, onlooker = one_rung(memory), one_rung(memory, create=False)
    told = values(20_000)
    for trial, value in enumerate(told):
        asha.judge(trial, 1, value)
    assert onlooker.cutoffs() == asha.cutoffs()
    late = one_rung(memory, create=False)
    assert late.state()["rungs"] == asha.state()["rungs"]
    assert late.judge(20_000, 1, 0.5) == is_below(sorted(told), 0.5, False)
    assert asha.judge(20_001, 1, 0.5) == is_below(sorted([*told, 0.5]), 0.5, False)


@pytest.mark.parametrize("rank", [False, True])
def test_processes_that_grow_at_once_hold_what_all_recorded(memory: int, rank: bool) -> None:
    """Each of the rungs is grown by whoever comes to it first."""
    told: dict[str, Any] = {"max_t": 9, "grace_period": 1, "reduction_factor": 3, "brackets": 1, "maximise": True}
    asha = Asha(**told, rank=rank, fd=memory)
    each = 6_000

    def work(seed: int) -> None:
        mine = Asha(**told, rank=rank, fd=memory, create=False)
        for k, value in enumerate(values(each, seed)):
            for rung in range(3):
                mine.record(k, rung, value + rung)

    pids = [in_child(lambda seed=seed: work(seed)) for seed in range(3)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert asha.rung_sizes() == [[3 * each] * 3]
    wanted = sorted(value for seed in range(3) for value in values(each, seed))
    for _, rung, _, log in asha.state()["rungs"]:
        assert sorted(log) == [value + rung for value in wanted]
    if not rank:
        cutoffs = [cutoff for _, cutoff in reversed(asha.cutoffs()[0])]
        assert cutoffs == [np.percentile([v + rung for v in wanted], (1 - 1 / 3) * 100) for rung in range(3)]


@pytest.mark.parametrize("n", PIECES)
def test_a_process_that_dies_behind_growing_leaves_what_was(memory: int, n: int) -> None:
    asha, twin = one_rung(memory), one_rung()
    for trial, value in enumerate(values(n)):
        assert asha.judge(trial, 1, value) == twin.judge(trial, 1, value)
    assert os.waitpid(in_child(lambda: asha.die_inside_lock(0, 0.25)), 0)[1] == 0
    for trial, value in enumerate(values(3000, seed=2), n):
        assert asha.judge(trial, 1, value) == twin.judge(trial, 1, value)
    assert asha.state()["rungs"][0][3] == twin.state()["rungs"][0][3]


@pytest.mark.parametrize("n", PIECES)
def test_a_process_killed_while_it_grows_leaves_what_was(memory: int, n: int) -> None:
    """It is killed inside the call that has pages backed, with the rung's lock in its hands."""
    asha, twin = one_rung(memory), one_rung()
    for trial, value in enumerate(values(n)):
        assert asha.judge(trial, 1, value) == twin.judge(trial, 1, value)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with files_end_at(4096):
            asha.judge(n, 1, 0.25)

    assert os.WTERMSIG(os.waitpid(in_child(work), 0)[1]) == signal.SIGXFSZ
    for trial, value in enumerate(values(3000, seed=2), n):
        assert asha.judge(trial, 1, value) == twin.judge(trial, 1, value)
    assert asha.state()["rungs"][0][3] == twin.state()["rungs"][0][3]
    assert asha.sequence == twin.sequence


def test_processes_killed_at_any_moment_while_rungs_grow(memory: int) -> None:
    import time

    asha = one_rung(memory)
    draw = random.Random(5)

    def work() -> None:
        mine = one_rung(memory, create=False)
        seed = random.Random(os.getpid())
        while True:
            mine.record(0, 0, seed.random())

    while (n := asha.rung_sizes()[0][0]) < 20_000:
        pids = [in_child(work) for _ in range(2)]
        time.sleep(draw.uniform(0.002, 0.01))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        asha.record(0, 0, 0.5)
        (_, _, _, log), n = asha.state()["rungs"][0], asha.rung_sizes()[0][0]
        assert len(log) == n
        assert asha.cutoffs()[0][0][1] == np.percentile(log, (1 - 1 / 3) * 100)


# -- no memory ---------------------------------------------------------------------------------------------------------


def test_no_memory_is_an_error_and_judges_nobody(memory: int) -> None:
    asha, twin = one_rung(memory), one_rung()
    for trial, value in enumerate(values(1024)):
        assert asha.judge(trial, 1, value) == twin.judge(trial, 1, value)
    before = repr(asha.state())
    with files_end_at(4096):
        for call in (lambda: asha.judge(1024, 1, 0.5), lambda: asha.complete(1024, 1, 0.5)):
            with pytest.raises(OSError, match="no memory for the values of a rung") as caught:
                call()
            assert caught.value.errno == errno.EFBIG
    assert repr(asha.state()) == before
    assert asha.judge(1024, 1, 0.5) == twin.judge(1024, 1, 0.5)


def test_a_report_that_no_rung_has_memory_for_says_so(memory: int) -> None:
    asha = one_rung(memory)
    for trial, value in enumerate(values(1024)):
        asha.record(trial, 0, value)
    ring = Ring(bytearray(4096 + (1 << 16)), create=True)
    reporter = Reporter(ring, metric="m", rule=asha)
    reporter.begin(1024)
    with files_end_at(4096):
        with pytest.raises(OSError, match="no memory for the values of a rung"):
            reporter.report({"m": 0.5})
        assert reporter.end()
    assert asha.rung_sizes() == [[1024]]


def test_a_number_that_another_file_has_by_now_is_not_written_to(memory: int, tmp_path: Path) -> None:
    """Somebody closed all that was open, as programs do that become daemons, and opened files of their own."""
    (tmp_path / "mine").write_bytes(b"mine" * 10_000)
    asha = one_rung(memory)
    twin_fd = next(
        int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) != memory and _same_file(int(fd), memory)
    )

    def work() -> None:
        file = os.open(tmp_path / "mine", os.O_RDWR)
        os.dup2(file, twin_fd)
        for trial in range(20_000):
            try:
                asha.judge(trial, 1, 1.0)
            except OSError as error:
                os._exit(7 if error.errno == errno.EBADF else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]) == 7
    assert (tmp_path / "mine").read_bytes() == b"mine" * 10_000


def _same_file(fd: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.fstat(other))
    except OSError:
        return False


def test_a_file_that_cannot_be_shared_is_named() -> None:
    with pytest.raises(OSError, match="file descriptor 99999 is none that can be shared"):
        one_rung(99999)
    with pytest.raises(TypeError):
        Asha("no number", 1, 3, 1, True)  # type: ignore[arg-type]
    os.fstat(0)  # one that was not made closes nobody's file


# -- how much it is ----------------------------------------------------------------------------------------------------


def test_open_ended_rungs_begin_small_and_grow_with_the_trials(memory: int) -> None:
    """They asked for 5.3 GiB at once."""
    before = _mapped()
    asha = Asha(**OPEN_ENDED, fd=memory)
    assert os.fstat(memory).st_size < MIB
    assert _mapped() - before < MIB
    for trial in range(200_000):
        asha.judge(trial, 1, float(trial))
        if trial + 1 in (1_000, 10_000, 200_000):  # two numbers for each value, and some pages ahead
            n = sum(sum(sizes) for sizes in asha.rung_sizes())
            assert 16 * n < held_bytes(memory) < 16 * n + MIB
            assert _mapped() - before < 64 * n + 2 * MIB
    assert n > 100_000


def test_a_private_rule_begins_small() -> None:
    before = _mapped()
    asha = Asha(**OPEN_ENDED)
    assert _mapped() - before < MIB
    asha.judge(0, 1, 1.0)
    assert _mapped() - before < 2 * MIB


def _mapped() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@pytest.mark.parametrize("where", ["private", "shared"])
def test_a_limited_address_space_is_enough(where: str) -> None:
    """`ulimit -v`, under which no memory may be asked for that is not needed."""
    script = f"""
import os, resource
from fasttune._core import Asha
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)
asha = Asha(**{OPEN_ENDED!r}, fd=os.memfd_create("rungs") if {where == "shared"} else -1)
for trial in range(50_000):
    asha.judge(trial, 1, float(trial % 977))
try:
    for trial in range(10**9):
        asha.record(trial, 2, 1.0)
        asha.record(trial, 1, 1.0) if asha.bracket(trial) < 2 else None
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "Cannot allocate memory" in done.stdout, done.stderr


def test_a_rule_that_has_settled_shows_what_it_holds_and_holds_no_file(memory: int) -> None:
    rule, twin = one_rung(memory), one_rung()
    worker = one_rung(memory, create=False)
    for trial, value in enumerate(values(3_000)):  # the worker's: the other one has mapped none of the levels
        assert worker.judge(trial, 1, value) == twin.judge(trial, 1, value)
    before = len(os.listdir("/proc/self/fd"))
    rule.let_go()
    rule.let_go()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert (rule.cutoffs(), rule.rung_sizes(), rule.num_stopped) == (twin.cutoffs(), twin.rung_sizes(), twin.num_stopped)
    assert rule.state()["rungs"] == twin.state()["rungs"]
    twin.let_go()  # has no file
    assert twin.rung_sizes() == [[3_000]]
