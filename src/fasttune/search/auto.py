"""``search_alg="auto"``: which searcher a run gets, and one that is another as the run goes on.

The limits come from ``python -m benchmarks.search_quality``: ranks by kind of space and budget, and time per suggestion.
"""

from __future__ import annotations

import importlib.util
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.search.base import Metric, Mode
from fasttune.search.space_searcher import FAILED, SpaceSearcher, Told
from fasttune.space.dimensions import Dimensions, Numbers
from fasttune.space.domains import SearchSpaceError

if TYPE_CHECKING:
    from fasttune.search.gp import GPSearch
    from fasttune.search.tpe import TPESearch

MOST_LEARNT = 50_000  # trials; with more, blocks of random configs find as much, for nothing
FEWEST, MOST = 3, 200  # results between which a Gaussian process has its turns; it begins with spread configs of its own
MOST_IN_FRONTS = 150  # trials of several metrics, below which their model finds more than evolution
MOST_OBJECTIVES = 4  # beyond it, what a point covers takes long to compute
MOST_DIMENSIONS = 20  # of a Gaussian process
RECENT = 20  # trials, the middle of whose times is what a trial takes
PATIENCE = 100  # times as long as its suggestion a trial takes, for that to cost next to nothing
FIRST_SECONDS, MORE_SECONDS = 2e-3, 2e-5  # of a suggestion of a Gaussian process, and for each result
TPE, GP = "tpe", "gp"
# The names that are chosen, by the kind of searcher that they give.
KINDS = {
    "AutoSearch": "auto",
    "BasicVariantGenerator": "random",
    "RandomSearch": "random",
    "GPSearch": "gp",
    "MOTPESearch": "motpe",
    "NSGA2Search": "nsga2",
    "PriorSearch": "prior",
    "TPESearch": "tpe",
    "TuneBOHB": "bohb",
}


class Choice(NamedTuple):
    """A name for ``create_searcher``, and why."""

    name: str
    why: str


def choose(space: Mapping[str, Any], num_samples: int, *, has_metric: bool, has_budgets: bool = False, objectives: int = 0) -> Choice:
    """The searcher for a space and a number of trials (-1: any).

    Args:
        has_metric: one metric is known, which can be learnt from.
        objectives: how many metrics there are, if there are several.
        has_budgets: the scheduler says at which budget a result was reached (HyperBandForBOHB).
    """
    if not has_metric and not objectives:
        return Choice("random", "there is no single metric to learn from")
    try:
        dimensions = Dimensions(space, "a searcher")
    except SearchSpaceError:
        return Choice("random", "a grid is walked through")
    if not len(dimensions):
        return Choice("random", "there is nothing to search")
    if objectives:
        return _of_several(num_samples, objectives)
    if has_budgets:
        return Choice("bohb", "the scheduler tells budgets")
    if num_samples > MOST_LEARNT:
        return Choice("random", f"more than {MOST_LEARNT:,} trials")
    if len(dimensions) > MOST_DIMENSIONS:
        return Choice("tpe", "good in every space, and it costs microseconds")
    if importlib.util.find_spec("scipy") is None:
        return Choice("tpe", 'good in every space; "gp" is better where trials take long, and needs scipy')
    return Choice("auto", '"tpe" first, and "gp" if trials turn out to take long')


def _of_several(num_samples: int, objectives: int) -> Choice:
    if 0 < num_samples <= MOST_IN_FRONTS and objectives <= MOST_OBJECTIVES:
        trials = f"{num_samples} trial{'s' if num_samples > 1 else ''}"
        return Choice("motpe", f"it finds the most of the front of {objectives} metrics in {trials}")
    return Choice("nsga2", f"it searches for the front of {objectives} metrics, at the same cost however many trials there are")


