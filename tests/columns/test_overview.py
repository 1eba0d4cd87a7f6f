"""What notebooks show: short, best first, escaped, and without a look at trials that are not shown."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

import fasttune as tune
from fasttune.analysis import ExperimentAnalysis, ResultGrid
from fasttune.engine.records import ExperimentRecords
from fasttune.trial import Trial


def train(config: dict[str, Any]) -> None:
    if config["x"] == 33:
        raise RuntimeError("<script>alert(1)</script>")
    tune.report({"<loss>": math.nan if config["x"] % 10 == 0 else 50.0 - config["x"], "long": "y" * 500})


@pytest.fixture
def analysis() -> Any:
    space = {"x": tune.grid_search(list(range(40))), "<b>": "<i>&"}
    return tune.run(
        train, config=space, metric="<loss>", mode="min", verbose=0, executor="inline", raise_on_failed_trial=False
    )


def shown_ids(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"<tr><td>[0-9a-z]+_(\d{5})</td>", html)]


BEST = [i for i in range(39, -1, -1) if i % 10 and i != 33]


def test_the_best_twenty_come_first(analysis: Any) -> None:
    for one in (analysis, ResultGrid(analysis), ExperimentAnalysis(analysis.experiment_path)):
        html = one._repr_html_()
        assert shown_ids(html) == BEST[:20]
        assert "40 trials (39 TERMINATED, 1 ERROR)" in html
        assert "and 20 more" in html
        assert len(html) < 10_000


def test_other_questions(analysis: Any) -> None:
    source = analysis._source
    assert shown_ids(ExperimentAnalysis(source, default_mode="max")._repr_html_()) == BEST[::-1][:20]
    assert shown_ids(ExperimentAnalysis(source, default_scope="avg")._repr_html_()) == BEST[:20]
    few = ExperimentAnalysis(source, trials=[analysis.trials[i] for i in (33, 0, 1, 2)])
    assert shown_ids(few._repr_html_()) == [2, 1, 33, 0]  # those without a score come last, in their order
    assert "more</p>" not in few._repr_html_()
    unsteered = tune.run(train, config={"x": tune.grid_search([1, 2])}, verbose=0, executor="inline")
    assert shown_ids(unsteered._repr_html_()) == [0, 1]


def test_everything_is_escaped_and_cut(analysis: Any) -> None:
    failed = analysis.trials[33]
    result = ResultGrid(analysis)[33]
    pages = [analysis._repr_html_(), failed._repr_html_(), result._repr_html_(), analysis.trials[39]._repr_html_()]
    for html in (*pages, ResultGrid(analysis)[39]._repr_html_()):
        for text in ("<loss>", "<b>=", "<i>", "<script>", "y" * 100):
            assert text not in html
    assert "&lt;loss&gt;=11" in pages[3]
    assert "&lt;b&gt;=&lt;i&gt;&amp;" in pages[3]
    assert "&lt;script&gt;" in pages[1]
    assert "&lt;script&gt;" in pages[2]


def test_only_what_is_shown_is_looked_at(analysis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    last_result = ExperimentRecords.last_result

    def watched(self: ExperimentRecords, i: int) -> dict[str, Any]:
        looked_at.append(i)
        return last_result(self, i)

    monkeypatch.setattr(ExperimentRecords, "last_result", watched)
    monkeypatch.setattr(ExperimentRecords, "report_blocks", lambda self: pytest.fail("the reports were read"))
    analysis._repr_html_()
    assert looked_at == BEST[:20]


def test_an_object_that_cannot_be_printed_costs_no_table() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise OSError("no")

    from fasttune.html_table import listed

    assert listed({"a": Unprintable(), "b": 1.5}) == "a=<Unprintable: OSError>, b=1.5"
    assert listed({str(k): k for k in range(40)}).endswith("29=29 and 10 more")


def test_a_snapshot_is_shown_too(analysis: Any) -> None:
    import pickle

    assert shown_ids(pickle.loads(pickle.dumps(analysis))._repr_html_()) == BEST[:20]
    trial: Trial = pickle.loads(pickle.dumps(analysis.trials[39]))
    assert "TERMINATED" in trial._repr_html_()
