"""Multi-fidelity tuning side by side, in virtual time: ``python -m benchmarks.search_quality.fidelity``.

    python -m benchmarks.search_quality.fidelity                            the problems that were built with
    python -m benchmarks.search_quality.fidelity --kept --seeds 5           the other half: other problems, other seeds
    python -m benchmarks.search_quality.fidelity --tables FOLDER            with tables of real curves (made once, minutes)
    python -m benchmarks.search_quality.fidelity --tuners auto asha --workers 1

Trials of 81 epochs, an epoch a virtual second. A tuner's mark after n epochs is the regret, after 81 epochs, of the config whose
report was the best one so far: what somebody would train who stops there. Marks are means over seeds. A mark is won by whoever
is within 10 % of the best of all (and 0.003, about the noise of a tie), which the last lines count.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from benchmarks.search_quality.curves import EPOCHS
from benchmarks.search_quality.fidelity_problems import FidelityProblem, fidelity_problems

import fasttune as tune
from fasttune.schedulers import create_scheduler

MARKS = (405, 810, 1620, 3240, 4860)
SEEDS_KEPT_FROM = 200
CLOSE = 1.1
TIE = 0.003
Tuner = Callable[[FidelityProblem, int, int], list[tuple[int, float]]]  # problem, seed, workers -> (epochs, regret), as it falls


def ours(scheduler: str | None, search_alg: str | None, **arguments: Any) -> Tuner:
    """fasttune's own, by their names."""

    def run(problem: FidelityProblem, seed: int, workers: int) -> list[tuple[int, float]]:
        def curve(config: dict[str, Any]) -> Iterator[dict[str, float]]:
            for value in problem.curve(config, seed).tolist():
                yield {"loss": value}

        made = tune.simulate(
            curve,
            problem.space,
            num_samples=6000,
            metric="loss",
            mode="min",
            scheduler=scheduler and create_scheduler(scheduler, **arguments),
            search_alg=search_alg,
            workers=workers,
            time_budget_s=MARKS[-1] / workers,
            seed=seed,
        )
        found = made.best_over_time()
        configs = {one.trial_id: one.config for one in made.trials}
        return [
            (int(epochs), problem.regret(configs[one]))
            for epochs, one in zip(found["epochs"], found["trial_id"], strict=True)
        ]

    return run


def distribution(domain: Any) -> Any:
    """What a domain of these problems is in Optuna."""
    from optuna import distributions

    from fasttune.space.dimensions import INTEGER, Dimensions

    (one,) = Dimensions({"x": domain}, "Optuna")
    if one.options:
        return distributions.CategoricalDistribution(list(one.options))
    if one.kind == INTEGER:
        return distributions.IntDistribution(int(one.low), int(one.high), log=one.log)
    return distributions.FloatDistribution(one.low, one.high, log=one.log)


def optuna(pruner: str) -> Tuner:
    """Optuna's TPE, ask and tell, on a virtual clock of its own: the free worker begins a trial, steps come in turn."""

    def run(problem: FidelityProblem, seed: int, workers: int) -> list[tuple[int, float]]:
        import optuna
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = {name: distribution(domain) for name, domain in problem.space.items()}
        pruners = {
            "none": optuna.pruners.NopPruner,
            "hyperband": lambda: optuna.pruners.HyperbandPruner(1, EPOCHS, 3),
            "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(1, 3),
        }
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruners[pruner]())
        epochs, best, found = 0, float("inf"), []
        running: list[tuple[int, int, Any, Any]] = []
        order = itertools.count()

        def begin(now: int) -> None:
            trial = study.ask(space)
            heapq.heappush(running, (now + 1, next(order), trial, problem.curve(trial.params, seed)))

        for _ in range(workers):
            begin(0)
        at: dict[int, int] = {}
        while epochs < MARKS[-1]:
            now, _, trial, values = heapq.heappop(running)
            step = at[trial.number] = at.get(trial.number, 0) + 1
            epochs += 1
            value = float(values[step - 1])
            if value < best:
                best = value
                found.append((epochs, problem.regret(trial.params)))
            trial.report(value, step)
            if step == EPOCHS:
                study.tell(trial, value)
                begin(now)
            elif trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                begin(now)
            else:
                heapq.heappush(running, (now + 1, next(order), trial, values))
        return found

    return run


