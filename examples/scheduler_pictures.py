"""What each scheduler does to the same 100 learning curves, as a picture.

    python examples/scheduler_pictures.py                       writes scheduler_pictures.png
    python examples/scheduler_pictures.py --output pictures.svg

The curves are simulated: a loss that falls from 1 towards a floor that depends on the config, at a pace that does too,
with noise. Some start well and end badly, which is what a scheduler has to see through. Eight trials run at a time, in
virtual time (``tune.simulate``). Needs matplotlib and scipy.
"""

from __future__ import annotations

import argparse
import inspect
import math
import random
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import fasttune as tune
from fasttune.bench.loads import is_population, measurable, standard_maker
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search import TuneBOHB

TRIALS, EPOCHS, WORKERS = 100, 81, 8
SPACE = {
    "floor": tune.uniform(0.02, 0.6),
    "pace": tune.uniform(0.03, 0.5),
    "noise": tune.randint(0, 2**31),
}
STOPPED, ENDED, BEST = "#9db7cf", "#e08a2c", "#b2182b"


def loss(config: dict[str, Any], epoch: int) -> float:
    """The curve of a config: the same noise each time it is asked."""
    return truth(config, epoch) + random.Random(config["noise"] * 1_000 + epoch).gauss(0.0, 0.012)


def truth(config: dict[str, Any], epoch: int) -> float:
    return config["floor"] + (1.0 - config["floor"]) * math.exp(-config["pace"] * epoch)


class Outcome(NamedTuple):
    """What a scheduler made of the curves."""

    label: str
    curves: list[list[float]]  # as far as each was trained
    epochs: int  # that were trained, those included that a copy had overwritten
    loss: float  # after 81 epochs, without noise, of the config that was best where the longest curves end


def outcome(label: str, scheduler: Any, search_alg: Any = None) -> Outcome:
    """Run the curves under a scheduler, in virtual time."""
    made = tune.simulate(
        loss,
        SPACE,
        num_samples=TRIALS,
        steps=EPOCHS,
        scheduler=scheduler,
        search_alg=search_alg,
        metric="loss",
        mode="min",
        workers=WORKERS,
        seed=1,
    )
    curves = [list(frame["loss"]) for frame in made.trial_dataframes.values()]
    longest = max(len(curve) for curve in curves)
    ends = [
        (curve[-1], truth(trial.config, EPOCHS))
        for curve, trial in zip(curves, made.trials, strict=True)
        if len(curve) == longest
    ]
    return Outcome(label, curves, made.epochs, min(ends)[1])


def outcomes() -> list[Outcome]:
    """Every registered scheduler that judges curves, FIFO first. What populations may change is the pace."""
    found = []
    for label, kind in measurable().items():
        taken = inspect.signature(kind).parameters
        if is_population(kind):
            own = {"time_attr": "training_iteration", "perturbation_interval": 9, "seed": 0, "clip": True}
            own |= {"hyperparam_mutations": {"pace": SPACE["pace"]}, "hyperparam_bounds": {"pace": [0.03, 0.5]}}
            scheduler = kind(**{key: value for key, value in own.items() if key in taken})
        else:
            scheduler = standard_maker(kind)()
        found.append(outcome(label, scheduler))
    found.append(outcome("HyperBandForBOHB, TuneBOHB", HyperBandForBOHB(max_t=EPOCHS), TuneBOHB(seed=1)))
    return sorted(found, key=lambda one: (one.label != "FIFO", one.label.lower()))


def draw(found: list[Outcome], path: str) -> None:
    """A panel for each scheduler: stopped curves are pale, and end in a dot."""
    columns = min(3, len(found))
    rows = math.ceil(len(found) / columns)
    figure = Figure(figsize=(4.6 * columns, 0.5 + 3.3 * rows), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(found) :]:
        panel.set_visible(False)
    for panel, one in zip(panels.flat, found, strict=False):
        _panel(panel, one)
    for panel in panels[:, 0]:
        panel.set_ylabel("loss")
    for panel in panels[-1]:
        panel.set_xlabel("epoch")
    figure.suptitle(f"{TRIALS} learning curves under each scheduler", x=0.01, ha="left", fontweight="bold")
    figure.savefig(path, dpi=130)


def _panel(panel: Any, one: Outcome) -> None:
    longest = max(map(len, one.curves))
    best = min((curve for curve in one.curves if len(curve) == longest), key=lambda curve: curve[-1])
    for curve in one.curves:
        epochs = range(1, len(curve) + 1)
        if len(curve) < longest:
            panel.plot(epochs, curve, color=STOPPED, linewidth=0.7, zorder=1)
            panel.plot(len(curve), curve[-1], ".", color=STOPPED, markersize=3.5, zorder=2)
        elif curve is not best:
            panel.plot(epochs, curve, color=ENDED, linewidth=0.6, alpha=0.6, zorder=3)
    panel.plot(range(1, longest + 1), best, color=BEST, linewidth=1.6, zorder=4)
    whole = len(one.curves) * EPOCHS
    text = f"{one.label}: {one.epochs:,} epochs, {one.epochs / whole:.0%}; loss {one.loss:.3f}"
    panel.set_title(text, loc="left", fontsize=9.5)
    panel.set_xscale("log", base=3)
    panel.set_xticks([1, 3, 9, 27, 81], ["1", "3", "9", "27", "81"])
    panel.set_ylim(0.0, 1.02)
    panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", default="scheduler_pictures.png", help=".png, .svg or .pdf")
    asked = parser.parse_args()
    found = outcomes()
    for one in found:
        print(f"{one.label:<27} {one.epochs:>6,} epochs, found a loss of {one.loss:.3f}")
    draw(found, asked.output)
    print(f"drawn into {asked.output}")


if __name__ == "__main__":
    main()
