"""Which trial is best: one meaning on the screen, in the analysis, in the grid and on the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from snapshots import Kept

import fasttune as tune
from fasttune.cli import main
from fasttune.error import NoBestTrialError
from fasttune.reporter import CLIReporter
from fasttune.scope import SCOPES
from fasttune.tables.best import Leader, best_of

CURVES = {"early": [0.2, 0.95, 0.5], "late": [0.1, 0.6, 0.7], "level": [0.68, 0.68, 0.68]}
BEST = {"last": ("late", 0.7), "all": ("early", 0.95), "avg": ("level", 0.68)}


def train(config: dict[str, Any]) -> None:
    for value in CURVES[config["name"]]:
        tune.report(accuracy=value)


def run(folder: Path, **more: Any) -> tune.ExperimentAnalysis:
    space = {"name": tune.grid_search(list(CURVES))}
    return tune.run(
        train, name="e", config=space, metric="accuracy", mode="max", executor="inline", storage_path=folder, **more
    )


@pytest.mark.parametrize("scope", BEST)
def test_all_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], scope: str) -> None:
    """The screen named another trial than best_trial, and the command line named a third."""
    name, value = BEST[scope]
    analysis = run(tmp_path, scope=scope)
    said = capsys.readouterr().out.splitlines()[-1]
    assert analysis.best_config == {"name": name}
    best = analysis.best_trial.trial_id
    assert f" by trial {best} with {{'name': '{name}'}}" in said
    assert f" {value:g}" in said
    later = tune.ExperimentAnalysis(tmp_path / "e")
    assert later.best_said == analysis.best_said
    assert later.best_config == {"name": name}
    assert main(["show", str(tmp_path / "e"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["best"]["trial_id"], shown["best"]["value"], shown["scope"]) == (best, pytest.approx(value), scope)
    assert main(["lsx", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["best"] == pytest.approx(value)


@pytest.mark.parametrize("scope", BEST)
def test_every_door_takes_a_scope(tmp_path: Path, scope: Any) -> None:
    """A scope could be given to a run, and to nothing else that has a best trial."""
    name, value = BEST[scope]
    space = {"name": tune.grid_search(list(CURVES))}
    goal: dict[str, Any] = {"metric": "accuracy", "mode": "max", "scope": scope}

    def curve(config: dict[str, Any], step: int) -> dict[str, Any] | None:
        return {"accuracy": CURVES[config["name"]][step - 1]} if step <= 3 else None

    simulated = tune.simulate(curve, space, **goal)
    with tune.open_experiment(space, name="told", num_samples=1, storage_path=tmp_path, **goal) as experiment:
        for _ in CURVES:
            asked = experiment.ask()
            assert asked is not None
            for told in CURVES[asked.config["name"]]:
                experiment.report(asked, told)
            experiment.tell(asked)
    spec = {"run": train, "config": space, "storage_path": str(tmp_path)}
    tune.run_experiments({"several": spec}, verbose=0, scope=scope)
    for found in (simulated, experiment.analysis, tune.ExperimentAnalysis(tmp_path / "told")):
        assert found.best_config == {"name": name}
        assert found.best_said.split(" by ")[0].split(" (max)")[0].endswith(f"{value:g}")
    several = tune.ExperimentAnalysis(tmp_path / "several", default_metric="accuracy", default_mode="max")
    assert several.best_config == {"name": name}
    for door, given in ((tune.simulate, (curve, space)), (tune.open_experiment, (space,))):
        with pytest.raises(ValueError, match="scope must be one of"):
            door(*given, scope="first")


def test_the_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """'best accuracy' stood on the screen, and nobody knew which of a trial's values it was."""
    run(tmp_path / "1")
    assert "best last accuracy 0.7 by trial" in capsys.readouterr().out
    analysis = run(tmp_path / "2", scope="all")
    assert "best accuracy 0.95, at iteration 2 by trial" in capsys.readouterr().out
    assert analysis.best_said.startswith("best accuracy 0.95 (max), at iteration 2 by trial")
    assert analysis.best_result["accuracy"] == 0.95
    assert analysis.best_result["training_iteration"] == 2
    assert analysis.best_result_df["accuracy"].tolist() == [0.95]
    assert main(["show", str(tmp_path / "2" / "e")]) == 0
    assert "best accuracy = 0.95 (max), at iteration 2 of 3 iterations" in capsys.readouterr().out
    run(tmp_path / "3", scope="last-5-avg")
    assert "best mean of the last 5 accuracy 0.68 by trial" in capsys.readouterr().out


def test_best_so_far_never_gets_worse(tmp_path: Path) -> None:
    """The best value on the screen went down while the run went on."""
    reporter = Kept()
    run(tmp_path, scope="all", progress_reporter=reporter)
    values = [one.leader.value for one in reporter.seen if one.leader is not None]
    assert values == sorted(values)
    assert values[-1] == 0.95
    last = reporter.seen[-1].leader
    assert last is not None
    assert last.step == 2
    assert {one.best_words("accuracy") for one in reporter.seen[:-1]} == {"accuracy so far"}


def test_the_status_block_says_what_it_shows(tmp_path: Path) -> None:
    """The table's last value was lower than that of the line above it."""
    reporter = Kept()
    run(tmp_path, scope="all", progress_reporter=reporter)
    block = CLIReporter(metric="accuracy", mode="max").best_line(reporter.seen[-1])
    assert "with accuracy=0.95 (best accuracy, at iteration 2) and parameters={'name': 'early'}" in block


