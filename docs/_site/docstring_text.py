"""Makes Markdown of the docstrings of fasttune, for the reference.

A docstring is written to be read in a terminal: sections with a title (``Args:``, ``Raises:``, ``What runs:``) of lines
``name: text``, and Sphinx's marks for names. Here the titles become bold, their lines a list.
"""

from __future__ import annotations

import re
import textwrap

TITLE = re.compile(r"^([A-Z][\w ,'-]*):$")
ITEM = re.compile(r"^((?:\*{0,2}[\w.]+|\"[^\"]+\")(?:, (?:\*{0,2}[\w.]+|\"[^\"]+\"))*): (.*)$", re.DOTALL)
TITLES = {"Args": "Arguments"}
MARK = re.compile(r":(?:func|class|meth|mod|attr|data|exc):`~?([^`]*)`")


def to_markdown(text: str) -> str:
    """The docstring, dedented, as Markdown."""
    text = MARK.sub(lambda found: f"`{found.group(1).removeprefix('fasttune.')}`", text)
    lines, made, place = text.splitlines(), [], 0
    while place < len(lines):
        title = TITLE.match(lines[place])
        body = _indented(lines, place + 1) if title else []
        if title and body:
            made += ["", f"**{TITLES.get(title.group(1), title.group(1))}**", "", *_as_list(body), ""]
            place += 1 + len(body)
        else:
            made.append(lines[place])
            place += 1
    return "\n".join(made)


def _indented(lines: list[str], start: int) -> list[str]:
    """The lines from ``start`` on that are indented, with empty ones among them."""
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith("    ")):
        end += 1
    return lines[start:end]


def _as_list(body: list[str]) -> list[str]:
    """Lines ``name: text``, each with its continuation lines, as a list; other text as it is."""
    items: list[list[str]] = []
    for line in textwrap.dedent("\n".join(body)).strip("\n").splitlines():
        if (line and not line.startswith(" ")) or not items:
            items.append([line])
        else:
            items[-1].append(line)
    lines = [_item(item) for item in items]
    if any(len(item) > 1 and "" in item for item in lines):  # a list within the list: then a gap between all of them
        lines = [[*item, ""] for item in lines]
    return [line for item in lines for line in item]


def _item(item: list[str]) -> list[str]:
    whole = item[0] + "".join(f"\n{line}" for line in item[1:])
    found = ITEM.match(whole)
    if not found:
        return ["", *textwrap.dedent(whole).splitlines(), ""]
    names = ", ".join(f"`{name}`" for name in found.group(1).split(", "))
    first, *rest = found.group(2).splitlines()
    return [f"- {names}: {first}", *(line if line.startswith("    ") or not line else f"    {line}" for line in rest)]
