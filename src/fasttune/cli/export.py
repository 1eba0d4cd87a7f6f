"""export: trials or reports for other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fasttune.cli import CommandError
from fasttune.cli import arguments as common
from fasttune.cli.report import metrics
from fasttune.scope import SCOPES

if TYPE_CHECKING:
    import pandas as pd

    from fasttune.engine.records import ExperimentRecords

EXAMPLES = """\
  fasttune export mnist --to csv > trials.csv           a row for each trial: its last report, config and state
  fasttune export mnist --to jsonl --reports | head     a row for each report
  fasttune export mnist --to parquet --reports -o reports.parquet
  fasttune export mnist --to sqlite -o mnist.db         tables trials and reports, for SQL
  fasttune export mnist --to optuna -o study.db         a study, for optuna-dashboard; or study.log, a journal of Optuna's
  fasttune export mnist --to optuna -o study.db --metrics loss=min,seconds=min --name both
  fasttune export mnist --to mlflow -o mlflow.db        a run for each trial; or the URL of an MLflow server
  fasttune export mnist --to ray -o FOLDER              a folder that Ray Tune's ExperimentAnalysis opens"""

OPTIONS = ("metrics", "scope", "name")
NAMED = {"optuna": "study_name", "mlflow": "experiment_name"}  # forms that have the options, and what --name is there
WHOLE = ("sqlite", "ray", "optuna", "mlflow")  # forms of the experiment, not of one table; see fasttune.analysis.exchange


class Form(NamedTuple):
    """How ``--to`` writes a frame: as text, some rows at a time, or as a file."""

    text: Callable[[Any, pd.DataFrame], None] | None = None
    file: Callable[[pd.DataFrame, str], None] | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("--to", choices=(*FORMS, *WHOLE), required=True, help="form; all but csv and jsonl need -o")
    parser.add_argument("--reports", action="store_true", help="a row for each report, not for each trial")
    parser.add_argument("--output", "-o", metavar="PATH", help="file, folder or storage; default: the standard output")
    parser.add_argument("--metrics", type=metrics, metavar="A=min,B=max", help="optuna, mlflow: objectives; default: its metric")
    parser.add_argument("--scope", choices=SCOPES, help="likewise: which value of a trial is its value")
    parser.add_argument("--name", help="likewise: of the study, or of MLflow's experiment; default: that of EXP")


def run(asked: argparse.Namespace) -> int:
    """Write the rows."""
    from fasttune.cli.finding import find, opened
    from fasttune.cli.trials import trials_of

    check_output(asked)
    source = opened(find(asked.experiment))
    if asked.to in WHOLE:
        from fasttune.analysis import ExperimentAnalysis

        try:
            ExperimentAnalysis(source).export(asked.output, asked.to, **options_of(asked))
        except ValueError as error:
            raise CommandError(in_options(str(error))) from error
        print(f"{len(source):,} trials written to {asked.output}", file=sys.stderr)
        return 0
    frame = reports_of(source) if asked.reports else trials_of(source)
    write(FORMS[asked.to], frame, asked.output)
    if asked.output:
        print(f"{len(frame):,} rows written to {asked.output}", file=sys.stderr)
    return 0


def check_output(asked: argparse.Namespace) -> None:
    """Say what is missing before the experiment is read."""
    from fasttune.analysis.exchange.forms import check_folder, check_library

    form = FORMS.get(asked.to, Form())
    if form.text is None and asked.output is None:
        raise CommandError(f"--to {asked.to} is no text: give -o FILE")
    if refused := [f"--{option}" for option in OPTIONS if getattr(asked, option) is not None and asked.to not in NAMED]:
        raise CommandError(f"--to {asked.to} takes no {', '.join(refused)}: {' and '.join(NAMED)} do")
    if asked.to in WHOLE and asked.reports:
        raise CommandError(f"--to {asked.to} writes trials and their reports: leave --reports out")
    try:
        check_library(asked.to, "fasttune export --to")
        if asked.output is not None:
            check_folder(asked.to, asked.output)
    except (ImportError, FileNotFoundError) as error:
        raise CommandError(str(error)) from error


def options_of(asked: argparse.Namespace) -> dict[str, Any]:
    """Options of ``analysis.export``."""
    given = {option: value for option in OPTIONS if (value := getattr(asked, option)) is not None}
    return {NAMED[asked.to] if option == "name" else option: value for option, value in given.items()}


def in_options(text: str) -> str:
    """An error of ``analysis.export`` as somebody reads it who typed options."""
    for option in NAMED.values():
        text = text.replace(f"{option}=", "--name")
    return text.replace('metrics={"loss": "min"}', "--metrics loss=min")


def write(form: Form, frame: pd.DataFrame, output: str | None) -> None:
    """The frame in one of the forms, to a file or the standard output."""
    if form.file is not None:
        assert output is not None  # check_output has asked for it
        form.file(frame, output)
    elif form.text is not None and output is not None:
        with open(output, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            form.text(file, frame)
    elif form.text is not None:
        form.text(sys.stdout, frame)


def reports_of(source: ExperimentRecords) -> pd.DataFrame:
    """One line for each report, by trial and then iteration."""
    import numpy as np

    from fasttune.analysis.frames import reports_frame
    from fasttune.tables.columns import Columns

    columns = Columns(source)
    frame = reports_frame(columns, np.arange(len(columns)))
    first = [name for name in ("trial_id", "training_iteration") if name in frame]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]


# ---- forms: whoever reads the first rows does not wait for the last


def as_csv(file: Any, frame: pd.DataFrame) -> None:
    """As ``analysis.export(format="csv")`` does."""
    from fasttune.analysis.exchange.csv import write_rows

    write_rows(file, frame)


def as_json_lines(file: Any, frame: pd.DataFrame) -> None:
    """As ``analysis.export(format="jsonl")`` does."""
    from fasttune.analysis.exchange.jsonl import write_rows

    write_rows(file, frame)


def as_parquet(frame: pd.DataFrame, path: str) -> None:
    """As ``analysis.to_parquet`` does."""
    from fasttune.analysis.exports import to_parquet

    to_parquet(frame, path)


FORMS = {
    "csv": Form(text=as_csv),
    "jsonl": Form(text=as_json_lines),
    "parquet": Form(file=as_parquet),
}
