"""What pyproject.toml asks for, as arguments of pip: a requirement a line.

    python .ci/requirements.py test lint         the required packages, and those of these extras
    python .ci/requirements.py --oldest test     the required packages at the oldest releases that are supported
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ONE_OF_OURS = re.compile(r"fasttune\[([\w,-]+)\]")


def of_extras(extras: list[str]) -> list[str]:
    """The required packages and those of the extras, each once. Extras that are made of extras are taken apart.

    Raises:
        SystemExit: for an extra that is not there.
    """
    found = dict.fromkeys(PROJECT["dependencies"])
    waiting = list(extras)
    for extra in waiting:  # grows while it is read
        if extra not in PROJECT["optional-dependencies"]:
            raise SystemExit(f"pyproject.toml has no extra {extra!r}; it has {', '.join(PROJECT['optional-dependencies'])}")
        for requirement in PROJECT["optional-dependencies"][extra]:
            if ours := ONE_OF_OURS.fullmatch(requirement):
                waiting += [name for name in ours[1].split(",") if name not in waiting]
            else:
                found[requirement] = None
    return list(found)


def with_oldest(requirements: list[str]) -> list[str]:
    """The same, with the required packages at the very releases that their lower bounds name.

    Raises:
        SystemExit: for a required package without a lower bound.
    """
    found = [requirement for requirement in requirements if requirement not in PROJECT["dependencies"]]
    for requirement in PROJECT["dependencies"]:
        bound = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        if bound is None:
            raise SystemExit(f"{requirement!r} in pyproject.toml has no lower bound of the form name>=1.2")
        found.append(f"{bound[1]}=={bound[2]}")
    return found


if __name__ == "__main__":
    extras = [argument for argument in sys.argv[1:] if argument != "--oldest"]
    found = of_extras(extras)
    print("\n".join(with_oldest(found) if "--oldest" in sys.argv else found))
