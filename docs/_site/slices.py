"""Draws the picture of README.md and of the tutorial: docs/pictures/slices.svg.

    python docs/_site/slices.py

The score over each parameter of a run under ASHA, on the data and with the model of the tutorial. The run has a seed and one
trial at a time, so it is the same run each time; the picture is that of ``analysis.plot.slices``.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

ROOT = Path(__file__).resolve().parent.parent.parent
PICTURE = ROOT / "docs" / "pictures" / "slices.svg"
TUTORIAL = ROOT / "docs" / "tutorial.md"


def blocks_of_tutorial() -> list[str]:
    """Its Python blocks."""
    return re.findall(r"^```python\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(folder: str, num_samples: int = 150) -> tune.ExperimentAnalysis:
    """The run of the picture: trainable and space are those of the tutorial."""
    data, trainable, space, *_ = blocks_of_tutorial()
    names: dict[str, Any] = {"__name__": "tutorial"}
    for block, last in ((data, None), (trainable, "guessed ="), (space, "analysis =")):
        exec(block.split(last)[0] if last else block, names)  # what they define, without the run that follows
    return tune.run(
        names["train"],
        config=names["space"],
        num_samples=num_samples,
        metric="loss",
        mode="min",
        scope="all",
        scheduler=ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3),
        name="tumours",
        storage_path=folder,
        executor="inline",
        seed=1,
        verbose=0,
    )


def main() -> None:
    """Writes the picture."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fasttune", "figure.facecolor": "white"})
    with tempfile.TemporaryDirectory() as folder:
        figure = run(folder).plot.slices(backend="matplotlib")
        figure.set_size_inches(9, 4.2)
        figure.savefig(PICTURE, format="svg", metadata={"Date": None})
    print(PICTURE.relative_to(ROOT), f"{PICTURE.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
