"""Text tables in the style of psql, as users of tuners know them.

A column is numeric when all its cells read as numbers: it is aligned at the decimal point and its title to
the right. Other columns are aligned to the left. Titles may have several lines.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from fasttune.metric_values import whole_text

TITLE_PADDING = 2  # a column is at least this much wider than its title


def draw_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The table as text, without a line end after the last line."""
    columns = [_column(title, [row[place] for row in rows]) for place, title in enumerate(titles)]
    widths = [width for width, _, _ in columns]
    head_height = max((len(head) for _, head, _ in columns), default=0)
    lines = [_rule(widths, "+", "+")]
    for height in range(head_height):
        lines.append(
            _line([head[height] if height < len(head) else " " * width for width, head, _ in columns])
        )
    lines.append(_rule(widths, "|", "|"))
    for place in range(len(rows)):
        lines.append(_line([cells[place] for _, _, cells in columns]))
    lines.append(_rule(widths, "+", "+"))
    return "\n".join(lines)


def cut_cell(value: object, width: int) -> object:
    """The value as it may stand in a table: numbers as they are, texts cut to ``width``.

    A cut text ends with four digits made from the whole of it, so that different texts stay different.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = whole_text(str(value))
    if len(text) <= width:
        return text
    return f"{text[: max(0, width - 5)]}_{zlib.crc32(text.encode()) & 0xFFFF:04x}"


def wrap_title(title: str, width: int) -> str:
    """A title in at most two lines of ``width``; what is too long for that loses its beginning."""
    if len(title) <= width:
        return title
    if len(title) > 2 * width:
        title = "..." + title[3 - 2 * width :]
    import textwrap

    return "\n".join(textwrap.wrap(title, width=width))


def _column(title: str, cells: list[object]) -> tuple[int, list[str], list[str]]:
    """One column: its width, the lines of its title and its cells, all of that width."""
    numeric, texts = _format_cells(cells)
    head = title.split("\n")
    width = max([max(map(len, head)) + TITLE_PADDING, *map(len, texts)])
    if numeric:
        return width, [line.rjust(width) for line in head], [text.rjust(width) for text in texts]
    return width, [line.ljust(width) for line in head], [text.ljust(width) for text in texts]


def _format_cells(cells: list[object]) -> tuple[bool, list[str]]:
    kinds = {_kind(cell) for cell in cells if cell is not None}
    if kinds == {"int"}:
        return True, ["" if cell is None else str(cell) for cell in cells]
    if kinds and kinds <= {"int", "float"}:
        texts = ["" if cell is None else format(float(str(cell)), "g") for cell in cells]
        after = [_after_point(text) for text in texts]
        return True, [text + " " * (max(after) - digits) for text, digits in zip(texts, after, strict=True)]
    return False, ["" if cell is None else str(cell).strip() for cell in cells]


def _kind(cell: object) -> str:
    """What a cell reads as: "int", "float" or "text". A text of digits, like some trial ids, is a number."""
    text = str(cell)
    if isinstance(cell, bool):
        return "text"
    try:
        int(text)
    except ValueError:
        pass
    else:
        return "int"
    try:
        number = float(text)
    except ValueError:
        return "text"
    if isinstance(cell, str) and not math.isfinite(number) and text.lower() not in ("inf", "-inf", "nan"):
        return "text"
    return "float"


def _after_point(text: str) -> int:
    """How many characters stand after the decimal point or the e; -1 when there is neither."""
    if _kind(text) != "float":
        return -1
    point = text.rfind(".")
    if point < 0:
        point = text.lower().rfind("e")
    return len(text) - point - 1 if point >= 0 else -1


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(widths: Sequence[int], left: str, right: str) -> str:
    return left + "+".join("-" * (width + 2) for width in widths) + right
