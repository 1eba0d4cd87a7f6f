"""Records arrive whole, once and in order, whoever is killed when."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttune import _core
from fasttune._core import Ring
from rounds import rounds

sys.path.insert(0, str(Path(__file__).parents[1]))
from model import SlowRing

CAPACITY = 4096
HEAD, READ, RELEASED = 64, 128, 192  # bytes of the header's positions


def new_ring(capacity: int = CAPACITY, **given: Any) -> tuple[bytearray, Ring]:
    memory = bytearray(4096 + capacity)
    return memory, Ring(memory, create=True, **given)


def payloads(data: Any) -> list[bytes]:
    """Payloads of the records in what was taken; each carries its own length in front."""
    return [payload[2 : 2 + int.from_bytes(payload[:2], "little")] for *_, payload in _core.decode(data)]


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(2, "little") + payload


steps = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=600)),
    st.tuples(st.just("write"), st.binary(max_size=30)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("release"), st.none()),
)


@given(trace=st.lists(steps, max_size=120), rounds=st.integers(1, 3))
@settings(max_examples=rounds(2000), deadline=None)
def test_writes_takes_and_releases_as_a_list_would(trace: list[tuple[str, Any]], rounds: int) -> None:
    _, ring = new_ring()
    slow = SlowRing(CAPACITY)
    got: list[bytes] = []
    expected: list[bytes] = []
    for what, payload in trace * rounds:
        if what == "write":
            assert ring.write(_core.KIND_META, 1, 2, framed(payload)) == slow.write(framed(payload))
        elif what == "take":
            data = ring.take()
            taken = slow.take()
            assert (data is None) == (ring.position == slow.read and not taken and data is None)
            got += payloads(data) if data is not None else []
            expected += [payload[2:] for payload in taken]
        else:
            ring.release()
            slow.released = slow.read
        assert (ring.head, ring.position, ring.released) == (slow.head, slow.read, slow.released)
    assert got == expected


def test_a_full_ring_takes_nothing_until_it_is_released() -> None:
    _, ring = new_ring()
    while ring.write(_core.KIND_META, payload=b"x" * 40):
        pass
    assert ring.filled > 0.95
    first = bytes(ring.take())
    assert not ring.write(_core.KIND_META, payload=b"x" * 40)
    assert ring.take() is None
    ring.release()
    assert ring.filled == 0.0
    assert ring.write(_core.KIND_META, payload=b"y" * 40)
    assert len(_core.decode(first)) == CAPACITY // 64


def test_the_largest_record_always_fits_an_empty_ring() -> None:
    _, ring = new_ring()
    largest = CAPACITY // 2 - 24
    for shift in range(60):
        assert ring.write(_core.KIND_META, payload=b"s" * (8 * shift))
        while ring.take() is not None:
            ring.release()
        assert ring.write(_core.KIND_META, payload=b"l" * largest)
        while ring.take() is not None:
            ring.release()
    with pytest.raises(ValueError, match="cannot fit a ring of 4096 bytes"):
        ring.write(_core.KIND_META, payload=b"l" * (largest + 1))


def test_a_sealed_ring_is_read_from_its_file_alone() -> None:
    """From any position that a journal may have reached, across the ring's end, by the bytes that nobody may change."""
    memory = bytearray(Ring.nbytes(CAPACITY))
    ring = Ring(memory, create=True, epoch=7.0)
    positions, written = [], 0
    while ring.head < 3 * CAPACITY:
        if not ring.write(_core.KIND_META, written, payload=b"x" * (written % 5 * 16)):
            ring.take()
            ring.release()
            continue
        positions.append((ring.head, written))
        written += 1
    image = bytes(memory)
    for position, number in positions:
        entries, why = _core.read_ring(image, position)
        if ring.head - position > CAPACITY:
            assert (entries, "overwritten" in why) == ([], True)
            continue
        told = [record[3] for _, data in entries for record in _core.decode(data)]
        assert (told, why) == (list(range(number + 1, written)), "")
        assert [place for place, _ in entries] == sorted(place for place, _ in entries)
        assert not entries or entries[-1][0] == ring.head
    assert _core.read_ring(image, ring.head + 8) == ([], f"it is older than the journal: it ends at {ring.head}, "
                                                         f"the journal at {ring.head + 8}")


@pytest.mark.parametrize("size", [0, 4096, 4096 + 2048, 4096 + 5000, 8191])
def test_a_buffer_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="4096 bytes plus a power of two"):
        Ring(bytearray(size), create=True)


