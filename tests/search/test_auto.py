"""``search_alg="auto"``: what it takes when, that it says so, and that a run that goes on takes the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import HyperBandForBOHB
from fasttune.search import AutoSearch, create_searcher
from fasttune.search.auto import FEWEST, MOST, choose

NUMBERS: dict[str, Any] = {"x": tune.uniform(0, 1), "n": tune.randint(0, 9)}
MIXED: dict[str, Any] = {**NUMBERS, "kind": tune.choice(["a", "b"])}


@pytest.mark.parametrize(
    ("space", "trials", "more", "name"),
    [
        (NUMBERS, 50, {}, "auto"),
        (NUMBERS, 500, {}, "auto"),
        (NUMBERS, -1, {}, "auto"),
        (NUMBERS, 50, {"has_budgets": True}, "bohb"),
        (NUMBERS, 50, {"has_metric": False}, "random"),
        (NUMBERS, 1_000_000, {}, "random"),
        (MIXED, 200, {}, "auto"),
        ({"x": tune.grid_search([1, 2])}, 5, {}, "random"),
        ({"x": 3}, 5, {}, "random"),
        ({f"x{k}": tune.uniform(0, 1) for k in range(30)}, 50, {}, "tpe"),
    ],
)
def test_what_it_takes(space: dict[str, Any], trials: int, more: dict[str, Any], name: str) -> None:
    choice = choose(space, trials, **{"has_metric": True, **more})
    assert choice.name == name
    assert choice.why


def test_without_scipy_it_is_tpe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose(NUMBERS, 50, has_metric=True).name == "tpe"
    assert picks(AutoSearch(MIXED, "loss", "min", seed=1), [60.0] * 40) == ["tpe"] * 40


def train(config: dict[str, Any]) -> None:
    for step in range(1, 4):
        tune.report(loss=config["x"] / step)


def run(folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    options = {"num_samples": 25, "seed": 3, "verbose": 0, "executor": "inline", **more}
    return tune.run(train, config=MIXED, metric="loss", mode="min", storage_path=str(folder), **options)


def picks(searcher: AutoSearch, seconds: list[float], told: list[str] | None = None) -> list[str]:
    """Who suggested, trial by trial, if they take so long; what is said of it goes into ``told``."""
    if told is not None:
        searcher.says = told.append
    found = []
    for number, time in enumerate(seconds):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        found.append(searcher._picked)
        result = {"loss": (config["x"] - 0.3) ** 2, "training_iteration": 1, "time_total_s": time}
        searcher.on_trial_complete(f"t{number}", result)
    return found


def test_long_trials_get_the_gaussian_process_and_short_ones_do_not() -> None:
    assert set(picks(AutoSearch(MIXED, "loss", "min", seed=1), [0.01] * 40)) == {"tpe"}
    told: list[str] = []
    found = picks(AutoSearch(MIXED, "loss", "min", seed=1), [60.0] * 30, told)
    assert found == ["tpe"] * FEWEST + ["gp"] * (30 - FEWEST)
    assert told == ['fasttune: search_alg="auto" is "gp" from here on: a trial takes 60 s, much longer than its suggestions']


def test_it_goes_back_when_trials_become_short_and_when_there_are_many() -> None:
    told: list[str] = []
    found = picks(AutoSearch(MIXED, "loss", "min", seed=1), [60.0] * 20 + [0.001] * 20, told)
    assert found[19] == "gp"
    assert found[-1] == "tpe"
    assert "trials have become short" in told[-1]
    told.clear()
    found = picks(AutoSearch({"x": tune.uniform(0, 1)}, "loss", "min", seed=1), [60.0] * (MOST + 5), told)
    assert found[MOST - 1] == "gp"
    assert found[MOST:] == ["tpe"] * 5
    assert f"with {MOST} results" in told[-1]


def test_who_has_many_out_has_less_time_for_each() -> None:
    """A trial of a second is long if one is out, and short if a thousand are."""
    searcher = AutoSearch(MIXED, "loss", "min", seed=1)
    picks(searcher, [1.0] * 20)
    for number in range(1000):
        searcher.suggest(f"more{number}")
    assert searcher._picked == "tpe"


def test_without_times_it_is_tpe() -> None:
    searcher = create_searcher("auto", space=MIXED, metric="loss", mode="min", seed=1)
    for _ in range(30):
        asked = searcher.ask()
        searcher.tell(asked, asked.config["x"])
        assert searcher._picked == "tpe"


def timed(config: dict[str, Any], step: int) -> dict[str, Any]:
    return {"loss": (config["x"] - 0.3) ** 2 + 1.0 / step, "time_this_iter_s": 1.0}


def test_in_virtual_time_it_decides_by_virtual_seconds() -> None:
    def xs(cost: float) -> list[float]:
        made = tune.simulate(
            timed, config=MIXED, metric="loss", mode="min", search_alg="auto", num_samples=30, steps=3, cost=cost, seed=2
        )
        return [trial.config["x"] for trial in made.trials]

    slow, quick = xs(60.0), xs(1e-6)
    assert slow == xs(60.0)
    assert slow[:FEWEST] == quick[:FEWEST]
    assert slow != quick


def test_it_says_what_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, search_alg="auto", verbose=1, num_samples=201)
    said = [line for line in capsys.readouterr().out.splitlines() if "auto" in line]
    assert said == ['fasttune: search_alg="auto" is "tpe" first, and "gp" if trials turn out to take long']
    run(tmp_path, search_alg="auto", scheduler=HyperBandForBOHB(max_t=3), verbose=1)
    assert '"bohb": the scheduler tells budgets' in capsys.readouterr().out


class Long(AutoSearch):
    """To which every trial took a minute, and which notes who suggested."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        made = super().suggest(trial_id)
        print("suggested by", self._picked, self.says is not None)
        return made

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        super().on_trial_complete(trial_id, {**result, "time_total_s": 60.0}, error)


