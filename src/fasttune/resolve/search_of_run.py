"""The searcher of a run: the one that was asked for, or that suits, with all that it is to know before its first suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.resolve.earlier import chosen_before, near_before
from fasttune.resolve.searchers import (
    announce_changes,
    check_searcher_wanted,
    chosen_searcher,
    resolve_searcher,
    total_of,
    with_priors,
    without_duplicates,
)
from fasttune.resolve.settings import goal_of

if TYPE_CHECKING:
    from fasttune.config import Experiment
    from fasttune.resolve.call import Call
    from fasttune.schedulers import TrialScheduler
    from fasttune.search import SearchAlgorithm, Searcher
    from fasttune.search.base import Metric, Mode


class SearchOfRun(NamedTuple):
    """What comes of ``search_alg``, and of what is said beside it."""

    searcher: Searcher | SearchAlgorithm
    near: list[dict[str, Any]]  # good configs of earlier experiments
    num_samples: int | None  # as many trials there are, where that is not what was asked for


def searcher_of_run(
    call: Call,
    scheduler: TrialScheduler,
    experiments: list[Experiment],
    metas: list[dict[str, Any]],
    metric: str | None,
    mode: str | None,
    objectives: Mapping[str, Any],
    seed: int,
    verbose: int,
) -> SearchOfRun:
    """The searcher, told metrics, space and what is known already.

    Args:
        experiments: with their whole spaces.
        metas: of the sessions that the run goes on from; [] of a new one.
        metric, mode, objectives: of the run: one metric or none, or several with their modes.
        seed: of a searcher that is made here.
    """
    first = experiments[0]
    search_alg: Any = call.search_alg
    if search_alg is None and call.scheduler is None and call.max_t is not None:
        search_alg = "auto"
    if (isinstance(search_alg, str) and search_alg.lower() == "auto") or (search_alg is None and objectives):
        search_alg = chosen_before(metas) or chosen_searcher(first, metric, scheduler, verbose, len(objectives))
    announces = search_alg == "auto" and verbose > 0
    near = near_before(metas)
    if not near and call.warm_start_from is not None:
        from fasttune.warm_start.earlier import good_configs

        near = good_configs(call.warm_start_from, objectives or goal_of(metric, mode, scheduler, search_alg))
    search_alg = with_priors(search_alg, scheduler, experiments, seed, bool(near))
    num_samples = None
    if call.on_duplicate != "allow":
        search_alg = without_duplicates(search_alg, call.on_duplicate, experiments, seed)
        num_samples = total_of(search_alg, first)
    goal: tuple[Metric, Mode] = (list(objectives), list(objectives.values())) if objectives else (metric, mode)
    searcher = resolve_searcher(search_alg, *goal, experiments, call.max_concurrent, seed)
    if announces:
        announce_changes(searcher)
    _teach(searcher, call, scheduler, near)
    return SearchOfRun(searcher, near, num_samples)


def _teach(searcher: Any, call: Call, scheduler: TrialScheduler, near: list[dict[str, Any]]) -> None:
    """What is known from elsewhere: results by their values, and configs that were good."""
    if call.warm_start is not None:
        from fasttune.warm_start.experiment import as_warm_start

        as_warm_start(call.warm_start).teach(searcher)
    check_searcher_wanted(searcher, scheduler)
    if near and scheduler.takes_searcher:
        from fasttune.warm_start.earlier import begin_near

        begin_near(searcher, near)
