"""Text of others on a terminal: names, values and notes of an experiment may come from a stranger."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with a space for what moves the cursor, changes colours, or does worse; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(printable(text).split())


def one_sentence(text: str) -> str:
    """An error of several lines on one. Where a line does not end a sentence, a semicolon does."""
    lines = [" ".join(line.split()) for line in printable(text).splitlines()]
    told = ""
    for line in filter(None, lines):
        told += (" " if not told or told[-1] in ".:;,!?" else "; ") + line
    return told.strip()
