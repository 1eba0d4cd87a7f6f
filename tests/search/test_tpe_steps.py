"""TPE compares trials at equal steps, and suggests by the step that tells most of the last one."""

from __future__ import annotations

import pickle
import random
import statistics
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import create_scheduler
from fasttune.search import TPESearch
from fasttune.search.tpe import is_compared_at

SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}


def test_steps_at_which_trials_are_compared() -> None:
    assert [step for step in range(200) if is_compared_at(step)] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]


def told(searcher: TPESearch, curve: Any, n: int, keep: float = 0.3) -> list[dict[str, Any]]:
    """n trials one after the other, of 16 steps; those whose first loss is above all but the share ``keep`` end there."""
    configs, firsts = [], []
    for number in range(n):
        config: Any = searcher.suggest(str(number))
        configs.append(config)
        firsts.append(curve(config, 1))
        stays = firsts[-1] <= sorted(firsts)[int(keep * (len(firsts) - 1))]
        for step in range(1, 16 if stays else 1):
            searcher.on_trial_result(str(number), {"loss": curve(config, step), "training_iteration": step})
        last = 16 if stays else 1
        searcher.on_trial_complete(str(number), {"loss": curve(config, last), "training_iteration": last})
    return configs


def good(config: dict[str, Any], step: int) -> float:
    return float((config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2 + 1 / step)


def misleading(config: dict[str, Any], step: int) -> float:
    """The first steps like x at 0.9, the last one at 0.2, among those that come there."""
    return float(abs(config["x"] - (0.9 if step < 12 else 0.2)) + 1 / step)


@pytest.mark.parametrize("seed", range(3))
def test_a_good_early_step_is_learnt_from(seed: int) -> None:
    """Though four trials of five never come further."""
    configs = told(TPESearch(SPACE, "loss", "min", seed=seed), good, 60, keep=0.2)
    off = [(config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2 for config in configs]
    assert statistics.median(off[30:]) < 0.5 * statistics.median(off[:10])


def test_who_came_far_is_not_good_for_that() -> None:
    """The first trials of an asynchronous run go on whatever they are worth. Of those that came later the worse end early."""
    searcher = TPESearch(SPACE, "loss", "min", n_initial_points=6, seed=1)
    for number in range(40):
        searcher.suggest(str(number))
        searcher._live[str(number)][:] = [0.9 if number < 12 else 0.2 + 0.01 * (number % 5), 0.5]  # where each is tried
        for step in range(1, 17 if number < 12 else 5):
            loss = searcher._live[str(number)][0] + 1 / step
            searcher.on_trial_result(str(number), {"loss": loss, "training_iteration": step})
        if number >= 12:
            searcher.on_trial_complete(str(number), {"loss": loss, "training_iteration": 4})
        else:
            searcher.on_trial_complete(str(number), {"loss": loss, "training_iteration": 16})
    models = searcher._models
    assert models[4.0].n_finished == 40
    assert models[16.0].n_finished == 12


@pytest.mark.parametrize("seed", range(3))
def test_a_step_that_misleads_is_not_believed(seed: int) -> None:
    searcher = TPESearch(SPACE, "loss", "min", seed=seed)
    told(searcher, misleading, 150, keep=0.5)
    assert searcher.step is not None
    assert searcher.step >= 12


def test_behind_any_scheduler_it_beats_random_search() -> None:
    def curve(config: dict[str, Any], step: int) -> dict[str, float]:
        return {"loss": good(config, step)}

    for scheduler in ("asha", "asha_promotion", "auto"):
        found = []
        for search_alg in ("tpe", None):
            made = [
                tune.simulate(
                    curve, SPACE, steps=27, num_samples=150, metric="loss", mode="min", workers=4, search_alg=search_alg,
                    scheduler=create_scheduler(scheduler, max_t=27, reduction_factor=3), seed=seed,
                )
                for seed in range(3)
            ]  # fmt: skip
            found.append(statistics.mean(one.best_result["loss"] for one in made))
        assert found[0] < found[1], scheduler


def test_a_config_that_can_be_counted_is_not_suggested_twice_by_another_step() -> None:
    space = {"a": tune.choice(list(range(6))), "b": tune.randint(0, 8)}
    searcher = TPESearch(space, "loss", "min", seed=1)
    configs = []
    for number in range(44):
        config: Any = searcher.suggest(str(number))
        configs.append(tuple(config.values()))
        for step in range(1, 2 + number % 9):
            result = {"loss": config["a"] + config["b"] / step, "training_iteration": step}
            searcher.on_trial_result(str(number), result)
        searcher.on_trial_complete(str(number), result)
    assert len(set(configs)) == 44


def test_whatever_happens_rows_are_those_of_a_slow_model() -> None:
    """Any order of suggestions, reports, pauses, ends, failures and results from elsewhere."""
    for seed in range(60):
        draw = random.Random(seed)
        space = SPACE if seed % 2 else {"a": tune.choice([1, 2, 3]), "b": tune.randint(0, 50)}
        searcher: Any = TPESearch(space, "loss", "min", n_initial_points=3, seed=seed)
        known: dict[float, int] = {}  # how many trials came to each step
        live: dict[str, int] = {}
        last = 0
        for number in range(80):
            what = draw.choice(["suggest", "suggest", "report", "report", "report", "pause", "end", "fail", "elsewhere"])
            if what == "suggest" or not live:
                live[str(number)] = 0
                assert isinstance(searcher.suggest(str(number)), dict)
                continue
            one = draw.choice(sorted(live))
            step, loss = live[one] + draw.choice([1, 1, 1, 2, 3]), draw.random()
            result = {"loss": loss, "training_iteration": step}
            if what == "report":
                searcher.on_trial_result(one, result)
            elif what == "end":
                searcher.on_trial_complete(one, result)
            elif what == "fail":
                searcher.on_trial_complete(one, error=True)
            elif what == "pause":
                searcher.on_pause(one)
            else:
                config = {name: domain.sample() for name, domain in space.items()}
                searcher.add_evaluated_point(config, loss, pruned=draw.random() < 0.3)
            if what == "report" and is_compared_at(step):
                known[step] = known.get(step, 0) + 1
                last = max(last, step)
            if what == "end" and (is_compared_at(step) or step >= last):
                known[step] = known.get(step, 0) + 1
                last = max(last, step)
            if what in ("report", "end"):
                live[one] = step
            if what in ("end", "fail"):
                del live[one]
        elsewhere = len(searcher._elsewhere)
        for step, n in known.items():
            more = elsewhere if step == last else 0
            assert searcher._models[step].n_finished == n + more, (seed, step)
        assert set(searcher._rows) <= set(live)
        twin = TPESearch(space, "loss", "min", n_initial_points=3, seed=seed)
        twin.set_state(pickle.loads(pickle.dumps(searcher.get_state())))
        assert [twin.suggest(f"n{k}") for k in range(5)] == [searcher.suggest(f"n{k}") for k in range(5)]
