"""Ranks, regret and time per suggestion of searchers on the same problems, seeds and budgets.

    python -m benchmarks.search_quality                         fasttune's and, where installed, those of its peers
    python -m benchmarks.search_quality --searchers tpe gp optuna-tpe --seeds 3 --trials 100
    python -m benchmarks.search_quality --time                  time per suggestion after 100, 1,000 and 5,000 results

One trial runs at a time. All searchers see every problem through the same fasttune space; Optuna and Hyperopt through
the adapters, which translate it, so their time includes that. A rank is among the searchers of this run, per problem
and seed (1 is best, ties share); one that refuses a problem (CMA-ES: choices) is ranked last there. The regret is what is
left to the minimum, relative to that of random search on the same problem, as a geometric mean.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.search_quality.problems import NETWORK, Problem, network, problems

from fasttune.search import Searcher, create_searcher
from fasttune.space.domains import SearchSpaceError
from fasttune.space.plan import Plan

TINY = 1e-9  # a regret below it is a hit


class RandomSearch(Searcher):
    """The configs that a run without a searcher would try."""

    def __init__(self, space: Any, seed: int) -> None:
        super().__init__("loss", "min")
        self._plan, self._n = Plan(space, seed), 0

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self._n += 1
        return self._plan.config(self._n - 1)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass


def native(name: str, **more: Any) -> Callable[[Any, int], Searcher]:
    """One of fasttune's own, by name."""
    return lambda space, seed: create_searcher(name, space=space, metric="loss", mode="min", seed=seed, **more)


def optuna(sampler: str) -> Callable[[Any, int], Searcher]:
    """One of Optuna's samplers through the adapter."""

    def make(space: Any, seed: int) -> Searcher:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        made = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "tpe-univariate": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=False),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed),
        }[sampler]()
        return create_searcher("optuna", space=space, metric="loss", mode="min", sampler=made)

    return make


def hyperopt(space: Any, seed: int) -> Searcher:
    return create_searcher("hyperopt", space=space, metric="loss", mode="min", random_state_seed=seed)


SEARCHERS: dict[str, Callable[[Any, int], Searcher]] = {
    "random": RandomSearch,
    "sobol": native("sobol"),
    "tpe": native("tpe"),
    "evolution": native("evolution"),
    "cmaes": native("cmaes"),
    "gp": native("gp"),
    "optuna-tpe": optuna("tpe"),
    "optuna-tpe-univariate": optuna("tpe-univariate"),
    "optuna-cmaes": optuna("cmaes"),
    "optuna-gp": optuna("gp"),
    "hyperopt-tpe": hyperopt,
}


def run(problem: Problem, make: Callable[[Any, int], Searcher], seed: int, trials: int) -> tuple[list[float], float]:
    """The least loss after every trial, and the seconds that the searcher took for all of them."""
    searcher = make(problem.space, seed)
    best, least, spent = [], math.inf, 0.0
    for k in range(trials):
        begin = time.perf_counter()
        try:
            asked = searcher.ask()
        except LookupError:
            best += [least] * (trials - k)
            break
        spent += time.perf_counter() - begin
        assert asked is not None
        loss = problem.loss(asked.config)
        begin = time.perf_counter()
        searcher.tell(asked, loss)
        spent += time.perf_counter() - begin
        least = min(least, loss)
        best.append(least)
    return best, spent / trials


def ranks(values: list[float]) -> list[float]:
    """1 for the least; equal ones share."""
    return [sum(b < a for b in values) + (sum(b == a for b in values) + 1) / 2 for a in values]


def compare(names: list[str], seeds: int, budgets: list[int]) -> dict[str, Any]:
    """Least losses of all searchers on all problems."""
    out: dict[str, Any] = {}
    for problem in problems():
        for seed in range(seeds):
            for name in names:
                try:
                    best, spent = run(problem, SEARCHERS[name], seed, max(budgets))
                except (SearchSpaceError, ImportError) as error:
                    print(f"{name} on {problem.name}: {str(error)[:100]}", flush=True)
                    best, spent = [math.inf] * max(budgets), math.nan
                out.setdefault(problem.name, {}).setdefault(name, []).append(
                    {"losses": [best[n - 1] for n in budgets], "seconds": spent}
                )
        done = {name: statistics.median(one["losses"][-1] for one in out[problem.name][name]) for name in names}
        print(f"{problem.name:>14}  " + "  ".join(f"{name} {loss:.3g}" for name, loss in done.items()), flush=True)
    return out


