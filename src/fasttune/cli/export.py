"""export: trials or reports for other programs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from fasttune.cli import CommandError
from fasttune.cli import arguments as common

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.records import ExperimentRecords

EXAMPLES = """\
  fasttune export mnist --to csv > trials.csv           a row for each trial: its last report, config and state
  fasttune export mnist --to jsonl --reports | head     a row for each report
  fasttune export mnist --to parquet --reports -o reports.parquet
  fasttune export mnist --to sqlite -o mnist.db         tables trials and reports, for SQL
  fasttune export mnist --to optuna -o study.db         a study, for optuna-dashboard; or study.log, a journal of Optuna's
  fasttune export mnist --to mlflow -o mlflow.db        a run for each trial; or the URL of an MLflow server
  fasttune export mnist --to ray -o FOLDER              a folder that Ray Tune's ExperimentAnalysis opens"""

WHOLE = ("sqlite", "ray", "optuna", "mlflow")  # forms of the experiment, not of one table; see fasttune.analysis.exchange
FORMS = ("csv", "jsonl", "parquet", *WHOLE)
NO_TEXT = ("parquet", *WHOLE)
AT_ONCE = 10_000  # rows that are turned into text together


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("--to", choices=FORMS, required=True, help="form; all but csv and jsonl need -o")
    parser.add_argument("--reports", action="store_true", help="a row for each report, not for each trial")
    parser.add_argument("--output", "-o", metavar="PATH", help="file, folder or storage; default: the standard output")


def run(asked: argparse.Namespace) -> int:
    """Write the rows."""
    from fasttune.cli.finding import find, opened
    from fasttune.cli.trials import trials_of

    check_output(asked)
    source = opened(find(asked.experiment))
    if asked.to in WHOLE:
        from fasttune.analysis import ExperimentAnalysis

        try:
            ExperimentAnalysis(source).export(asked.output, asked.to)
        except ValueError as error:
            raise CommandError(str(error)) from error
        print(f"{len(source):,} trials written to {asked.output}", file=sys.stderr)
        return 0
    frame = reports_of(source) if asked.reports else trials_of(source)
    if asked.to == "parquet":
        for_parquet(frame).to_parquet(asked.output, index=False)
    elif asked.output:
        with open(asked.output, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            write(file, frame, asked.to)
    else:
        write(sys.stdout, frame, asked.to)
    if asked.output:
        print(f"{len(frame):,} rows written to {asked.output}", file=sys.stderr)
    return 0


def check_output(asked: argparse.Namespace) -> None:
    """Say what is missing before the experiment is read."""
    from fasttune.analysis.exchange.forms import check_library

    if asked.to in NO_TEXT and asked.output is None:
        raise CommandError(f"--to {asked.to} is no text: give -o FILE")
    if asked.to in WHOLE and asked.reports:
        raise CommandError(f"--to {asked.to} writes trials and their reports: leave --reports out")
    try:
        check_library(asked.to, "fasttune export --to")
    except ImportError as error:
        raise CommandError(str(error)) from error


def reports_of(source: ExperimentRecords) -> pd.DataFrame:
    """One line for each report, by trial and then iteration."""
    import numpy as np

    from fasttune.analysis.frames import reports_frame
    from fasttune.columns import Columns

    columns = Columns(source)
    frame = reports_frame(columns, np.arange(len(columns)))
    first = [name for name in ("trial_id", "training_iteration") if name in frame]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]


def write(file: Any, frame: pd.DataFrame, form: str) -> None:
    """The rows as text, some at a time: whoever reads the first ones does not wait for the last."""
    import csv

    from fasttune.cli.listing import plain, values_of

    names = list(frame.columns)
    lines = csv.writer(file, lineterminator="\n")
    if form == "csv":
        lines.writerow(names)
    for first in range(0, len(frame), AT_ONCE):
        part = frame.iloc[first : first + AT_ONCE]
        rows = zip(*(values_of(part[name]) for name in names), strict=True)
        if form == "csv":
            lines.writerows(rows)
            continue
        for row in rows:
            file.write(json.dumps(dict(zip(names, plain(list(row)), strict=True)), default=str) + "\n")


def for_parquet(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of one type each: what is mixed, or no plain value, as JSON."""
    import pandas as pd

    from fasttune.cli.listing import values_of

    made = frame.copy()
    for name in made.columns:
        if made[name].dtype != object:
            continue
        values = values_of(made[name])
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 or not kinds <= {str, bool, int, float}:
            values = [None if value is None else json.dumps(value, default=str) for value in values]
        made[name] = pd.Series(values, dtype=object, index=made.index)
    return made