TO_81 = {"max_t": EPOCHS, "reduction_factor": 3}
TUNERS: dict[str, Tuner] = {
    "auto": ours("auto", "tpe", max_t=EPOCHS),
    "auto, random": ours("auto", None, max_t=EPOCHS),
    "random": ours(None, None),
    "tpe": ours(None, "tpe"),
    "gp": ours(None, "gp"),
    "asha": ours("asha", None, **TO_81),
    "asha+tpe": ours("asha", "tpe", **TO_81),
    "promotion": ours("asha_promotion", None, **TO_81),
    "promotion+tpe": ours("asha_promotion", "tpe", **TO_81),
    "hyperband": ours("hyperband", None, time_attr="training_iteration", **TO_81),
    "bohb": ours("hb_bohb", "bohb", time_attr="training_iteration", **TO_81),
    "optuna tpe": optuna("none"),
    "optuna tpe+halving": optuna("halving"),
    "optuna tpe+hyperband": optuna("hyperband"),
}


def marks_of(found: list[tuple[int, float]]) -> list[float]:
    """The regret at each mark; that of the first report before there is any."""
    return [next((regret for epochs, regret in reversed(found) if epochs <= mark), found[0][1]) for mark in MARKS]


def measured(problem: FidelityProblem, name: str, seeds: range, workers: int) -> tuple[list[float], float]:
    """Means of the marks, and the seconds of a run."""
    begin = time.perf_counter()
    rows = [marks_of(TUNERS[name](problem, seed, workers)) for seed in seeds]
    return np.mean(rows, axis=0).tolist(), (time.perf_counter() - begin) / len(seeds)


def table(results: dict[str, dict[str, list[float]]], seconds: dict[str, list[float]]) -> str:
    """Marks of all, with a star where within 10 % of the best, and how many stars there are."""
    lines, stars, ahead, lost = [], dict.fromkeys(seconds, 0), dict.fromkeys(seconds, 0), dict[str, list[float]]()
    for problem, by_name in results.items():
        lines.append(f"{problem:26}" + "".join(f"{mark:>9,}" for mark in MARKS))
        best = [min(values[k] for values in by_name.values()) for k in range(len(MARKS))]
        for name, values in by_name.items():
            cells = ""
            for k, value in enumerate(values):
                close = value <= CLOSE * best[k] + TIE
                others = min(other[k] for one, other in by_name.items() if one != name) if len(by_name) > 1 else np.inf
                stars[name] += close
                ahead[name] += value < others
                lost.setdefault(name, []).append(np.log((value + 0.01) / (best[k] + 0.01)))
                cells += f"{value:8.3f}{'*' if close else ' '}"
            lines.append(f"  {name:24}{cells}")
    total = len(results) * len(MARKS)
    lines.append(f"\n{'of ' + str(total) + ' marks':26}  close    best    times the best    s/run")
    for name in sorted(stars, key=lambda one: -stars[one]):
        times = float(np.exp(statistics.mean(lost[name])))
        lines.append(f"  {name:24}{stars[name]:7}{ahead[name]:8}{times:18.2f}{statistics.mean(seconds[name]):9.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tuners", nargs="+", choices=[*TUNERS], default=[*TUNERS])
    parser.add_argument("--problems", nargs="+", help="those whose names begin so")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kept", action="store_true", help="the problems and seeds that nothing was chosen by")
    parser.add_argument("--tables", metavar="FOLDER", help="where tables of real curves are, or are written")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    first = SEEDS_KEPT_FROM if args.kept else 0
    results: dict[str, dict[str, list[float]]] = {}
    seconds: dict[str, list[float]] = {}
    for problem in fidelity_problems(args.kept, args.tables):
        if args.problems and not problem.name.startswith(tuple(args.problems)):
            continue
        for name in args.tuners:
            marks, spent = measured(problem, name, range(first, first + args.seeds), args.workers)
            results.setdefault(problem.name, {})[name] = marks
            seconds.setdefault(name, []).append(spent)
    print(f"seeds {first} to {first + args.seeds - 1}, {args.workers} workers")
    print(table(results, seconds))


if __name__ == "__main__":
    main()