def table(names: list[str], budgets: list[int], out: dict[str, Any]) -> str:
    """Mean ranks by budget, by group at the end, regret relative to random search, time per trial."""
    group_of = {problem.name: problem.group for problem in problems()}
    rank: dict[tuple[str, Any], list[float]] = {}
    regret: dict[str, list[float]] = {}
    for problem, by_name in out.items():
        for seed in range(len(by_name[names[0]])):
            for at, budget in enumerate(budgets):
                found = [max(by_name[name][seed]["losses"][at], TINY) for name in names]
                for name, place in zip(names, ranks(found), strict=True):
                    rank.setdefault((name, budget), []).append(place)
                    if at == len(budgets) - 1:
                        rank.setdefault((name, group_of[problem]), []).append(place)
        if "random" in by_name:
            base = statistics.median(max(one["losses"][-1], TINY) for one in by_name["random"])
            for name in names:
                left = statistics.median(max(one["losses"][-1], TINY) for one in by_name[name])
                if math.isfinite(left):
                    regret.setdefault(name, []).append(math.log(left / base))
    columns: list[Any] = [*budgets, "continuous", "mixed"]
    lines = [f"{'':26}" + "".join(f"{column!s:>12}" for column in columns) + f"{'regret':>10}{'ms/trial':>10}"]
    for name in sorted(names, key=lambda name: statistics.mean(rank[name, budgets[-1]])):
        seconds = [one["seconds"] for by in out.values() for one in by[name] if math.isfinite(one["seconds"])]
        cells = "".join(f"{statistics.mean(rank[name, column]):12.2f}" for column in columns)
        left = math.exp(statistics.mean(regret[name])) if name in regret else math.nan
        lines.append(f"{name:26}{cells}{left:10.3f}{1e3 * statistics.mean(seconds):10.3f}")
    return "\n".join(lines)


def times(names: list[str], results: list[int], rounds: int = 20) -> None:
    """Print the median time of one suggestion and its result in a mixed space of 8 parameters, after so many results."""
    print(f"{'ms per suggestion after':26}" + "".join(f"{n:>12,}" for n in results), flush=True)
    for name in names:
        try:
            SEARCHERS[name](NETWORK, 0)
        except (SearchSpaceError, ImportError) as error:
            print(f"{name}: {str(error)[:100]}", flush=True)
            continue
        cells = ""
        for n in results:
            searcher = SEARCHERS[name](NETWORK, 0)
            feed(searcher, n)
            spent = []
            for _ in range(rounds):
                begin = time.perf_counter()
                asked = searcher.ask()
                until_asked = time.perf_counter() - begin
                assert asked is not None
                loss = network(asked.config)
                begin = time.perf_counter()
                searcher.tell(asked, loss)
                spent.append(until_asked + time.perf_counter() - begin)
            cells += f"{1e3 * statistics.median(spent):12.3f}"
        print(f"{name:26}{cells}", flush=True)


def feed(searcher: Searcher, n: int) -> None:
    """Results of n random configs."""
    plan = Plan(NETWORK, 7)
    for k in range(n):
        config = plan.config(k)
        if isinstance(searcher, RandomSearch):
            return
        searcher.add_evaluated_point(config, network(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--searchers", nargs="+", choices=[*SEARCHERS], default=[*SEARCHERS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 100, 200], help="budgets (default 50 100 200)")
    parser.add_argument("--time", action="store_true", help="measure time per suggestion instead")
    parser.add_argument("--results", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--json", help="write all losses there")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if args.time:
        times(args.searchers, args.results)
        return
    out = compare(args.searchers, args.seeds, sorted(args.trials))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(out, file)
    print(f"\nmean rank after so many trials ({args.seeds} seeds, {len(out)} problems); by group after the last")
    print(table(args.searchers, sorted(args.trials), out))


if __name__ == "__main__":
    main()
