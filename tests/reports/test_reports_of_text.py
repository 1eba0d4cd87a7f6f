"""Reports that hold no number."""

from __future__ import annotations

import warnings
from pathlib import Path

import fasttune as tune


def test_a_report_of_text_alone_is_a_report(tmp_path: Path) -> None:
    """Trials that reported the name of a file were said to have reported nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analysis = tune.run(
            lambda config: tune.report(where="a/file"), num_samples=4, executor="inline", storage_path=tmp_path, verbose=0
        )
    assert {trial.last_result["where"] for trial in analysis.trials} == {"a/file"}
