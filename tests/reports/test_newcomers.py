"""What people write in their first hour, and were not told about."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.schedulers import ASHAScheduler

EXECUTORS = pytest.mark.parametrize("executor", ["inline", "thread", "process"])


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(trainable: Any, **more: Any) -> Any:
        given = {"storage_path": tmp_path, "verbose": 0, "executor": "inline", "metric": "loss", "mode": "min"}
        return tune.run(trainable, **{**given, **more})

    return run


@EXECUTORS
def test_a_number_behind_reports_took_the_place_of_the_metric(run: Any, executor: str) -> None:
    """A function that reports its loss and returns its accuracy had the accuracy as its loss, and the worst config won."""

    def train(config: dict[str, Any]) -> float:
        for i in range(3):
            tune.report(loss=config["x"] + 2 - i)
        return 1.0 - config["x"]

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = run(train, config={"x": tune.grid_search([0.1, 0.5, 0.9])}, executor=executor)
    assert found.best_config["x"] == 0.1
    assert [trial.last_result["training_iteration"] for trial in found.trials] == [3, 3, 3]


def test_it_is_said_that_the_number_is_dropped(run: Any) -> None:
    """Nobody was told where the returned number had gone."""

    def train(config: dict[str, Any]) -> bool:
        tune.report(loss=1.0)
        return True

    with pytest.warns(UserWarning, match=r"returned \(True\) is dropped.*tune.report\(loss=\.\.\.\)"):
        run(train)


@EXECUTORS
def test_what_a_generator_returns_is_its_last_report(run: Any, executor: str) -> None:
    """A generator yields its way and returns the final loss, which was lost."""

    def train(config: dict[str, Any]) -> Any:
        yield {"loss": 2.0}
        return {"loss": 1.0}

    (trial,) = run(train, executor=executor).trials
    assert (trial.last_result["loss"], trial.last_result["training_iteration"]) == (1.0, 2)


@EXECUTORS
@pytest.mark.parametrize("how", ["stop", "asha", "function"])
def test_reports_of_a_trial_that_does_not_listen_count_no_more(run: Any, executor: str, how: str) -> None:
    """A training loop catches everything around its report: it was not stopped, and all its reports counted."""

    def train(config: dict[str, Any]) -> None:
        for _ in range(50):
            with suppress(BaseException):
                tune.report(loss=1.0)

    more: dict[str, Any] = {
        "stop": {"stop": {"training_iteration": 3}},
        "asha": {"scheduler": ASHAScheduler(max_t=3)},
        "function": {"stop": lambda trial_id, result: result["training_iteration"] >= 3},
    }[how]
    found = run(train, num_samples=3, executor=executor, **more)
    assert [trial.last_result["training_iteration"] for trial in found.trials] == [3, 3, 3]
    again = tune.ExperimentAnalysis(found.experiment_path)
    assert [trial.last_result["training_iteration"] for trial in again.trials] == [3, 3, 3]


def test_the_trial_behind_one_that_does_not_listen_runs_as_ever(run: Any) -> None:
    """After a trial had been stopped, the next one in its process reported nothing."""

    def train(config: dict[str, Any]) -> None:
        for i in range(5):
            try:
                tune.report(loss=float(i), seen=config["i"])
            except BaseException:
                if config["i"] == 0:
                    continue
                raise

    found = run(train, config={"i": tune.grid_search([0, 1, 2])}, stop=lambda trial_id, result: result["loss"] >= 3)
    assert [trial.last_result["loss"] for trial in found.trials] == [3.0] * 3


def test_another_metric_took_the_mode_of_the_runs(run: Any) -> None:
    """A user asked for the best accuracy of a run that minimises its loss, and got the worst."""
    found = run(lambda config: {"loss": config["x"], "acc": 1 - config["x"]}, config={"x": tune.grid_search([0.1, 0.9])})
    with pytest.raises(ValueError, match="metric='acc' was given without a mode"):
        found.get_best_config("acc")
    assert found.get_best_config("acc", "max") == {"x": 0.1}
    assert found.get_best_config("loss") == {"x": 0.1}


def test_a_threshold_on_a_loss_ends_trials_at_their_first_report(run: Any) -> None:
    """A user meant to stop at a loss of 0.1 or less, and every trial ended where its loss was largest."""

    def train(config: dict[str, Any]) -> None:
        for i in range(5):
            tune.report(loss=5.0 - i)

    with pytest.warns(RuntimeWarning, match=r"stop={'loss': 0.1} ends a trial whose loss is 0.1 or more.*<= 0.1"):
        run(train, stop={"loss": 0.1}, num_samples=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(train, stop={"loss": 0.1}, mode="max", num_samples=4)
        run(train, stop={"loss": 100}, num_samples=4)  # one that diverges


@pytest.mark.parametrize("value", ["0.5", [0.5], None])
def test_a_metric_that_is_no_number_is_not_called_misspelt(run: Any, value: Any) -> None:
    """A metric was reported as a text: "reported is 'loss'. Did you mean 'loss'?" """
    with pytest.raises(tune.TuneError, match="reported the metric 'loss' as a number: it is there") as raised:
        run(lambda config: {"loss": value}, num_samples=3)
    assert "Did you mean" not in str(raised.value).partition("\n")[0]


def test_a_mode_alone_is_about_a_returned_number(run: Any) -> None:
    """A user forgot the metric, and read about '_metric'."""
    with pytest.raises(tune.TuneError, match=r"'_metric' \(which a mode without a metric means: a returned number\)"):
        run(lambda config: {"loss": 1.0}, metric=None, num_samples=3)


def test_going_on_says_what_is_there(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that went on with a finished experiment said that its trials had ended just now."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        if config["i"] == 1:
            raise RuntimeError("once")
        return {"loss": 1.0}

    for _ in range(2):
        run(
            train,
            config={"i": tune.grid_search([0, 1, 2])},
            name="going",
            resume="AUTO",
            verbose=1,
            raise_on_failed_trial=False,
        )
    said = capsys.readouterr().out
    assert said.count("going on with") == 1
    assert "3 trials, 3 of them ended (1 failed; resume='AUTO+ERRORED' runs those again)" in said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lr": tune.uniform}, r"config\['lr'\] is the function tune.uniform itself: call it"),
        ({"net": {"kind": tune.choice}}, r"config\['kind'\] is the function tune.choice itself"),
        ({"lr": {tune.uniform(0, 1), 2}}, r"config\['lr'\] is a set of domains"),
    ],
)
def test_a_domain_that_was_not_called_reached_the_trial(run: Any, config: Any, said: str) -> None:
    """A user forgot the brackets, and the function arrived in the trial."""
    with pytest.raises(ValueError, match=said):
        run(lambda config: {"loss": 1.0}, config=config)


class Net:
    """Nothing of it is in how it prints."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __repr__(self) -> str:
        return "a net"