def test_damaged_headers_are_refused() -> None:
    memory, ring = new_ring()
    ring.write(_core.KIND_META)
    del ring
    good = bytes(memory)
    for at, value, message in [
        (0, 7, "not a ring"),
        (8, 8192, "not a ring"),
        (HEAD, CAPACITY + 8, "more bytes are held than fit"),
        (RELEASED, 2**40, "more bytes are held than fit"),
        (READ, 2**40, "more bytes are held than fit"),
        (HEAD, 23, "not between two records"),
        (READ, 4, "not between two records"),
    ]:
        memory[:] = good
        struct.pack_into("<Q", memory, at, value)
        with pytest.raises(ValueError, match=message):
            Ring(memory)
    memory[:] = good
    assert Ring(memory).head == 24


@given(at=st.integers(0, 255), bits=st.integers(1, 255))
@settings(max_examples=rounds(3000), deadline=None)
def test_any_damage_of_a_header_is_refused_or_harmless(at: int, bits: int) -> None:
    memory, ring = new_ring()
    for k in range(5):
        ring.write(_core.KIND_META, k, payload=b"p" * 50)
    del ring
    memory[at] ^= bits
    try:
        ring = Ring(memory)
        while (data := ring.take()) is not None:
            _core.decode(data)
    except ValueError:
        pass


def test_decode_names_the_place_of_damage() -> None:
    data = b"".join(_core.encode(_core.KIND_META, k, payload=b"abc") for k in range(3))
    assert [record[3] for record in _core.decode(data)] == [0, 1, 2]
    for cut in (1, 7, 8, 31):
        with pytest.raises(ValueError, match=f"at byte 64 of {96 - cut}"):
            _core.decode(data[: 96 - cut])
    for size in (0, 4, 8, 16, 33, 40, 2**31):
        broken = bytearray(data)
        struct.pack_into("<I", broken, 32, size)
        with pytest.raises(ValueError, match="damaged record at byte"):
            _core.decode(broken)


def test_a_call_is_heard_once() -> None:
    """A reader that was called may not sleep; when it has looked, it may."""
    _, ring = new_ring()
    assert ring.sleep_begin()
    ring.sleep_end()
    ring.call()
    assert ring.urgent
    assert not ring.sleep_begin()
    assert ring.sleep_begin(), "a call without a record kept the reader awake for ever"
    ring.sleep_end()
    ring.write(_core.KIND_META, urgent=True)
    assert not ring.sleep_begin()
    ring.take()
    assert ring.sleep_begin()
    ring.sleep_end()
    ring.write(_core.KIND_META, urgent=False)
    assert ring.sleep_begin()
    ring.sleep_end()


def test_a_sleeping_reader_is_rung_up() -> None:
    reader, writer = os.pipe()
    try:
        os.set_blocking(reader, False)
        memory, ring = new_ring(bell_fd=writer)
        ring.call()
        with pytest.raises(BlockingIOError):
            os.read(reader, 8)  # it is awake
        ring.sleep_begin()
        assert ring.sleep_begin()
        ring.call()
        assert len(os.read(reader, 64)) == 8
        ring.call()
        with pytest.raises(BlockingIOError):
            os.read(reader, 8)  # one bell is enough
        del memory, ring
    finally:
        os.close(reader)
        os.close(writer)


def test_words_beside_the_records() -> None:
    _, ring = new_ring(epoch=5.0)
    assert (ring.epoch, ring.busy_trial, ring.orders, ring.left) == (5.0, -1, 0, 0)
    ring.order_done()
    ring.set_span(10, 13)
    assert (ring.orders, ring.left) == (1, 3)


# -- spans -------------------------------------------------------------------------------------------------


@given(n=st.integers(0, 40), takes=st.lists(st.booleans(), max_size=60))
def test_a_span_is_handed_out_once(n: int, takes: list[bool]) -> None:
    _, ring = new_ring()
    ring.set_span(100, 100 + n)
    got: list[int] = []
    for back in takes:
        if back:
            part = ring.take_back()
            assert (part is None) == (len(got) == n)
            got += range(*part) if part else ()
        elif (trial := ring.next_trial()) >= 0:
            got.append(trial)
        assert ring.left == n - len(got)
    while (trial := ring.next_trial()) >= 0:
        got.append(trial)
    assert sorted(got) == list(range(100, 100 + n))


def test_low_water_calls_the_loop_once() -> None:
    _, ring = new_ring()
    ring.set_low_water(2)
    ring.set_span(0, 6)
    called = []
    while ring.next_trial() >= 0:
        called.append(not ring.sleep_begin())
        ring.sleep_end()
    assert called == [False, False, False, True, False, False]


