"""What a searcher was told by the run in a folder, for one that goes on from there in another run."""

from __future__ import annotations

import os

from fasttune.engine.opening import open_records
from fasttune.folder import JOURNAL
from fasttune.result import flatten, reports_by_trial, results_of
from fasttune.search.heard import Heard
from fasttune.space.nested import unflatten_dict


def heard_in(folder: str) -> list[Heard] | None:
    """The trials of the experiment in a folder in the order of their suggestions; None if no experiment is there.

    Of each report the searcher is told what the trial said. What a scheduler has added (the budget of HyperBandForBOHB)
    is in no journal.
    """
    if not os.path.exists(os.path.join(folder, JOURNAL)):
        return None
    records = open_records(folder)
    reports = reports_by_trial(records.report_blocks())
    return [
        Heard(
            records.trial_id(i),
            unflatten_dict(records.evaluated_params(i)),
            [flatten(result) for result in results_of(reports.get(i, []), records.last_result(i))],
            records.status(i) == "ERROR",
        )
        for i in range(len(records))
    ]
