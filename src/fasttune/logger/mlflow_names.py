"""Names as MLflow takes them, for the logger and the export: without this module MLflow itself is not there."""

from __future__ import annotations

import re

LONGEST_NAME = 250  # characters
ALIEN = re.compile(r"[^\w\-. :/]", re.ASCII)  # characters that MLflow's names do not have


class Names:
    """Called with a name, gives one that MLflow allows: letters, digits, blanks and - _ . : /, and a path that says no way
    upwards. Two that would become the same are told apart by a number; the same name is given the same one each time."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._known:
            # what is no path of its own, as "../a", is refused too
            plain = "/".join(part for part in ALIEN.sub("_", name).split("/") if part.strip(".")) or "_"
            made, number = plain[:LONGEST_NAME], 1
            while made in self._taken:
                number += 1
                made = f"{plain[: LONGEST_NAME - 10]}_{number}"
            self._taken.add(made)
            self._known[name] = made
        return self._known[name]