class AutoSearch(SpaceSearcher):
    """TPE, and a Gaussian process where its suggestions cost little beside a trial: ``search_alg="auto"``.

    The first three results are TPE's. From there to 200 results the Gaussian process has its turn while a trial takes a hundred times
    as long as one of its suggestions (some tenths of a second), times the trials that are out: who suggests for many at once
    has less time for each. What a trial takes is the middle of the last 20 times that results tell (``time_total_s``), so a run
    that is gone on with, and one in virtual time, decide as the first one did. Both learn from all results.
    Without scipy, beyond 20 dimensions, and where no result tells a time, it is TPE alone.

    Args:
        space, metric, mode, points_to_evaluate, evaluated_rewards: see ``SpaceSearcher``; one metric.
        seed: of everything random.

    Attributes:
        says: is called with a line when another one has its turn, and why; None: nobody is told.
    """

    ranks = True

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: Metric = None,
        mode: Mode = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.says: Callable[[str], None] | None = None
        self._said = TPE
        self._picked = TPE
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._results: list[tuple[Numbers, Told]] = []  # what a Gaussian process is told when it is made
        self._n = 0  # results
        super().__init__(space, metric, mode, points_to_evaluate, evaluated_rewards, seed=seed)

    def _begin(self, dimensions: Dimensions) -> None:
        from fasttune.search.tpe import TPESearch

        self._tpe: TPESearch = TPESearch(self._config, self._metric, self._mode, seed=self._seed)
        self._tpe._live = self._live
        self._gp: GPSearch | None = None
        self._may_model = len(dimensions) <= MOST_DIMENSIONS and importlib.util.find_spec("scipy") is not None

    # -- whose turn it is -----------------------------------------------------------------------------------------------

    @property
    def _model_may_have_turns(self) -> bool:
        return bool(self._may_model and self._seconds and FEWEST <= self._n < MOST)

    def _pick(self) -> str:
        """A function of what was asked and told."""
        if not self._model_may_have_turns:
            return TPE
        needs = PATIENCE * (FIRST_SECONDS + MORE_SECONDS * self._n) * (1 + len(self._live))
        if self._picked == GP:  # times differ: it stays until they are clearly shorter
            needs *= 0.5
        return GP if self._takes() > needs else TPE

    def _takes(self) -> float:
        """Seconds of a trial."""
        return sorted(self._seconds)[len(self._seconds) // 2]

    def _why(self) -> str:
        if self._picked == GP:
            return f"a trial takes {self._takes():.3g} s, much longer than its suggestions"
        if self._n >= MOST:
            return f"with {MOST} results it finds as much, and it costs microseconds"
        return "trials have become short"

    def _announce(self) -> None:
        if self.says is None or self._said == self._picked:
            return
        self._said = self._picked
        self.says(f'fasttune: search_alg="auto" is "{self._picked}" from here on: {self._why()}')

    def _model(self) -> GPSearch:
        """The Gaussian process, told of everything when it has its first turn."""
        if self._gp is None:
            from fasttune.search.gp import GPSearch

            self._gp = GPSearch(self._config, self._metric, self._mode, seed=self._seed)
            self._gp._live = self._live
            for numbers, told in self._results:
                self._gp._tell(None, numbers, told)
        return self._gp

    def _ask(self, trial_id: str) -> Numbers | str | None:
        self._picked = self._pick()
        self._announce()
        if self._picked == TPE:
            self._tpe._asked = self._asked
            return self._tpe._ask(trial_id)
        model = self._model()
        model._asked = self._asked
        numbers = model._ask(trial_id)
        self._tpe.watch(trial_id, numbers)
        return numbers

    def suggest_batch(self, trial_ids: Sequence[str]) -> list[dict[str, Any] | str | None]:
        """As one by one; many at once, where they are TPE's, as :meth:`TPESearch.suggest_batch`."""
        is_plain = self._begun and not self._points and not self._near
        if is_plain and not self._model_may_have_turns:
            self._tpe._asked = self._asked
            drawn = self._tpe._draw_batch(trial_ids)
            if drawn is not None:
                self._picked = TPE
                self._announce()
                return [self._suggestion_of(numbers) for numbers in drawn]
        return super().suggest_batch(trial_ids)

    def replay(self, trial_id: str, suggestion: dict[str, Any]) -> dict[str, Any]:
        says, self.says = self.says, None  # what happened is not news
        if self._begun:
            self._tpe.expect(suggestion)
        try:
            made = super().replay(trial_id, suggestion)
        finally:
            self.says = says
            if self._begun:
                self._tpe.expect(None)
        if self._begun:
            self._tpe.watch(trial_id, self._live[trial_id])
        return made

    # -- learning -------------------------------------------------------------------------------------------------------

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        seconds = result.get("time_total_s") if result else None
        if trial_id in self._live and isinstance(seconds, (int, float)) and math.isfinite(seconds):
            self._seconds.append(float(seconds))
        super().on_trial_complete(trial_id, result, error)

    def _report(self, trial_id: str, numbers: Numbers, told: Told) -> None:
        self._tpe._report(trial_id, numbers, told)

    def on_pause(self, trial_id: str) -> None:
        self._tpe.on_pause(trial_id)

    def _tell(self, trial_id: str | None, numbers: Numbers, told: Told) -> None:
        self._n += 1
        self._tpe._tell(trial_id, numbers, told)
        if not self._may_model:
            return
        if self._n > MOST:  # its time is over
            self._gp, self._results, self._may_model = None, [], False
            return
        if told.is_broken:  # its score is no value of the model's
            told = Told((), FAILED, told.step)
        self._results.append((numbers, told))
        if self._gp is not None:
            self._gp._tell(trial_id, numbers, told)

    def get_state(self) -> dict[str, Any]:
        """All but who is told of changes."""
        return {key: value for key, value in super().get_state().items() if key != "says"}