@pytest.mark.parametrize(
    "values",
    [
        [Net(1), Net(2)],
        [Net(3), Net(3)],
        ["thing at 0x1", "thing at 0x2"],
        [[0.0] * 100_000 + [1.0], [0.0] * 100_000 + [2.0]],
        [(lambda x: x), (lambda x: x + 1)],
    ],
    ids=["objects", "equal objects", "texts", "long lists", "functions"],
)
def test_configs_that_print_alike_are_not_one_config(run: Any, values: list[Any]) -> None:
    """With on_duplicate="reuse" a trial was given the result of another one, because its object prints like that one's."""

    def train(config: dict[str, Any]) -> dict[str, float]:
        value = config["value"]
        number = value.width if isinstance(value, Net) else value(1) if callable(value) else value[-1]
        return {"loss": float(number if not isinstance(number, str) else int(number))}

    def expected(value: Any) -> float:
        return train({"value": value})["loss"]

    found = run(
        train, config={"value": tune.choice(values)}, search_alg="random", seed=1, num_samples=6, on_duplicate="reuse"
    )
    assert [trial.last_result["loss"] for trial in found.trials] == [expected(trial.config["value"]) for trial in found.trials]


def test_the_reason_of_a_group_of_exceptions_is_its_own(run: Any) -> None:
    """A trial failed with a group of exceptions, and the screen said "failed: +-----------"."""
    from fasttune.failure import read_reason

    def train(config: dict[str, Any]) -> None:
        raise ExceptionGroup("both", [ValueError("first"), KeyError("second")])

    found = run(train, raise_on_failed_trial=False, executor="process")
    text = Path(found.trials[0].error_file).read_text() if found.trials[0].error_file else str(found.trials[0].get_error())
    assert read_reason(text.partition("failed:\n")[2] or text).what.startswith("ExceptionGroup: both")


def test_one_experiment_that_never_began_hides_no_other(run: Any, tmp_path: Path) -> None:
    """A run was killed at its start, and all experiments beside it could not be looked at any more."""
    run(lambda config: {"loss": 1.0}, name="good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "experiment.db").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="passed over"):
        found = tune.Analysis(tmp_path)
    assert len(found.trials) == 1


@pytest.mark.parametrize(
    ("source", "guarded"),
    [
        ("if __name__ == '__main__':\n    run()\n", True),
        ("if '__main__' == __name__: run()\n", True),
        ("log = logging.getLogger(__name__)\nrun()\n", False),
    ],
)
def test_only_a_script_that_looks_at_its_name_is_imported_again(tmp_path: Path, source: str, guarded: bool) -> None:
    """A script without a guard, with a logger, was imported by every process that a trial spawned."""
    from fasttune.script import _asks_for_its_name

    (tmp_path / "script.py").write_text(source)
    assert _asks_for_its_name(str(tmp_path / "script.py")) is guarded
