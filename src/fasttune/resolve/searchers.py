"""Who suggests configs, in which space, and how many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fasttune.argument import check_called_methods
from fasttune.config import Experiment
from fasttune.resolve.settings import ON_DUPLICATE
from fasttune.resolve.trainables import unresolved
from fasttune.resolve.words import kind_of, log, name_of

if TYPE_CHECKING:
    from fasttune.config import Mode as OneMode
    from fasttune.schedulers.base import TrialScheduler
    from fasttune.search.base import Metric, Mode, SearchAlgorithm, Searcher


def check_searcher_wanted(searcher: object, scheduler: TrialScheduler) -> None:
    """Refuses a searcher beside a scheduler that explores configs itself."""
    from fasttune.search import Searcher

    if isinstance(searcher, Searcher) and not scheduler.takes_searcher:
        raise ValueError(
            f"{type(scheduler).__name__} explores configs itself and takes no searcher, got "
            f"{type(searcher).__name__}: leave search_alg out"
        )


def chosen_searcher(
    experiment: Experiment,
    metric: str | None,
    scheduler: TrialScheduler,
    says: Callable[[str], object] | None,
    objectives: int = 0,
    asked: bool = True,
) -> str:
    """The name of the searcher that suits; ``says`` is told a line that says why. ``asked``: somebody has asked for "auto"."""
    from fasttune.schedulers import HyperBandForBOHB
    from fasttune.search.auto import Choice, choose

    choice = choose(
        experiment.config,
        experiment.num_samples,
        has_metric=isinstance(metric, str),
        objectives=objectives,
        has_budgets=isinstance(scheduler, HyperBandForBOHB),
    )
    if not scheduler.takes_searcher:
        return "random"
    if choice.name == "auto" and scheduler.compares:
        choice = Choice("tpe", "the scheduler ends trials early, and it compares them at equal steps")
    if says is not None and (choice.name != "random" or not objectives):
        what = choice.why if choice.name == "auto" else f'"{choice.name}": {choice.why}'
        says(f'search_alg="auto" is {what}' if asked else f"The searcher is {what}")
    return choice.name


def announce_changes(searcher: object) -> None:
    """Has a searcher that becomes another as the run goes on say so."""
    from fasttune.search.auto import AutoSearch
    from fasttune.search.delegating import DelegatingSearcher

    while isinstance(searcher, DelegatingSearcher):
        searcher = searcher.searcher
    if isinstance(searcher, AutoSearch):
        searcher.says = print


def resolve_searcher(
    search_alg: Searcher | SearchAlgorithm | str | None,
    metric: Metric,
    mode: Mode,
    experiments: Sequence[Experiment],
    max_concurrent: int | None,
    seed: int,
) -> Searcher | SearchAlgorithm:
    """The searcher, told metric, mode and space, and limited; random and grid search if there is none."""
    from fasttune.search import BasicVariantGenerator, SearchAlgorithm, Searcher, SearchGenerator, seeded_searcher

    if search_alg is None:
        return BasicVariantGenerator(random_state=seed)
    if isinstance(search_alg, str):
        search_alg = seeded_searcher(search_alg, seed)
    if isinstance(search_alg, SearchGenerator):
        search_alg = search_alg.searcher
    if not isinstance(search_alg, (Searcher, SearchAlgorithm)):
        raise TypeError(f"search_alg must be a Searcher, its name or None, got {kind_of(search_alg)}")
    check_called_methods(search_alg, Searcher if isinstance(search_alg, Searcher) else SearchAlgorithm)
    if isinstance(search_alg, Searcher):
        tell_space(search_alg, metric, mode, experiments)
        return limit(search_alg, max_concurrent)
    check_own_limit(search_alg, max_concurrent)
    if isinstance(search_alg, BasicVariantGenerator):
        search_alg.check_points([one.config for one in experiments])
    return search_alg


def objectives_of_searcher(searcher: object) -> dict[str, OneMode]:
    """The metrics of a searcher that was made with several, and their modes; those that are only watched are none."""
    from fasttune.config import MODES

    metric = getattr(searcher, "metric", None)
    modes = getattr(searcher, "mode", None)
    if not isinstance(metric, (list, tuple)) or not isinstance(modes, (list, tuple)):
        return {}
    found: Any = {name: one for name, one in zip(metric, modes, strict=False) if one in MODES}
    return found if len(found) > 1 else {}


def with_priors(
    search_alg: object,
    scheduler: TrialScheduler,
    experiments: Sequence[Experiment],
    seed: int,
    near: bool = False,
    had: bool = False,
) -> Any:
    """The searcher, or, where nobody has named one that knows of priors and there are some (in the space, or ``near`` earlier
    configs), one that does. ValueError for a grid beside them.

    Args:
        had: the run goes on with such a searcher, though perhaps in a space without priors.
    """
    from fasttune.search import BasicVariantGenerator, PriorSearch
    from fasttune.space.domains import Domain, domains_of, grid_of
    from fasttune.space.nested import path_name

    found = list(domains_of(experiments[0].config))
    said = [path_name(path) for path, one in found if isinstance(one, Domain) and one.has_prior]
    blind = search_alg is None or isinstance(search_alg, BasicVariantGenerator)
    if isinstance(search_alg, str) and search_alg.lower() in ("random", "variant_generator"):
        blind, search_alg = True, None
    grids = [path_name(path) for path, one in found if grid_of(one) is not None]
    if not (said or near or (had and not grids)) or not blind:
        return search_alg
    what = f"prior of {', '.join(map(repr, said))}" if said else "warm_start_from"
    if not scheduler.takes_searcher:
        log("%s has no effect: %s explores configs itself", what, type(scheduler).__name__)
        return search_alg
    if grids:
        raise ValueError(
            f"{what} has no effect beside the grid of {grids[0]!r}, which is walked through: leave one of them out, or "
            "write tune.choice in the place of tune.grid_search"
        )
    points = search_alg.points_to_evaluate if isinstance(search_alg, BasicVariantGenerator) else None
    return PriorSearch(points_to_evaluate=points, seed=seed)


def without_duplicates(search_alg: object, how: str, experiments: list[Experiment], seed: int) -> Searcher:
    """The searcher of a run with ``on_duplicate`` "skip" or "reuse": one that is asked for each config."""
    from fasttune.search import BasicVariantGenerator, Searcher, SearchGenerator, seeded_searcher

    if how not in ON_DUPLICATE:
        raise ValueError(f"on_duplicate must be one of {', '.join(map(repr, ON_DUPLICATE))}, got {how!r}")
    if len(experiments) > 1:
        raise ValueError(f"on_duplicate={how!r} needs one experiment at a time, got {len(experiments)}")
    if isinstance(search_alg, str):
        search_alg = seeded_searcher(search_alg, seed)
    if search_alg is None:
        search_alg = BasicVariantGenerator(random_state=seed)
    if isinstance(search_alg, BasicVariantGenerator):
        search_alg = search_alg.one_by_one()
    if isinstance(search_alg, SearchGenerator):
        search_alg = search_alg.searcher
    if not isinstance(search_alg, Searcher):
        raise TypeError(f"on_duplicate={how!r} needs a Searcher, its name or None, got {kind_of(search_alg)}")
    if how == "reuse":
        return search_alg
    from fasttune.search import UniqueSearch

    return UniqueSearch(search_alg)


def total_of(searcher: object, experiment: Experiment) -> int:
    """How many trials there will be: of random and grid search as many as without a searcher."""
    from fasttune.search import RandomSearch

    inner = getattr(searcher, "searcher", searcher)
    if not isinstance(inner, RandomSearch) or experiment.num_samples == -1:
        return experiment.num_samples
    return inner.total(experiment.config, experiment.num_samples)


def tell_space(searcher: Searcher, metric: Metric, mode: Mode, experiments: Sequence[Experiment]) -> None:
    """Hands metric, mode and space to the searcher; a space that it does not take must hold no domains."""
    from fasttune.search.base import tell_properties

    own = getattr(searcher, "metric", None)
    if metric is not None and isinstance(own, str) and own != metric:
        raise ValueError(
            f"metric={metric!r} was given to the run, but {type(searcher).__name__} was made with "
            f"metric={own!r}: "
            "give it in one place"
        )
    check_one_space(searcher, experiments)
    first = experiments[0]
    taken = tell_properties(searcher, metric, mode, dict(first.config), first.public_spec)
    if taken:
        return
    left = unresolved(first.config)
    if left:
        raise ValueError(
            f"{type(searcher).__name__} was already instantiated with a search space, but config still "
            "holds domains: "
            f"{', '.join(sorted(left)[:5])}. Put them into the searcher's space, or give the searcher none"
        )


def check_one_space(searcher: Searcher, experiments: Sequence[Experiment]) -> None:
    """Refuses experiments of different spaces beside one searcher: it knows one, and what it suggests is for that."""
    from fasttune.identity import described, differences
    from fasttune.space.domains import domains_of
    from fasttune.space.nested import path_name

    searched = [
        {path_name(path): described(domain) for path, domain in domains_of(one.config)} for one in experiments
    ]
    for experiment, domains in zip(experiments[1:], searched[1:], strict=True):
        found = differences(searched[0], domains)
        if found:
            raise ValueError(
                f"{type(searcher).__name__} searches one space, and the experiments "
                f"{experiments[0].name or name_of(experiments[0].run)!r} and {experiment.name or name_of(experiment.run)!r} "
                f"have different ones ({'; '.join(found[:3])}): run them one after the other, each with a searcher of its own"
            )


def limit(searcher: Searcher, max_concurrent: int | None) -> Searcher:
    """The searcher, never asked for more than ``max_concurrent`` trials at once."""
    from fasttune.search import ConcurrencyLimiter

    if max_concurrent is None:
        return searcher
    if isinstance(searcher, ConcurrencyLimiter):
        check_own_limit(searcher, max_concurrent)
        return searcher
    return ConcurrencyLimiter(searcher, max_concurrent=max_concurrent)


def own_limit(search_alg: object, many: bool = False) -> int | None:
    """How many trials at once the searcher itself was made for; None: as many as fit. Where so ``many`` fit that a searcher would
    learn nothing (they are tasks, or rows of a call), a number that lets it."""
    own = getattr(search_alg, "max_concurrent", None)
    if isinstance(own, int) and own > 0:
        return own
    from fasttune.search import Searcher

    return search_alg.batch_size if many and isinstance(search_alg, Searcher) else None


def check_own_limit(search_alg: Searcher | SearchAlgorithm, max_concurrent: int | None) -> None:
    """Refuses two different limits on how many trials run at once."""
    own = own_limit(search_alg)
    if max_concurrent is not None and own is not None and own != max_concurrent:
        raise ValueError(
            f"max_concurrent_trials={max_concurrent}, but {type(search_alg).__name__} was made with "
            f"max_concurrent={own}: give one of them"
        )