def test_a_run_that_goes_on_takes_the_same_as_one_that_was_never_ended(tmp_path: Path) -> None:
    whole = run(tmp_path, name="whole", search_alg=Long(seed=5), num_samples=40)
    run(tmp_path, name="parts", search_alg=Long(seed=5), num_samples=22)
    parts = run(tmp_path, name="parts", search_alg=Long(seed=5), num_samples=40, resume=True)
    assert [trial.config for trial in parts.trials] == [trial.config for trial in whole.trials]


def test_what_happened_before_is_not_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searcher = Long(MIXED, "loss", "min", seed=5)
    told: list[str] = []
    searcher.says = told.append
    other = AutoSearch(MIXED, "loss", "min", seed=5)
    for number in range(20):
        config = other.suggest(f"t{number}")
        assert isinstance(config, dict)
        searcher.replay(f"t{number}", config)
        result = {"loss": config["x"], "time_total_s": 60.0}
        searcher.on_trial_complete(f"t{number}", result)
        other.on_trial_complete(f"t{number}", result)
    assert not told
    assert searcher.suggest("t20") == other.suggest("t20")
    assert len(told) == 1  # who has the next turn


@pytest.mark.parametrize("name", ["auto", "tpe", "evolution", "sobol", "bohb", "gp", "random", "optuna", "hyperopt"])
def test_a_searcher_by_name_has_the_seed_of_the_run(name: str, tmp_path: Path) -> None:
    def xs(seed: int) -> list[float]:
        return [trial.config["x"] for trial in run(tmp_path, search_alg=name, seed=seed, num_samples=14).trials]

    assert xs(3) == xs(3)
    assert xs(3) != xs(4)


KILLED = """
import os, signal, sys
from pathlib import Path
import fasttune as tune
from fasttune.search import AutoSearch

folder, deadly = Path(sys.argv[1]), int(sys.argv[2])

class Long(AutoSearch):
    def on_trial_complete(self, trial_id, result=None, error=False):
        super().on_trial_complete(trial_id, {**result, "time_total_s": 60.0}, error)

ran = 0

def train(config):
    global ran
    ran += 1
    if ran == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    tune.report(loss=(config["x"] - 0.3) ** 2 + (config["kind"] == "a"))

space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1), "kind": tune.choice(["a", "b"])}
found = tune.run(train, config=space, metric="loss", mode="min", num_samples=40, search_alg=Long(seed=5), seed=1, name="one",
                 storage_path=str(folder), executor="inline", resume="AUTO", verbose=0)
print([trial.config for trial in found.trials])
"""


def test_a_killed_run_goes_on_with_the_configs_of_one_that_was_not(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)

    def configs(folder: Path, deadly: int) -> str | None:
        folder.mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, str(script), str(folder), str(deadly)], capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.stdout if done.returncode == 0 else None

    assert configs(tmp_path / "killed", 3) is None  # while it is TPE's turn
    assert configs(tmp_path / "killed", 9) is None  # and twice while it is that of the Gaussian process
    assert configs(tmp_path / "killed", 12) is None
    assert configs(tmp_path / "killed", 0) == configs(tmp_path / "whole", 0)