# -- processes ---------------------------------------------------------------------------------------------


def mapped(file: Any) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0)


def ring_file(capacity: int) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    file.truncate(4096 + capacity)
    return file


def numbered(k: int) -> bytes:
    """A payload that shows whether it is whole."""
    return struct.pack("<I", k) * (1 + k * 7919 % 60)


def check_numbered(data: Any, expected: int) -> int:
    for kind, _, _, trial, step, _, payload in _core.decode(data):
        assert (kind, trial, step) == (_core.KIND_META, expected, expected + 1)
        assert payload.rstrip(b"\0") == numbered(expected).rstrip(b"\0")
        expected += 1
    return expected


def write_numbered(ring: Ring, n: int) -> None:
    for k in range(n):
        while not ring.write(_core.KIND_META, k, k + 1, numbered(k), 0, k % 16 == 0):
            time.sleep(0.0001)


def test_a_reader_and_a_writer_process() -> None:
    n = 20_000
    with ring_file(1 << 14) as file:
        ring = Ring(mapped(file), create=True)
        pid = in_child(lambda: write_numbered(Ring(mapped(file)), n))
        seen = 0
        while seen < n:
            if not ring.wait(0.5):
                continue
            while (data := ring.take()) is not None:
                seen = check_numbered(data, seen)
            ring.release()
        assert os.waitpid(pid, 0)[1] == 0
        assert (ring.take(), ring.filled) == (None, 0.0)


def test_what_a_killed_writer_published_is_whole() -> None:
    draw = random.Random(5)
    for _ in range(25):
        with ring_file(1 << 14) as file:
            ring = Ring(mapped(file), create=True)
            pid = in_child(lambda: write_numbered(Ring(mapped(file)), 1_000_000))
            until, seen = time.monotonic() + draw.uniform(0.0, 0.008), 0
            while time.monotonic() < until:
                while (data := ring.take()) is not None:
                    seen = check_numbered(data, seen)
                ring.release()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            del ring
            ring = Ring(mapped(file))  # as the next process finds it
            while (data := ring.take()) is not None:
                seen = check_numbered(data, seen)
            assert ring.position == ring.head


def test_a_span_raced_by_two_processes_runs_each_trial_once() -> None:
    rounds, n = 200, 300
    with ring_file(1 << 21) as file:
        ring = Ring(mapped(file), create=True)
        begun, begin = os.pipe()  # the child waits: on a busy machine it would be through before this process looks

        def work() -> None:
            mine = Ring(mapped(file))
            mine.set_span(0, n)
            os.read(begun, 1)
            for k in range(rounds):
                if k:
                    mine.set_span(k * n, (k + 1) * n)
                while (trial := mine.next_trial()) >= 0:
                    assert mine.write(_core.KIND_META, trial)

        pid = in_child(work)
        while (first := ring.take_back()) is None:
            os.sched_yield()
        os.write(begin, b"x")
        back = [*range(*first)]
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            part = ring.take_back()
            back += range(*part) if part else ()
            for _ in range(200):
                pass  # long enough for some trials to be run
        assert ended[1] == 0
        os.close(begun)
        os.close(begin)
        ran = [record[3] for record in _core.decode(ring.take())]
        assert ran
        assert sorted(ran + back) == list(range(rounds * n))


def test_what_was_taken_keeps_the_memory_that_it_lies_in() -> None:
    """The view owned nothing: looked at behind its ring's end it read unmapped memory."""
    memory = mmap.mmap(-1, 4096 + CAPACITY)
    ring = Ring(memory, create=True)
    assert ring.write(_core.KIND_ERROR, 3, 1, framed(b"what was said"))
    taken = ring.take()
    assert taken is not None
    assert taken.readonly
    first, before = taken[:24], bytes(taken)
    del ring, memory
    assert payloads(taken) == [b"what was said"]
    del taken
    assert bytes(first) == before[:24]


def test_views_of_one_ring_are_of_what_was_taken_when_they_were_made() -> None:
    _, ring = new_ring()
    views = []
    for word in (b"one", b"two", b"three"):
        assert ring.write(_core.KIND_ERROR, 3, 1, framed(word))
        views.append(ring.take())
    assert [payloads(view) for view in views] == [[b"one"], [b"two"], [b"three"]]
    assert ring.take() is None


def test_a_machine_of_the_other_byte_order_is_refused() -> None:
    code = "import sys; sys.byteorder = 'big'; import fasttune._core"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "ImportError: fasttune's records are little-endian" in told.stderr
