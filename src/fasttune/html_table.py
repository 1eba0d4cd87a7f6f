"""Small tables for notebooks. Every text is escaped, and cut: what users named or reported is no markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

LONGEST = 60  # characters of a value
MOST_VALUES = 30  # of a dict that are shown


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line of titles."""
    titles = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def facts_html(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """A table of one thing: a name and a text in each line."""
    lines = "".join(
        f"<tr><th style='text-align: left'>{escape(name)}</th><td style='text-align: left'>{escape(text)}</td></tr>"
        for name, text in facts
    )
    return f"<p><b>{escape(title)}</b></p><table><tbody>{lines}</tbody></table>"


def listed(values: Mapping[str, Any]) -> str:
    """Names and values in one line."""
    shown = ", ".join(f"{name}={short(value)}" for name, value in islice(values.items(), MOST_VALUES))
    more = len(values) - MOST_VALUES
    return f"{shown} and {more} more" if more > 0 else shown


def short(value: Any) -> str:
    """A value in a few characters: six digits of a float, the beginning of a long text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    try:
        text = str(value)
    except Exception as error:  # an object of the user's; how it prints must not cost the table
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
