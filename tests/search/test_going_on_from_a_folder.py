"""Searchers that go on from the folder of an earlier run, and own searchers as Ray Tune's users have written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import ConcurrencyLimiter, Repeater, Searcher, TPESearch, UniqueSearch

SPACE = {"x": tune.uniform(-1, 1), "kind": tune.choice(["a", {"n": tune.randint(0, 5)}]), "fixed": 3}


def loss(config: dict[str, Any]) -> None:
    for step in range(2):
        tune.report(loss=config["x"] ** 2 - step)


def run(folder: Path, searcher: Any, n: int, **options: Any) -> tune.ExperimentAnalysis:
    asked: dict[str, Any] = {"config": SPACE, "metric": "loss", "mode": "min", "max_concurrent_trials": 1, **options}
    return tune.run(
        loss, search_alg=searcher, num_samples=n, storage_path=str(folder), executor="inline", verbose=0, **asked
    )


def configs(analysis: tune.ExperimentAnalysis) -> list[dict[str, Any]]:
    return [trial.config for trial in analysis.trials]


@pytest.mark.parametrize("wrapped", [lambda s: s, lambda s: ConcurrencyLimiter(s, 1), Repeater, UniqueSearch])
def test_A10_a_searcher_goes_on_from_the_folder_of_a_run(tmp_path: Path, wrapped: Any) -> None:
    whole = run(tmp_path, wrapped(TPESearch(seed=4)), 16)
    first = run(tmp_path, wrapped(TPESearch(seed=4)), 12)
    second = wrapped(TPESearch(seed=4))
    second.restore_from_dir(first.experiment_path)
    assert configs(first) + configs(run(tmp_path, second, 4)) == configs(whole)


def test_A10_a_searcher_that_has_its_space_goes_on_at_once(tmp_path: Path) -> None:
    first = run(tmp_path, TPESearch(SPACE, "loss", "min", seed=4), 3, config={}, metric=None, mode=None)
    again, whole = (TPESearch(SPACE, "loss", "min", seed=4) for _ in range(2))
    again.restore_from_dir(first.experiment_path)
    for trial in first.trials:
        whole.suggest(trial.trial_id)
        whole.on_trial_complete(trial.trial_id, trial.last_result)
    assert again.suggest("next") == whole.suggest("next")


class Counting(Searcher):
    """Takes the run's properties without ``**spec``, and makes no use of the base class's ``__init__``."""

    def __init__(self) -> None:
        self.given = 0
        self.heard: list[Any] = []
        self.told: Any = None

    def set_search_properties(self, metric, mode, config):  # type: ignore[no-untyped-def,override]
        self.told = metric, mode, sorted(config)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.given += 1
        return {"x": self.given / 10, "kind": "a"}

    def on_trial_complete(self, trial_id, result=None, error=False) -> None:  # type: ignore[no-untyped-def]
        self.heard.append((result and result["loss"], error))


def test_A2_an_own_searcher_takes_what_its_signature_names(tmp_path: Path) -> None:
    searcher = Counting()
    analysis = run(tmp_path, searcher, 2)
    assert searcher.told == ("loss", "min", ["fixed", "kind", "x"])
    assert [config["x"] for config in configs(analysis)] == [0.1, 0.2]
    limited = Counting()
    run(tmp_path, ConcurrencyLimiter(limited, 1), 1)
    assert limited.told == searcher.told


def test_A2_a_part_of_the_spec_may_be_taken_too(tmp_path: Path) -> None:
    class Samples(Counting):
        def set_search_properties(self, metric, mode, config, num_samples=None):  # type: ignore[no-untyped-def,override]
            self.told = num_samples
            return True

    searcher = Samples()
    run(tmp_path, searcher, 2)
    assert searcher.told == 2


def test_C13_an_own_scheduler_takes_what_its_signature_names(tmp_path: Path) -> None:
    class Told(tune.schedulers.FIFOScheduler):
        def set_search_properties(self, metric, mode):  # type: ignore[no-untyped-def,override]
            self.goal = metric, mode
            return True

    scheduler = Told()
    run(tmp_path, None, 1, scheduler=scheduler)
    assert scheduler.goal == ("loss", "min")


def test_A10_an_own_searcher_hears_the_earlier_run_again(tmp_path: Path) -> None:
    first = run(tmp_path, Counting(), 3)
    again = Counting()
    again.restore_from_dir(first.experiment_path)
    assert again.given == 0  # it is told the space by the run, and has to know it before
    analysis = run(tmp_path, again, 2)
    assert [config["x"] for config in configs(analysis)] == [0.4, 0.5]
    assert [value for value, _ in again.heard] == pytest.approx([0.01 - 1, 0.04 - 1, 0.09 - 1, 0.16 - 1, 0.25 - 1])


def test_A10_a_saved_state_is_taken_before_the_journal_and_nothing_at_all_is_said(tmp_path: Path) -> None:
    first = run(tmp_path, Counting(), 1)
    saved = Counting()
    saved.given = 40
    saved.save_to_dir(first.experiment_path)
    again = Counting()
    again.restore_from_dir(first.experiment_path)
    assert again.given == 40
    with pytest.raises(RuntimeError, match=r"no searcher state .* and no experiment in"):
        again.restore_from_dir(str(tmp_path / "nothing"))
