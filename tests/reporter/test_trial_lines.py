"""Lines that trials print: how they are put together, and what is seen of them."""

from __future__ import annotations

import logging
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from fake_trials import Clock

from fasttune import trial_lines
from fasttune.trial_lines import LineSink, NamedStream, mark
from fasttune.whole_lines import STATE_S, WholeLines, begun_mark, between_marks


class Trials:
    """Which trial runs in which thread."""

    def __init__(self) -> None:
        self.of: dict[int, Any] = {}

    def run(self, trial: int) -> None:
        context = SimpleNamespace(trial_id=f"ab12c_{trial:05d}")
        self.of[threading.get_ident()] = SimpleNamespace(trial=trial, context=context)

    def current(self) -> Any:
        return self.of.get(threading.get_ident())


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    found = Trials()
    monkeypatch.setattr(trial_lines, "current", found.current)
    return found


class Written:
    """A place, its two streams, and what was put there, in pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.place = LineSink(self.pieces.append)
        self.out = NamedStream(self.place, 1, 1)
        self.err = NamedStream(self.place, 2, 2)

    @property
    def text(self) -> str:
        return b"".join(self.pieces).decode()


@pytest.fixture
def written(trials: Trials) -> Written:
    return Written()


def test_each_line_bears_its_trial_and_is_put_in_one_piece(written: Written, trials: Trials) -> None:
    print("before", file=written.out)
    trials.run(3)
    print("a", 1, "b", file=written.out)
    print("two\nlines", file=written.out)
    print(file=written.err)
    assert written.pieces == [
        b"before\n",
        b"(ab12c_00003) a 1 b\n",
        b"(ab12c_00003) two\n",  # the end of its second line comes later
        b"(ab12c_00003) lines\n",
        b"(ab12c_00003) \n",
    ]


def test_a_trial_that_ends_within_its_line_does_not_give_it_to_the_next(written: Written, trials: Trials) -> None:
    trials.run(0)
    print("half", end="", file=written.out)
    trials.run(1)
    print("whole", file=written.out)
    assert written.text == "(ab12c_00000) half\n(ab12c_00001) whole\n"
    print("half", end="", file=written.out)
    assert not written.place.settled
    written.place.settle()
    assert written.place.settled
    assert written.text.endswith("(ab12c_00001) half\n")


def test_a_line_that_was_flushed_goes_on_where_it_was(written: Written, trials: Trials) -> None:
    trials.run(0)
    print("a", end="", flush=True, file=written.out)
    print("b", file=written.out)
    print("c", end="", flush=True, file=written.out)
    print("warned", file=written.err)
    print("d", file=written.out)
    assert written.text.splitlines() == [
        "(ab12c_00000) ab",
        "(ab12c_00000) c",
        "(ab12c_00000) warned",
        "(ab12c_00000) d",
    ]


def test_threads_do_not_tear_each_others_lines(written: Written, trials: Trials) -> None:
    met = threading.Barrier(2)

    def prints(number: int) -> None:
        trials.run(number)
        for i in range(50):
            print("thread", end=" ", file=written.out)
            if i % 10 == 0:
                met.wait()
            print(number, i, file=written.out)

    threads = [threading.Thread(target=prints, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = written.text.splitlines()
    for number in (1, 2):
        mine = [line for line in lines if line.startswith(f"(ab12c_0000{number})")]
        assert mine == [f"(ab12c_0000{number}) thread {number} {i}" for i in range(50)]


def test_whoever_ends_lines_meanwhile_nothing_is_lost(written: Written) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        printing = threading.Thread(target=lambda: [print(i, end=" ", file=written.out) for i in range(20_000)])
        printing.start()
        while printing.is_alive():
            written.place.settle()
        printing.join()
    finally:
        sys.setswitchinterval(before)
    written.place.settle()
    assert written.text.split() == [str(i) for i in range(20_000)]
    assert written.text.count("\n") > 1


def test_bytes_and_whatever_text_there_is(written: Written) -> None:
    written.out.buffer.write(b"\xff\xfe\n")
    print("\ud83d", file=written.out)
    handler = logging.StreamHandler(written.err)
    handler.emit(logging.LogRecord("x", 20, "", 1, "logged %d", (5,), None))
    assert written.pieces == [b"\xff\xfe\n", b"\\ud83d\n", b"logged 5\n"]
    assert not written.out.isatty()
    with pytest.raises(TypeError, match="int"):
        written.out.write(5)  # type: ignore[arg-type]
    written.out.close()
    with pytest.raises(ValueError, match="closed"):
        print("more", file=written.out)


NAME = b"(ab12c_00001) "


def test_pieces_make_whole_lines_and_those_without_a_name_get_one() -> None:
    lines = WholeLines()
    assert lines.feed(b"(ab12c_00000) a\nb", NAME) == b"(ab12c_00000) a\n"
    assert lines.feed(b"c\n\nd\n(e) f", NAME) == NAME + b"bc\n" + NAME + b"\n" + NAME + b"d\n"
    assert lines.end(NAME) == NAME + b"(e) f\n"
    assert lines.end(NAME) == b""


def test_of_a_progress_bar_the_last_state_is_seen_now_and_then_and_at_its_end() -> None:
    clock = Clock()
    lines = WholeLines(clock)
    seen = b""
    for percent in range(100):
        clock.now += STATE_S / 20
        seen += lines.feed(b"\r(ab12c_00001)  %d %%" % percent, NAME)
    assert [int(line.split()[1]) for line in seen.splitlines()] == [20, 40, 60, 80]
    assert lines.feed(b"\r(ab12c_00001)  100 %\n", NAME) == b"(ab12c_00001)  100 %\n"
    assert lines.feed(b"\r 5 %\r\r\n", NAME) == NAME + b" 5 %\n"  # erased, then ended
    assert lines.feed(b"windows\r\n", NAME) == NAME + b"windows\n"


def test_of_two_progress_bars_a_state_is_seen_now_and_then_and_the_last_one() -> None:
    """The lower one goes down a line and up again, each time."""
    clock = Clock()
    lines = WholeLines(clock)
    seen = lines.feed(b"\router 0", NAME)
    for i in range(40):
        clock.now += STATE_S / 20
        seen += lines.feed(b"\n\rinner %d\x1b[A" % i, NAME)
        if i % 10 == 9:
            seen += lines.feed(b"\router %d" % i, NAME)
    seen += lines.feed(b"\n\r       \r\x1b[A\router 40\n", NAME)
    seen += lines.feed(b"printed\n", NAME)
    said = [line.removeprefix(NAME) for line in seen.splitlines()]
    assert said[0] == b"outer 0"
    assert said[-2:] == [b"outer 40", b"printed"]
    assert len(said) <= 6


def test_what_would_move_the_cursor_is_left_out_and_colours_stay() -> None:
    lines = WholeLines()
    red = b"\x1b[31mred\x1b[0m"
    assert lines.feed(red + b"\n", NAME) == NAME + red + b"\n"
    assert lines.feed(b"a\x1b[2Jb\x1b[3;4Hc\x1b]0;title\x07d\x07\x08e\n", b"") == b"abcde\n"
    assert lines.feed(NAME + b"\x1b[A\nafter\n", NAME) == NAME + b"after\n"  # a line that is nothing but that is none
    assert lines.feed(b"\ttab\n", b"") == b"\ttab\n"


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = WholeLines()
    got = b"".join(lines.feed(b"x" * 10_000, NAME) for _ in range(20))
    assert got.count(b"x") > 100_000
    assert got.count(b"\n") == 2


def test_marks_say_whose_the_text_before_them_is() -> None:
    assert between_marks(b"text\n") == [(b"text\n", -1)]
    for printed in (b"\x1e" + b"9" * 5000, b"\x1e7\nrest", b"\x1e\x027\n", b"\x1e\x02" + b"1" * 11 + b"\x03\n"):
        assert between_marks(printed) == [(printed, -1)]  # nobody left these
        assert begun_mark(printed) == -1
    for whole in (mark(0), mark(123456)):
        assert [begun_mark(b"ab" + whole[:n]) for n in range(1, len(whole) + 1)] == [2] * (len(whole) - 1) + [-1]
    found = between_marks(b"a\n" + mark(4) + mark(5) + b"b\n" + mark(123456) + b"c")
    assert found == [(b"a\n", 4), (b"", 5), (b"b\n", 123456), (b"c", -1)]


@pytest.mark.parametrize("pieces", [[b"1%\r", b"2%\r", b"3%\r", b"done\n"], [b"1%\r2%\r", b"3%", b"\r", b"done\n"]])
def test_a_state_that_ends_with_a_return_is_replaced_by_the_next(pieces: list[bytes]) -> None:
    """print(..., end="\r"): all states stood one behind the other."""
    lines = WholeLines(lambda: 0.0)
    assert b"".join(lines.feed(piece, b"(t_00000) ") for piece in pieces) == b"(t_00000) done\n"
    lines = WholeLines(lambda: 0.0)
    for piece in pieces[:-1]:
        lines.feed(piece)
    assert lines.end() == b"3%\n"