def test_a_reporters_own_metric_goes_by_the_same_rule(tmp_path: Path) -> None:
    """A reporter with a metric of its own looked for the best by a rule of its own."""
    seen = Kept()
    space = {"name": tune.grid_search(list(CURVES))}
    tune.run(train, config=space, scope="all", executor="inline", storage_path=tmp_path, progress_reporter=seen)
    assert seen.seen[-1].leader is None  # the run has no metric
    status = CLIReporter(metric="accuracy", mode="max").snapshot([object()], [seen.seen[-1]])  # type: ignore[list-item]
    assert status.leader is not None
    assert status.leader.value == 0.95


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_table_and_the_reports_agree(tmp_path: Path, scope: str, mode: str) -> None:
    """After a retry the live line still counted values that the analysis had replaced."""

    def fails_once(config: dict[str, Any]) -> None:
        attempt = tune.get_checkpoint() is not None
        curve = [0.1, 0.2, math.nan, 0.3] if attempt else [0.9, math.inf, 0.0, 0.4]
        for step, value in enumerate(curve):
            tune.report({"m": value * config["x"]}, checkpoint=tune.Checkpoint.from_dict({}) if step == 0 else None)
        if config["x"] == 1 and not attempt:
            raise ValueError("once")

    seen = Kept()
    analysis = tune.run(
        fails_once, config={"x": tune.grid_search([1, 2, -1])}, metric="m", mode=mode, scope=scope, max_failures=1,
        executor="inline", storage_path=tmp_path, progress_reporter=seen,
    )  # fmt: skip
    stored = tune.ExperimentAnalysis(analysis.experiment_path)
    columns = stored._columns
    by_reports = best_of(stored._source, "m", mode, scope, columns=columns, chosen=range(3))
    assert best_of(analysis._source, "m", mode, scope) == by_reports
    last = seen.seen[-1].leader
    assert (last and (last.value, last.step)) == (by_reports and (by_reports.value, by_reports.step))
    assert (by_reports is None) == ("avg" in scope)  # NaN is in all of them
    if last is not None:
        assert last.trial_id == stored.best_trial.trial_id


def test_looking_for_the_best_costs_little(tmp_path: Path) -> None:
    """A screen that is drawn four times a second must not read a million reports each time."""
    source = run(tmp_path, scope="all")._source
    now = [100.0]
    leader = Leader(source, "all", clock=lambda: now[0])
    reads: list[int] = []
    real = source.report_blocks

    def slow() -> Any:
        reads.append(1)
        now[0] += 1.0
        return real()

    source.report_blocks = slow  # type: ignore[method-assign]
    for _ in range(200):
        leader("accuracy", "max")
        now[0] += 0.25
    assert 2 <= len(reads) <= 4
    assert leader("accuracy", "max", over=True) == best_of(source, "accuracy", "max", "all")


def test_the_scope_stays_with_the_experiment(tmp_path: Path) -> None:
    """After a resume 'best' meant something else, because the argument was not said again."""
    run(tmp_path, scope="all")
    assert run(tmp_path, resume=True).default_scope == "all"
    assert run(tmp_path, resume=True, scope="avg").best_config == {"name": "level"}
    assert tune.ExperimentAnalysis(tmp_path / "e").default_scope == "avg"
    assert tune.ExperimentAnalysis(tmp_path / "e", default_scope="last").best_config == {"name": "late"}


def test_a_tuner_has_it_too(tmp_path: Path) -> None:
    """get_best_result took another trial than the one on the screen."""
    tuner = tune.Tuner(
        train,
        param_space={"name": tune.grid_search(list(CURVES))},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", scope="all"),
        run_config=tune.RunConfig(storage_path=tmp_path, executor="inline", verbose=0),
    )
    grid = tuner.fit()
    assert grid.get_best_result().config == {"name": "early"}
    assert grid.get_best_result(scope="last").config == {"name": "late"}


def test_an_unknown_scope_is_an_error_at_once(tmp_path: Path) -> None:
    """A misspelt scope was found out when the run was over."""
    for wrong in ("best", "last-5", 5):
        with pytest.raises(ValueError, match="scope must be one of last, all, avg"):
            run(tmp_path, scope=wrong)
        with pytest.raises(ValueError, match="scope must be one of"):
            tune.TuneConfig(scope=wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_no_best_trial_is_an_error_that_says_why(tmp_path: Path) -> None:
    """best_config was None where no trial had the metric, and the next line failed for None."""
    analysis = tune.run(
        train, config={"name": tune.grid_search(list(CURVES))}, executor="inline", storage_path=tmp_path
    )
    with pytest.raises(NoBestTrialError, match=r"no metric says which trial is best.*tune\.run or ExperimentAnalysis"):
        _ = analysis.best_config
    other = tune.ExperimentAnalysis(analysis.experiment_path, default_metric="loss", default_mode="min")
    for name in ("best_trial", "best_config", "best_result", "best_logdir", "best_checkpoint", "best_dataframe"):
        with pytest.raises(
            NoBestTrialError, match="no trial has a usable value of metric 'loss'; reported were: accuracy"
        ):
            getattr(other, name)
    assert other.get_best_trial() is None
