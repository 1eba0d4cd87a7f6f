"""Between the numbers of searchers and those of the compiled Parzen estimators (``_draws/tpe.pxi``).

The core knows normal dimensions only as their place in [0, 1]; all others have the same numbers here and there.
"""

from __future__ import annotations

from typing import Any

from fasttune import _draws
from fasttune.argument import checked_count, checked_number
from fasttune.space.dimensions import CATEGORICAL, FLOAT, INTEGER, NORMAL, Dimensions, Numbers

KIND = {FLOAT: _draws.Tpe.FLOAT, INTEGER: _draws.Tpe.INTEGER, CATEGORICAL: _draws.Tpe.CATEGORICAL, NORMAL: _draws.Tpe.UNIT}


class Parzen:
    """The dimensions of a space as the core has them."""

    def __init__(self, dimensions: Dimensions) -> None:
        self.dimensions = dimensions
        self._normals = [k for k, one in enumerate(dimensions) if one.kind == NORMAL]

    def model(self, seed: int, **settings: Any) -> _draws.Tpe:
        """A model that has not seen anything."""
        rules = [(KIND[d.kind], d.low, d.high, d.log, d.q, d.parent, d.option) for d in self.dimensions]
        return _draws.Tpe(rules, seed, **settings)

    def inward(self, numbers: Numbers) -> Numbers:
        """Numbers of a config as the core has them."""
        if not self._normals:
            return numbers
        out = list(numbers)
        for k in self._normals:
            number = numbers[k]
            out[k] = None if number is None else self.dimensions[k].unit(number)
        return out

    def outward(self, numbers: Numbers) -> Numbers:
        """What the core suggests, as numbers of a config; the list is changed."""
        for k in self._normals:
            unit = numbers[k]
            numbers[k] = None if unit is None else self.dimensions[k].value(unit)
        return numbers

    def suggested(self, model: _draws.Tpe, row: int, numbers: Numbers) -> Numbers:
        """What the core suggests, as numbers of a config; the list is changed. Its row is what a later session, which is told the
        config, makes of that: a value that was rounded is another place than the one that was drawn."""
        numbers = self.outward(numbers)
        if self._normals:
            model.change(row, self.inward(numbers))
        return numbers


def model_settings(n_candidates: int, gamma: float, most_good: int, multivariate: bool, prior_weight: float) -> dict[str, Any]:
    """What users say of a model, as the core takes it. ValueError for what is out of range."""
    return {
        "candidates": checked_count("n_candidates", n_candidates, least=1),
        "gamma": checked_number("gamma, the share of good trials,", gamma, above=0, below=1),
        "most_good": checked_count("most_good", most_good, least=1),
        "multivariate": multivariate,
        "prior_weight": checked_number("prior_weight", prior_weight, above=0, finite=True),
    }
