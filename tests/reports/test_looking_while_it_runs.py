"""An analysis that is made in a callback, while the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


class Looks(tune.Callback):
    """Asks for every report, at each report."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **more: Any) -> None:
        self.seen.append(len(tune.ExperimentAnalysis(trials._source).dataframe()))


def train(config: dict[str, Any]) -> None:
    for step in range(5):
        tune.report(score=config["x"] * step)


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_reports_that_came_later_are_in_the_results(tmp_path: Path, executor: str) -> None:
    """A callback looked at the data frames, and the analysis of the finished run lacked all reports that came later."""
    looks = Looks()
    space = {"x": tune.grid_search([1, 2, 3])}
    analysis = tune.run(
        train,
        config=space,
        callbacks=[looks],
        executor=executor,
        storage_path=tmp_path,
        verbose=0,
        metric="score",
        mode="max",
    )
    assert analysis.stats()["reports"] == 15
    assert [len(frame) for frame in analysis.trial_dataframes.values()] == [5, 5, 5]
    assert max(looks.seen) <= 3
    assert analysis.best_config == {"x": 3}
