"""The block and what passes it, on a model of a terminal."""

from __future__ import annotations

import io

from fake_trials import Clock
from terminal import Model

from fasttune.reporter.screen import AGAIN_S, FEW, Screen


class Terminal(io.StringIO):
    """A file that draws on a model, of as many columns as ``columns`` says."""

    def __init__(self, columns: int = 40, rows: int = 10) -> None:
        super().__init__()
        self.model = Model(columns, rows)
        self.columns = columns
        self.writes = 0

    def write(self, text: str, /) -> int:
        self.writes += 1
        self.model.feed(text.encode())
        return len(text)

    @property
    def lines(self) -> list[str]:
        return self.model.lines


def screen_on(terminal: Terminal, clock: Clock | None = None) -> Screen:
    return Screen(terminal, lambda: terminal.columns, clock=clock or Clock())


def test_the_block_is_drawn_in_its_place_and_grows_and_shrinks() -> None:
    terminal = Terminal()
    screen = screen_on(terminal)
    for block in (["one"], ["one", "two", "three"], ["x" * 40, "y"], ["last"]):
        screen.draw(block)
        assert terminal.lines == block
    before = terminal.writes
    screen.draw(["last"])
    assert terminal.writes == before  # nothing has changed


def test_lines_pass_above_it_however_many_and_long() -> None:
    terminal, clock = Terminal(), Clock()
    screen = screen_on(terminal, clock)
    printed = []
    for i in range(60):
        screen.draw([f"block {i}", "-" * 40])
        clock.now += AGAIN_S * (i % 3) / 2
        text = f"line {i}" if i % 7 else f"line {i} " + "z" * 60
        screen.pass_by(text + "\n")
        printed += [text[:40].rstrip(), text[40:]] if len(text) > 40 else [text]
    screen.draw(["the end"])
    screen.end()
    assert terminal.lines == [*printed, "the end"]


def test_a_burst_is_not_followed_by_the_block_each_time() -> None:
    terminal, clock = Terminal(), Clock()
    screen = screen_on(terminal, clock)
    screen.draw(["block"])
    clock.now += AGAIN_S
    screen.pass_by("first\n")
    assert terminal.lines == ["first", "block"]
    printed = ["first"]
    for k in range(2 * FEW):
        printed.append(f"another {k}")
        screen.pass_by(f"{printed[-1]}\n")
        if k < FEW - 2:
            assert terminal.lines == [*printed, "block"]
    assert terminal.lines == printed
    screen.draw(["block"])
    assert terminal.lines == [*printed, "block"]


def test_a_print_now_and_then_leaves_the_block_where_it_is() -> None:
    """One that came shortly behind a drawing took the block away until the next one: it was gone most of the time."""
    terminal, clock = Terminal(), Clock()
    screen = screen_on(terminal, clock)
    for k in range(20):
        screen.draw([f"block {k}"])
        clock.now += AGAIN_S / 2
        screen.pass_by(f"{k}\n")
        assert terminal.lines[-1] == f"block {k}"
        clock.now += 2 * AGAIN_S


def test_a_last_line_that_is_longer_than_the_terminal_stands_on_empty_rows() -> None:
    terminal = Terminal()
    screen = screen_on(terminal)
    screen.draw(["a table", "of three lines", "that were there"])
    screen.draw(["x" * 50, "end"])
    screen.end()
    assert terminal.lines == ["x" * 40, "x" * 10, "end"]


def test_while_somebody_types_nothing_is_drawn() -> None:
    terminal = Terminal()
    screen = screen_on(terminal)
    screen.draw(["block"])
    with screen.kept_free():
        terminal.model.feed(b"go on? yes\n")
        screen.draw(["block 2"])
        screen.pass_by("printed\n")
    screen.draw(["block 3"])
    assert terminal.lines == ["go on? yes", "printed", "block 3"]
    screen.erase()
    assert terminal.lines == ["go on? yes", "printed"]


def test_a_window_that_has_become_narrower_has_broken_its_lines() -> None:
    terminal = Terminal(columns=40)
    screen = screen_on(terminal)
    screen.draw(["\x1b[31m" + "a" * 40 + "\x1b[0m", "b"])
    terminal.columns = 20  # what was drawn takes three rows now
    assert screen._rows() == 3


def test_a_terminal_that_is_closed_or_knows_few_characters_ends_no_run() -> None:
    class Old(Terminal):
        encoding = "ascii"  # type: ignore[assignment]

        def write(self, text: str, /) -> int:
            text.encode("ascii")
            return super().write(text)

    old = Old()
    screen_on(old).draw(["━━ ● 2 running"])
    assert old.lines == ["?? ? 2 running"]

    class Closed(Terminal):
        def flush(self) -> None:
            raise OSError(5, "Input/output error")

    closed = Closed()
    screen = screen_on(closed)
    for _ in range(3):
        screen.draw(["block"])
        screen.pass_by("line\n")
        screen.erase()
    assert closed.writes == 1
