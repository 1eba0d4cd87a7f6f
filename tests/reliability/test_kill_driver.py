"""kill -9 of the driver, and of everything, again and again (C2 rows 1, 2, 10)."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crash_script
import pytest
from laboratory import Lab, check_acks

from fasttune.storage import SqliteStorage
from rounds import thinned

SAMPLES, REPORTS = 200, 4


def attempts(state: Any) -> dict[int, int]:
    """Starts of each trial that has ended."""
    return {i: state.table.attempt(i) for i in range(len(state)) if state.status(i) == "TERMINATED"}


def a_round(lab: Lab, seed: int, record: Callable[[str, object], None], where: str | None = None) -> None:
    """Run, be killed, be looked at, go on; one to four times; then to the end."""
    rng = random.Random(seed)
    executor = where or rng.choice(["inline", "process", "process", "process"])
    told = lab.told(
        "steady", executor, samples=SAMPLES, reports=REPORTS, seed=seed, workers=rng.randint(1, 4), resume="AUTO"
    )
    ended: dict[int, int] = {}
    reopen_ms = []
    kills = 0
    for _ in range(rng.randint(1, 4)):
        process = lab.start(told)
        if not lab.wait_for_acks(rng.randint(1, SAMPLES * REPORTS // 3), process):
            break
        if rng.random() < 0.3:
            lab.kill_everything()
        else:
            process.send_signal(signal.SIGKILL)
        kills += 1
        assert process.wait() in (-signal.SIGKILL, 0)
        began = time.perf_counter()
        state = lab.reopen()
        reopen_ms.append(1000 * (time.perf_counter() - began))
        check_acks(lab, state)
        assert len(state) <= SAMPLES
        now = attempts(state)
        assert {i: now.get(i) for i in ended} == ended, "a finished trial was run again"
        ended = now
        lab.nobody_left()
    analysis = crash_script.run(told)
    state = lab.reopen()
    assert check_acks(lab, state) >= SAMPLES * REPORTS
    assert len(state) == SAMPLES
    assert state.table.counts()["TERMINATED"] == SAMPLES
    assert {i: state.table.attempt(i) for i in ended} == ended, "a finished trial was run again"
    assert [trial.config["x"] for trial in analysis.trials] == undisturbed(seed)
    assert not (Path(lab.experiment) / "rings").exists()
    record("kills", kills)
    record("acks", len(lab.acks()))
    record("reopen_ms", max(reopen_ms, default=0.0))


def undisturbed(seed: int) -> list[float]:
    """The configs of the same experiment when nobody kills it."""
    import fasttune as tune
    from fasttune.search.basic_variant import BasicVariantGenerator

    space = {"x": tune.uniform(0, 1), "reports": REPORTS, "acks": ""}
    variants = BasicVariantGenerator(random_state=seed).variants(SAMPLES, space)
    return [variants.config(i)["x"] for i in range(SAMPLES)]


@pytest.mark.parametrize("seed", thinned(range(20), lambda seed: seed < 7))
def test_C2_1_every_acknowledged_report_survives_kill_of_the_driver(
    lab: Lab, seed: int, record_property: Callable[[str, object], None]
) -> None:
    a_round(lab, seed, record_property)


@pytest.mark.parametrize("seed", thinned(range(20), lambda seed: seed < 4))
def test_C2_1_every_acknowledged_report_of_threads_survives_kill_of_their_process(
    lab: Lab, seed: int, record_property: Callable[[str, object], None]
) -> None:
    a_round(lab, seed, record_property, "thread")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20, 220))
def test_C2_1_every_acknowledged_report_survives_200_kills(
    lab: Lab, seed: int, record_property: Callable[[str, object], None]
) -> None:
    a_round(lab, seed, record_property)


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_C2_2_nested_kills_while_resuming_converge(
    lab: Lab, kills: int, record_property: Callable[[str, object], None]
) -> None:
    """Each session is killed after a handful of reports, so most kills fall into the resuming itself."""
    rng = random.Random(7)
    told = lab.told("steady", "process", samples=60, reports=REPORTS, seed=7, workers=2, resume="AUTO")
    ended: dict[int, int] = {}
    for _ in range(kills):
        process = lab.start(told)
        lab.wait_for_acks(rng.randint(1, 12), process)
        lab.kill_everything()
        process.wait()
        state = lab.reopen()
        check_acks(lab, state)
        now = attempts(state)
        assert {i: now.get(i) for i in ended} == ended
        ended = now
    crash_script.run(told)
    state = lab.reopen()
    check_acks(lab, state)
    assert state.table.counts()["TERMINATED"] == len(state) == 60
    record_property("nested kills", kills)


def test_C2_10_a_killed_driver_leaves_no_lock(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    told = lab.told("steady", "process", samples=2, workers=2, reports=2000, resume="AUTO")
    process = lab.start(told)
    assert lab.wait_for_acks(20, process)
    process.kill()
    process.wait()
    began = time.monotonic()
    analysis = crash_script.run(told)
    record_property("most seconds that the next run took, all in all", round(time.monotonic() - began, 2))
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}


def test_C2_1_killed_before_it_began(lab: Lab) -> None:
    """An experiment that has a folder and nothing in it can be gone on with, and reading it says what is wrong."""
    from fasttune.error import JournalError
    from fasttune.storage.sqlite import SqliteStorage

    Path(lab.experiment).mkdir()
    SqliteStorage(lab.experiment).close()
    with pytest.raises(JournalError, match="killed before it began"):
        lab.reopen()
    analysis = crash_script.run(lab.told("steady", "inline", samples=3, resume="AUTO"))
    assert len(analysis.trials) == 3


def test_C2_1_rings_that_were_killed_while_they_were_made(lab: Lab) -> None:
    """Ring files of no bytes, of zeros only and with a torn record are no reason to refuse the experiment."""
    crash_script.run(lab.told("steady", "inline", samples=3))
    rings = Path(lab.experiment) / "rings"
    rings.mkdir()
    (rings / "7.ring").write_bytes(b"")
    (rings / "8.ring").write_bytes(bytes(4096 + 8192))
    assert check_acks(lab, lab.reopen()) == 3 * 4
    assert len(list(rings.iterdir())) == 2  # who looks changes nothing
    assert len(crash_script.run(lab.told("steady", "inline", samples=4, resume="AUTO")).trials) == 4
    assert not rings.exists()


def test_C2_1_a_torn_ring_gives_what_is_whole(lab: Lab) -> None:
    """After a power cut the pages of a ring may be older than its header."""
    from fasttune import _core

    crash_script.run(lab.told("steady", "inline", samples=1))
    storage = SqliteStorage(lab.experiment)
    config = b'{"experiment": 0, "config": {"x": 1}, "params": {"x": 1}}'
    storage.append([(0, 0, _core.encode(_core.KIND_CONFIG, 1, 0, config))])
    storage.close()
    rings = Path(lab.experiment) / "rings"
    rings.mkdir()
    memory = bytearray(_core.Ring.nbytes(8192))
    ring = _core.Ring(memory, create=True)
    ring.write(_core.KIND_START, 1)
    whole = ring.head
    ring.write(_core.KIND_END, 1)
    memory[4096 + whole : 4096 + whole + 8] = bytes(8)
    (rings / "9.ring").write_bytes(memory)
    del ring
    with pytest.warns(RuntimeWarning, match="is damaged"):
        state = lab.reopen()
    assert [state.status(i) for i in range(len(state))] == ["TERMINATED", "RUNNING"]
    assert len(lab.reopen()) == 2
