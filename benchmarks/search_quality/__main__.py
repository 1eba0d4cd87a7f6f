"""Ranks, gaps, regret and time per suggestion of searchers on the same problems, seeds and budgets.

    python -m benchmarks.search_quality                         fasttune's and, where installed, those of its peers
    python -m benchmarks.search_quality --suites rotated tables --searchers tpe gp optuna-tpe --seeds 3
    python -m benchmarks.search_quality --part last             the problems and seeds that nothing was chosen on
    python -m benchmarks.search_quality --workers 64 --searchers tpe gp evolution random --suites rotated
    python -m benchmarks.search_quality --batches 16 4096 --searchers tpe evolution
    python -m benchmarks.search_quality --time                  time per suggestion after 100, 1,000 and 5,000 results

One trial runs at a time (``--workers``: more, and results come in any order). All searchers
see every problem through the same fasttune space; peers through the adapters, which
translate it, so their time, which is CPU time, includes that. A rank is among the searchers of this run, per problem and seed
(1 is best, ties share); one that refuses a problem is ranked last there. Suites: "textbook" (functions that are not
rotated, mixed spaces), "rotated" (``rotated.py``), "tables" of real tuning problems (``tables.py``; at most 100 trials of each).

    gap     the mean of log10 of what is left to the minimum, over the continuous problems, after the last budget
    regret  the mean of what is left to the best config of a table, 1 being a config of median loss, after 100 trials
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from benchmarks.search_quality.contenders import APART, SEARCHERS, Make, RandomSearch, run_apart
from benchmarks.search_quality.problems import NETWORK, Problem, network, problems
from benchmarks.search_quality.rotated import rotated
from benchmarks.search_quality.tables import tabled

from fasttune.search import Searcher
from fasttune.search.base import Suggestion
from fasttune.space.domains import SearchSpaceError
from fasttune.space.plan import Plan

TINY = 1e-9  # a gap below it is a hit
SUITES = ("textbook", "rotated", "tables")
LAST_SEED = 1000  # the first of the seeds of the last look
TABLE_TRIALS = 100
TRIAL_SECONDS = 60.0  # what every trial is said to have taken, to a searcher that goes by it ("auto")
Found = dict[str, dict[str, Any]]  # problem and seed -> searcher -> losses, seconds


def cells(suites: list[str], part: str, seeds: int) -> Iterator[tuple[Problem, int]]:
    """The problems with their seeds, of which the functions of "rotated" are other ones for each seed."""
    tables = tabled(part) if "tables" in suites else []
    for seed in range(seeds):
        number = seed + (LAST_SEED if part == "last" else 0)
        here = [*(problems() if "textbook" in suites else []), *(rotated(number) if "rotated" in suites else []), *tables]
        for problem in here:
            if problem.part == part or problem.group in ("continuous", "mixed"):
                yield problem, number


def run(problem: Problem, make: Make, seed: int, trials: int, workers: int = 1) -> tuple[list[float], float]:
    """The least loss after every trial, and the seconds that the searcher took for one.

    With more workers as many trials are out, and which of them ends next is drawn.
    """
    searcher = make(problem.space, seed, trials)
    draw = random.Random(seed)
    out: list[Suggestion] = []
    best, least, spent, asking = [], math.inf, 0.0, trials
    while len(best) < trials:
        while asking and len(out) < workers:
            begin = time.process_time()
            try:
                asked = searcher.ask()
            except LookupError:
                asking = 0
                break
            spent += time.process_time() - begin
            if asked is None:  # it waits for results
                break
            out.append(asked)
            asking -= 1
        if not out:
            break
        asked = out.pop(draw.randrange(len(out)))
        loss = problem.loss(asked.config)
        begin = time.process_time()
        searcher.tell(asked, {"loss": loss, "time_total_s": TRIAL_SECONDS})
        spent += time.process_time() - begin
        least = min(least, loss)
        best.append(least)
    return best + [least] * (trials - len(best)), spent / trials


def ranks(values: list[float]) -> list[float]:
    """1 for the least; equal ones share."""
    return [sum(b < a for b in values) + (sum(b == a for b in values) + 1) / 2 for a in values]


def compare(names: list[str], among: list[tuple[Problem, int]], budgets: list[int], workers: int = 1) -> Found:
    """Least losses of all searchers on all problems."""
    out: Found = {}
    for problem, seed in among:
        here = out[f"{problem.name}#{seed}"] = {}
        until = [min(n, TABLE_TRIALS) for n in budgets] if problem.group == "tables" else budgets
        for name in names:
            try:
                best, spent = run(problem, SEARCHERS[name], seed, max(until), workers)
            except (SearchSpaceError, ImportError) as error:
                print(f"{name} on {problem.name}: {str(error)[:100]}", flush=True)
                best, spent = [math.inf] * max(until), math.nan
            here[name] = {"losses": [best[n - 1] for n in until], "seconds": spent}
        losses = "  ".join(f"{name} {one['losses'][-1]:.3g}" for name, one in here.items())
        print(f"{problem.name + '#' + str(seed):>20}  {losses}", flush=True)
    return out


def merge(into: Found, more: Found) -> None:
    """Results of other searchers on the same problems and seeds."""
    for cell, by_name in more.items():
        if cell in into:
            into[cell].update(by_name)


class Row:
    """What is printed of a searcher."""

    def __init__(self) -> None:
        self.ranks: dict[Any, list[float]] = {}
        self.gaps: list[float] = []
        self.regrets: list[float] = []
        self.seconds: list[float] = []


def rows_of(among: list[tuple[Problem, int]], names: list[str], budgets: list[int], out: Found) -> dict[str, Row]:
    rows = {name: Row() for name in names}
    for problem, seed in among:
        by_name = out[f"{problem.name}#{seed}"]
        for at, budget in enumerate(budgets):
            found = [max(by_name[name]["losses"][at], TINY) for name in names]
            for name, place in zip(names, ranks(found), strict=True):
                rows[name].ranks.setdefault(budget, []).append(place)
                if at == len(budgets) - 1:
                    rows[name].ranks.setdefault(problem.group, []).append(place)
        for name in names:
            loss = max(by_name[name]["losses"][-1], TINY)
            if math.isfinite(by_name[name]["seconds"]):
                rows[name].seconds.append(by_name[name]["seconds"])
            if problem.group == "tables" and math.isfinite(loss):
                rows[name].regrets.append(max(loss, 0.0) / problem.scale)
            elif problem.group != "mixed" and math.isfinite(loss):
                rows[name].gaps.append(math.log10(loss))
    return rows


def table(rows: dict[str, Row], budgets: list[int]) -> str:
    """Mean ranks by budget, by group at the end, gap, regret, time per trial."""
    groups = [one for one in ("continuous", "mixed", "rotated", "tables") if one in next(iter(rows.values())).ranks]
    heads = [*(str(n) for n in budgets), *groups, "gap", "regret", "ms/trial"]
    lines = [f"{'':22}" + "".join(f"{head:>11}" for head in heads)]
    for name, row in sorted(rows.items(), key=lambda one: statistics.mean(one[1].ranks[budgets[-1]])):
        line = "".join(f"{statistics.mean(row.ranks[column]):11.2f}" for column in [*budgets, *groups])
        line += f"{statistics.mean(row.gaps):11.3f}" if row.gaps else f"{'-':>11}"
        line += f"{statistics.mean(row.regrets):11.4f}" if row.regrets else f"{'-':>11}"
        line += f"{1e3 * statistics.mean(row.seconds):11.3f}" if row.seconds else f"{'-':>11}"
        lines.append(f"{name:22}{line}")
    return "\n".join(lines)


def times(names: list[str], results: list[int], rounds: int = 20) -> None:
    """Print the median time of one suggestion and its result in a mixed space of 8 parameters, after so many results."""
    print(f"{'ms per suggestion after':26}" + "".join(f"{n:>12,}" for n in results), flush=True)
    for name in names:
        try:
            SEARCHERS[name](NETWORK, 0, max(results))
        except (SearchSpaceError, ImportError) as error:
            print(f"{name}: {str(error)[:100]}", flush=True)
            continue
        cells = ""
        for n in results:
            searcher = SEARCHERS[name](NETWORK, 0, n)
            feed(searcher, n)
            spent = []
            for _ in range(rounds):
                begin = time.process_time()
                asked = searcher.ask()
                until_asked = time.process_time() - begin
                assert asked is not None
                loss = network(asked.config)
                begin = time.process_time()
                searcher.tell(asked, loss)
                spent.append(until_asked + time.process_time() - begin)
            cells += f"{1e3 * statistics.median(spent):12.3f}"
        print(f"{name:26}{cells}", flush=True)


def batches(names: list[str], sizes: list[int], results: int = 500, rounds: int = 3) -> None:
    """Print the least time of a config in batches of so many (``suggest_batch``), after some results in the same space."""
    print(f"{'us a config in batches of':26}" + "".join(f"{n:>12,}" for n in sizes), flush=True)
    for name in names:
        cells = ""
        for n in sizes:
            spent = []
            for k in range(rounds):
                searcher = SEARCHERS[name](NETWORK, k, n)
                feed(searcher, results)
                begin = time.process_time()
                made = searcher.suggest_batch([str(number) for number in range(n)])
                spent.append((time.process_time() - begin) / len(made))
            cells += f"{1e6 * min(spent):12.1f}"
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
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=[*SUITES])
    parser.add_argument("--part", choices=("build", "last"), default="build", help="which half (default build)")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 100, 200], help="budgets (default 50 100 200)")
    parser.add_argument("--workers", type=int, default=1, help="trials that are out at once (default 1)")
    parser.add_argument("--time", action="store_true", help="measure time per suggestion instead")
    parser.add_argument("--batches", type=int, nargs="+", help="measure time per config in batches of so many instead")
    parser.add_argument("--results", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--json", help="write all losses there")
    parser.add_argument("--beside", nargs="+", default=[], help="files that --json wrote, of other searchers on the same cells")
    parser.add_argument("--here", action="store_true", help="all searchers in this environment")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if args.batches:
        batches(args.searchers, args.batches)
        return
    if args.time:
        times(args.searchers, args.results)
        return
    budgets = sorted(args.trials)
    among = list(cells(args.suites, args.part, args.seeds))
    apart = [name for name in args.searchers if name in APART and not args.here]
    out = compare([name for name in args.searchers if name not in apart], among, budgets, args.workers)
    asked = ["--part", args.part, "--seeds", str(args.seeds), "--suites", *args.suites, "--trials", *map(str, budgets)]
    asked += ["--workers", str(args.workers)]
    for name in apart:
        merge(out, run_apart(name, asked))
    for path in args.beside:
        with open(path, encoding="utf-8") as file:
            merge(out, json.load(file))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(out, file)
    names = [name for name in next(iter(out.values())) if all(name in by_name for by_name in out.values())]
    workers = f", {args.workers} workers" if args.workers > 1 else ""
    told = f'{args.seeds} seeds, {len(among)} cells, part "{args.part}"{workers}'
    print(f"\nmean rank after so many trials ({told}); by group after the last")
    print(table(rows_of(among, names, budgets, out), budgets))


if __name__ == "__main__":
    main()
