"""Hands each docstring to :mod:`docstring_text` when its object has been read: an extension of griffe, with which mkdocstrings
reads sources."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.append(str(Path(__file__).resolve().parent))  # this is loaded by its path: no package

from docstring_text import to_markdown


class Docstrings(griffe.Extension):
    """Makes Markdown of all docstrings."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Griffe calls it for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
