"""The searchers that are compared: fasttune's own by name, and those of its peers through the adapters.

What does not live with the rest in one environment has an environment of its own, in which this program runs once more.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fasttune.search import Searcher, create_searcher
from fasttune.space.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[[Any, int, int], Searcher]  # of a space, a seed, and the number of trials


class RandomSearch(Searcher):
    """The configs that a run without a searcher would try."""

    def __init__(self, space: Any, seed: int, trials: int) -> None:
        super().__init__("loss", "min")
        self._plan, self._n = Plan(space, seed), 0

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self._n += 1
        return self._plan.config(self._n - 1)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass


def native(name: str, **more: Any) -> Make:
    """One of fasttune's own, by name."""
    return lambda space, seed, trials: create_searcher(name, space=space, metric="loss", mode="min", seed=seed, **more)


def optuna(sampler: str) -> Make:
    """One of Optuna's samplers through the adapter."""

    def make(space: Any, seed: int, trials: int) -> Searcher:
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


def hyperopt(space: Any, seed: int, trials: int) -> Searcher:
    return create_searcher("hyperopt", space=space, metric="loss", mode="min", random_state_seed=seed)


def ngopt(space: Any, seed: int, trials: int) -> Searcher:
    """Nevergrad's choice of an optimizer, which it makes by the budget."""
    options = {"budget": trials}
    return create_searcher(
        "nevergrad", space=space, metric="loss", mode="min", optimizer="NGOpt", optimizer_kwargs=options, seed=seed
    )


SEARCHERS: dict[str, Make] = {
    "random": RandomSearch,
    "sobol": native("sobol"),
    "auto": native("auto"),
    "tpe": native("tpe"),
    "tpe-univariate": native("tpe", multivariate=False),
    "evolution": native("evolution"),
    "cmaes": native("cmaes"),
    "gp": native("gp"),
    "optuna-tpe": optuna("tpe"),
    "optuna-tpe-univariate": optuna("tpe-univariate"),
    "optuna-cmaes": optuna("cmaes"),
    "optuna-gp": optuna("gp"),
    "hyperopt-tpe": hyperopt,
    "ngopt": ngopt,
}
APART = {"ngopt": "nevergrad"}  # the environment of benchmarks.peers that a contender has for itself


def run_apart(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The results of this program in the contender's environment, which is made on first use."""
    from benchmarks.peers.environments import python_of

    python = python_of(APART[name], Path(os.environ.get("FASTTUNE_PEERS", ROOT / ".venv-peers")))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [python, "-m", "benchmarks.search_quality", "--searchers", name, "--here", "--json", str(path)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        done = subprocess.run([*command, *arguments], env=environ, capture_output=True, text=True)
        if done.returncode:
            print(f"{name} is left out: {done.stderr[-400:]}", flush=True)
            return {}
        found: dict[str, Any] = json.loads(path.read_text())
        return found
