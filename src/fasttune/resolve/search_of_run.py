"""The searcher of a run: the one that was asked for, or that suits, with all that it is to know before its first suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.resolve.earlier import chosen_before, constraints_before, kind_before, near_of_run, tell_what_is_forgotten
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
from fasttune.resolve.words import teller

if TYPE_CHECKING:
    from fasttune.config import Experiment
    from fasttune.constraints import Constraints
    from fasttune.resolve.call import Call
    from fasttune.schedulers import TrialScheduler
    from fasttune.search import SearchAlgorithm, Searcher
    from fasttune.search.base import Metric, Mode


class SearchOfRun(NamedTuple):
    """What comes of ``search_alg``, and of what is said beside it."""

    searcher: Searcher | SearchAlgorithm
    near: list[dict[str, Any]]  # good configs of earlier experiments
    taught: str | None  # where results come from that it knows; None: it knows none
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
    suits = search_alg is None and (objectives or (call.scheduler is None and call.max_t is not None))
    if suits or (isinstance(search_alg, str) and search_alg.lower() == "auto"):
        says, asked = teller(verbose, call.in_words), search_alg is not None
        search_alg = chosen_before(metas) or chosen_searcher(first, metric, scheduler, says, len(objectives), asked)
    announces = search_alg == "auto" and verbose > 0
    given = call.warm_start_from
    goals = {} if given is None else objectives or goal_of(metric, mode, scheduler, search_alg)
    constraints = constraints_before(call.constraints, metas)
    near = near_of_run(given, goals, constraints, metas, [one.config for one in experiments])
    search_alg = with_priors(search_alg, scheduler, experiments, seed, bool(near), kind_before(metas) == "PriorSearch")
    num_samples = None
    if call.on_duplicate != "allow":
        search_alg = without_duplicates(search_alg, call.on_duplicate, experiments, seed)
        num_samples = total_of(search_alg, first)
    goal: tuple[Metric, Mode] = (list(objectives), list(objectives.values())) if objectives else (metric, mode)
    searcher = resolve_searcher(search_alg, *goal, experiments, call.max_concurrent, seed)
    if announces:
        announce_changes(searcher)
    taught = _teach(searcher, call, scheduler, near, constraints, metas)
    return SearchOfRun(searcher, near, taught, num_samples)


def _teach(
    searcher: Any,
    call: Call,
    scheduler: TrialScheduler,
    near: list[dict[str, Any]],
    constraints: Constraints,
    metas: list[dict[str, Any]],
) -> str | None:
    """What is known from elsewhere: results by their values, and configs that were good. Gives where the results are from."""
    taught = None
    if call.warm_start is not None:
        from fasttune.warm_start.experiment import as_warm_start

        start = as_warm_start(call.warm_start).held_against(constraints)
        start.teach(searcher)
        taught = start.source
    else:
        tell_what_is_forgotten(metas)
    check_searcher_wanted(searcher, scheduler)
    if near and scheduler.takes_searcher:
        from fasttune.warm_start.earlier import begin_near

        begin_near(searcher, near, strict=call.warm_start_from is not None)
    return taught
