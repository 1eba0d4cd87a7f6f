"""JournalLogger: told behind the run of what the journal says, each report once, whatever ends and begins again."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fasttune as tune
import forks
from fasttune.follower import Follower, LoggingFailedError, PositionTakenError
from fasttune.logger import JournalLogger

Record = tuple[Any, ...]


class Lines(JournalLogger):
    """Writes a line of JSON for each call."""

    title = "Lines"
    key = "lines"
    niceness = 0  # the tests wait for it

    def __init__(self, file: str, *, fail_at: int = 0, wait_s: float = 0.0, **limits: Any) -> None:
        super().__init__(**limits)
        self.file = file
        self.fail_at = fail_at
        self.wait_s = wait_s
        self.told = 0

    def add(self, *record: Any) -> None:
        self.told += 1
        if self.told == self.fail_at:
            raise OSError("No space left on device")
        time.sleep(self.wait_s)
        with open(self.file, "a") as file:
            file.write(json.dumps(record) + "\n")

    def log_begin(self, experiment):
        self.add("begin", experiment.name, experiment.metric, experiment.goes_on)

    def log_trial_start(self, trial):
        self.add("start", trial.index, trial.config)

    def log_trial_result(self, iteration, trial, result):
        self.add("result", trial.index, iteration, result["loss"], result["trial_id"])

    def log_trial_save(self, trial):
        self.add("save", trial.index)

    def log_trial_attributes(self, trial, attributes):
        self.add("attributes", trial.index, attributes)

    def log_trial_end(self, trial, failed=False):
        self.add("end", trial.index, failed)

    def log_end(self, finished):
        self.add("finish", finished)


def told(file: str | Path, *kinds: str) -> list[list[Any]]:
    records = [json.loads(line) for line in Path(file).read_text().splitlines()]
    return [one for one in records if not kinds or one[0] in kinds]


def falls(config: dict[str, Any]) -> None:
    for epoch in range(3):
        tune.report(loss=config["x"] / (epoch + 1))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tune.ExperimentAnalysis]:
    def call(trainable=falls, **more: Any) -> tune.ExperimentAnalysis:
        usual = {
            "config": {"x": tune.grid_search([3.0, 2.0, 1.0])}, "metric": "loss", "mode": "min", "executor": "inline",
            "storage_path": tmp_path / "results", "name": "exp", "verbose": 0, "seed": 1,
        }  # fmt: skip
        return tune.run(trainable, **{**usual, **more})

    return call


def follow(path: str, logger: JournalLogger, stop_at: int = 0) -> Follower:
    """Log what there is, in this process. ``stop_at``: asked to stop with that call."""
    follower = Follower(path, logger, lambda told: None)
    if stop_at:
        add = logger.add

        def counted(*record):
            add(*record)
            follower.stop = follower.stop or logger.told >= stop_at

        logger.add = counted
    try:
        follower.run(lambda: True, lambda seconds: None)
    finally:
        follower.close()
    return follower


EXPECTED = [
    *(["start", 0, {"x": 3.0}], ["result", 0, 1, 3.0], ["result", 0, 2, 1.5], ["result", 0, 3, 1.0], ["end", 0, False]),
    *(["start", 1, {"x": 2.0}], ["result", 1, 1, 2.0], ["result", 1, 2, 1.0], ["result", 1, 3, 2 / 3], ["end", 1, False]),
    *(["start", 2, {"x": 1.0}], ["result", 2, 1, 1.0], ["result", 2, 2, 0.5], ["result", 2, 3, 1 / 3], ["end", 2, False]),
]


def without_ids(records: list[list[Any]]) -> list[list[Any]]:
    return [one[:4] if one[0] == "result" else one for one in records]


def test_a_run_is_logged_behind_it_by_a_process_of_its_own(run, tmp_path):
    analysis = run(callbacks=[Lines(str(tmp_path / "lines"))])
    records = told(tmp_path / "lines")
    assert records[0] == ["begin", "exp", "loss", False]
    assert without_ids(records[1:-1]) == EXPECTED
    assert records[-1] == ["finish", True]
    assert [one[4] for one in records if one[0] == "result"][::3] == [trial.trial_id for trial in analysis.trials]
    assert sorted(os.listdir(analysis.experiment_path)) == [".lock", "experiment.db", "logged.lines.json"]


def test_the_loop_calls_none_of_its_methods(run, tmp_path):
    from fasttune.callback import HOOKS, CallbackList

    callbacks = CallbackList([Lines(str(tmp_path / "lines"))])
    assert [hook for hook in HOOKS if callbacks.wants(hook)] == ["setup", "on_experiment_end"]


def test_what_is_logged_again_is_nothing(run, tmp_path):
    path = run().experiment_path
    follow(path, Lines(str(tmp_path / "lines")))
    assert without_ids(told(tmp_path / "lines", "start", "result", "end")) == EXPECTED
    follow(path, Lines(str(tmp_path / "again")))
    assert told(tmp_path / "again") == [["begin", "exp", "loss", True], ["finish", True]]


@pytest.mark.parametrize("call", range(2, 17, 2))
def test_stopped_anywhere_it_goes_on_with_the_next_record(run, tmp_path, call):
    path = run().experiment_path
    assert not follow(path, Lines(str(tmp_path / "lines")), stop_at=call).finished
    assert follow(path, Lines(str(tmp_path / "lines"))).finished
    assert without_ids(told(tmp_path / "lines", "start", "result", "end")) == EXPECTED


@pytest.mark.parametrize("call", range(3, 18, 2))
def test_what_a_logger_raised_at_is_told_again_and_nothing_else(run, tmp_path, call):
    path = run().experiment_path
    with pytest.raises(LoggingFailedError, match="OSError: No space left on device"):
        follow(path, Lines(str(tmp_path / "lines"), fail_at=call))
    follow(path, Lines(str(tmp_path / "lines")))
    assert without_ids(told(tmp_path / "lines", "start", "result", "end")) == EXPECTED


def test_a_logger_that_fails_is_named_once_and_the_run_goes_on(run, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "fasttune"):
        analysis = run(callbacks=[Lines(str(tmp_path / "lines"), fail_at=3)])
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    (said,) = [record.getMessage() for record in caplog.records]
    assert "Lines: logging has stopped, the run is not concerned: OSError: No space left on device" in said
    assert f"fasttune log {analysis.experiment_path} --to " in said
    assert "--option fail_at=3" in said


def test_a_logger_that_cannot_be_sent_takes_no_part(run, tmp_path, caplog):
    logger = Lines(str(tmp_path / "lines"))
    logger.open_file = open(tmp_path / "lines", "w")  # noqa: SIM115 - that is what cannot be pickled
    with caplog.at_level(logging.ERROR, "fasttune"):
        analysis = run(callbacks=[logger])
    assert len(analysis.trials) == 3
    assert "Lines.setup() raised an error" in caplog.text


def test_a_process_that_dies_is_said_to_have_died(run, tmp_path, caplog):
    class Dies(Lines):
        def log_trial_start(self, trial):
            os.kill(os.getpid(), signal.SIGKILL)

    with caplog.at_level(logging.WARNING, "fasttune"):
        assert len(run(callbacks=[Dies(str(tmp_path / "lines"))]).trials) == 3
    assert "its process ended by signal 9" in caplog.text


def test_behind_a_run_that_an_error_ended_it_ends_by_itself(run, tmp_path):
    def stopper(trial_id, result):
        if result["loss"] < 1.5:
            raise ZeroDivisionError("in the stopper")
        return False

    logger = Lines(str(tmp_path / "lines"))
    with pytest.raises(ZeroDivisionError):
        run(callbacks=[logger], stop=stopper)
    assert logger._process._ended.wait(100)
    frames = tune.ExperimentAnalysis(tmp_path / "results" / "exp").trial_dataframes.values()
    columns = [(i, frame["training_iteration"], frame["loss"]) for i, frame in enumerate(frames)]
    reported = {(i, step, loss) for i, steps, losses in columns for step, loss in zip(steps, losses, strict=True)}
    assert {tuple(one[1:]) for one in without_ids(told(tmp_path / "lines", "result"))} == reported != set()
    assert told(tmp_path / "lines")[-1] == ["finish", False]
    del logger._process


def once_more(config: dict[str, Any]) -> None:
    mark = Path(config["mark"])
    tune.report(loss=1.0)
    if config["fails"] and not mark.exists():
        mark.touch()
        raise RuntimeError("once")
    tune.set_user_attr("fold", 3)
    tune.report(loss=0.5, checkpoint=tune.Checkpoint.from_dict({"a": 1}))


def test_a_trial_that_is_tried_again_starts_again_and_ends_once(run, tmp_path):
    config = {"mark": str(tmp_path / "mark"), "fails": True}
    run(once_more, config=config, max_failures=1, callbacks=[Lines(str(tmp_path / "lines"))])
    records = [one for one in without_ids(told(tmp_path / "lines"))[1:-1] if one[0] != "start"]
    assert records == [
        ["result", 0, 1, 1.0], ["result", 0, 1, 1.0], ["attributes", 0, {"fold": 3}], ["save", 0], ["result", 0, 2, 0.5],
        ["end", 0, False],
    ]  # fmt: skip
    assert len(told(tmp_path / "lines", "start")) == 2


def test_a_trial_that_failed_for_good_ends_as_failed(run, tmp_path):
    def fails(config):
        tune.report(loss=1.0)
        raise RuntimeError("always")

    run(fails, raise_on_failed_trial=False, max_failures=1, callbacks=[Lines(str(tmp_path / "lines"))])
    assert sorted(told(tmp_path / "lines", "end")) == [["end", 0, True], ["end", 1, True], ["end", 2, True]]
    assert len(told(tmp_path / "lines", "start")) == 6


def test_a_run_that_goes_on_logs_what_is_new(run, tmp_path):
    def stops(config):
        for epoch in range(4):
            tune.report(loss=config["x"] + epoch)
            if epoch == 1 and config["x"] == 2.0 and not Path(config["mark"]).exists():
                Path(config["mark"]).touch()
                raise RuntimeError("once")

    asked = {
        "config": {"x": tune.grid_search([3.0, 2.0]), "mark": str(tmp_path / "mark")},
        "callbacks": [Lines(str(tmp_path / "lines"))],
        "raise_on_failed_trial": False,
    }
    run(stops, **asked)
    first = told(tmp_path / "lines")
    assert [one for one in first if one[0] == "end"] == [["end", 0, False], ["end", 1, True]]
    run(stops, **asked, resume="ERRORED_ONLY")
    records = told(tmp_path / "lines")[len(first) :]
    assert records[0] == ["begin", "exp", "loss", True]
    assert without_ids(records)[2:-1] == [
        ["result", 1, 1, 2.0], ["result", 1, 2, 3.0], ["result", 1, 3, 4.0], ["result", 1, 4, 5.0], ["end", 1, False]
    ]  # fmt: skip


def test_the_first_trials_and_the_best_of_the_others(run, tmp_path, capsys):
    config = {"x": tune.grid_search([float(x) for x in range(20, 0, -1)])}
    run(config=config, callbacks=[Lines(str(tmp_path / "lines"), max_trials=3, best_trials=2)])
    results = told(tmp_path / "lines", "result")
    assert [one[1] for one in results] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 18, 18, 18, 19, 19, 19]
    assert [one[1] for one in told(tmp_path / "lines", "end")] == [0, 1, 2, 18, 19]
    said = capsys.readouterr().err
    assert "Lines: of 20 trials the first 3 and the 2 best of the others are written (max_trials=3; None: all)" in said


def test_the_best_of_the_others_are_logged_once(run, tmp_path):
    path = run(config={"x": tune.grid_search([4.0, 3.0, 2.0, 1.0])}).experiment_path
    for _ in range(2):
        follow(path, Lines(str(tmp_path / "lines"), max_trials=1, best_trials=2))
    assert [one[1] for one in told(tmp_path / "lines", "end")] == [0, 2, 3]


def test_another_place_begins_anew(run, tmp_path):
    class Elsewhere(Lines):
        def log_destination(self):
            return self.file

    path = run().experiment_path
    for name in ("a", "b", "a"):
        follow(path, Elsewhere(str(tmp_path / name)))
    assert without_ids(told(tmp_path / "b", "start", "result", "end")) == EXPECTED
    assert without_ids(told(tmp_path / "a", "start", "result", "end")) == EXPECTED


def test_another_experiment_of_the_name_begins_anew(run, tmp_path):
    path = run().experiment_path
    follow(path, Lines(str(tmp_path / "a")))
    kept = Path(path, "logged.lines.json").read_bytes()
    for file in Path(path).iterdir():
        file.unlink()
    Path(path, "logged.lines.json").write_bytes(kept)
    run()
    follow(path, Lines(str(tmp_path / "b")))
    assert without_ids(told(tmp_path / "b", "start", "result", "end")) == EXPECTED


@pytest.mark.parametrize("torn", [b"", b"{", b'{"experiment": 3}\n', b"\xff\n", b"[]\n{}\n"])
def test_a_torn_line_does_not_count(run, tmp_path, torn):
    path = run().experiment_path
    follow(path, Lines(str(tmp_path / "lines")))
    with open(Path(path, "logged.lines.json"), "ab") as file:
        file.write(torn)
    follow(path, Lines(str(tmp_path / "again")))
    assert told(tmp_path / "again", "start", "result", "end") == []


def test_two_do_not_log_to_one_place(run, tmp_path):
    path = run().experiment_path
    first = Follower(path, Lines(str(tmp_path / "lines")), lambda told: None)
    with pytest.raises(PositionTakenError, match="another process logs this experiment to the same place"):
        Follower(path, Lines(str(tmp_path / "lines")), lambda told: None)
    first.close()


KILLED = """
import os, signal, sys, time
import fasttune as tune

def train(config):
    for epoch in range(4):
        tune.report(loss=config["x"] + epoch)
    if config["x"] == 2 and not os.path.exists(os.environ["MARK"]):
        open(os.environ["MARK"], "w").close()
        os.kill(int(os.environ["DRIVER"]), signal.SIGKILL)
        time.sleep(60)

if __name__ == "__main__":
    os.environ.update(DRIVER=str(os.getpid()), MARK=sys.argv[1])
    tune.run(train, config={"x": tune.grid_search([1, 2])}, metric="loss", mode="min", storage_path=sys.argv[2], name="exp",
             verbose=0, resume="AUTO", max_concurrent_trials=1, executor=sys.argv[3])
"""


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_what_a_killed_run_left_in_its_rings_is_logged_once(tmp_path, executor):
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    words = [sys.executable, str(script), str(tmp_path / "mark"), str(tmp_path / "results"), executor]
    assert forks.run(words, check=False).returncode == -signal.SIGKILL
    path = str(tmp_path / "results" / "exp")
    follow(path, Lines(str(tmp_path / "lines")))
    first = told(tmp_path / "lines", "result")
    assert [one[1:3] for one in first] == [[i, step] for i in (0, 1) for step in (1, 2, 3, 4)]
    assert forks.run(words, check=False).returncode == 0
    follow(path, Lines(str(tmp_path / "lines")))
    again = told(tmp_path / "lines", "result")[len(first) :]
    assert [one[1:3] for one in again] == [[1, step] for step in (1, 2, 3, 4)]  # the trial that was running begins anew


LOGGED = """
from fasttune.logger import JournalLogger

class Steps(JournalLogger):
    key = "steps"
    niceness = 0

    def log_trial_result(self, iteration, trial, result):
        with open(os.environ["MARK"] + ".lines", "a") as file:
            file.write(f"{trial.index} {iteration}\\n")

callbacks = [Steps()]
"""


def test_behind_a_killed_run_it_goes_on_to_the_end_and_a_resumed_run_goes_on_behind_it(tmp_path):
    script = tmp_path / "script.py"
    text = KILLED.replace("\n\ndef train", f"\n{LOGGED}\n\ndef train", 1)
    script.write_text(text.replace("verbose=0,", "verbose=0, callbacks=callbacks,"))
    words = [sys.executable, str(script), str(tmp_path / "mark"), str(tmp_path / "results"), "process"]
    assert forks.run(words, check=False).returncode == -signal.SIGKILL
    assert forks.run(words, check=False).returncode == 0  # behind it its logger waits for that of the killed run
    lines = (tmp_path / "mark.lines").read_text().splitlines()
    steps = [f"{i} {step}" for i in (0, 1, 1) for step in (1, 2, 3, 4)]
    assert lines == steps


@pytest.mark.parametrize("name", ["asha", "pbt", "hyperband", "median"])
def test_whatever_a_scheduler_does_each_report_is_told_once_and_in_its_order(tmp_path, name):
    from fasttune.schedulers import ASHAScheduler, HyperBandScheduler, MedianStoppingRule, PopulationBasedTraining

    scheduler = {
        "asha": lambda: ASHAScheduler(max_t=9, grace_period=1),
        "pbt": lambda: PopulationBasedTraining(perturbation_interval=2, hyperparam_mutations={"x": tune.uniform(0, 1)}, seed=3),
        "hyperband": lambda: HyperBandScheduler(max_t=9),
        "median": lambda: MedianStoppingRule(grace_period=1),
    }[name]()

    def train(config):
        checkpoint = tune.get_checkpoint()
        first = checkpoint.to_dict()["epoch"] if checkpoint else 0
        for epoch in range(first, 9):
            loss = config["x"] + 1 / (epoch + 1)
            tune.report(loss=loss, checkpoint=tune.Checkpoint.from_dict({"epoch": epoch + 1}))

    analysis = tune.run(
        train, config={"x": tune.uniform(0, 1)}, num_samples=12, metric="loss", mode="min", scheduler=scheduler, seed=5,
        executor="inline", storage_path=tmp_path, name="exp", verbose=0,
    )  # fmt: skip
    follow(analysis.experiment_path, Lines(str(tmp_path / "lines")))
    reported: dict[int, list[Any]] = {}
    for block in tune.ExperimentAnalysis(analysis.experiment_path)._source.report_blocks():
        losses = np.frombuffer(block.values[block.keys.index("loss")])
        trials, steps = np.frombuffer(block.trial, np.int32), np.frombuffer(block.step, np.int32)
        for i, step, loss in zip(trials.tolist(), steps.tolist(), losses.tolist(), strict=True):
            reported.setdefault(i, []).append([step, loss])
    written: dict[int, list[Any]] = {}
    for _, i, step, loss, _ in told(tmp_path / "lines", "result"):
        written.setdefault(i, []).append([step, loss])
    assert written == reported
    assert sorted(one[1] for one in told(tmp_path / "lines", "end")) == list(range(12))


INTERRUPTED = """
import os, signal, sys, threading, time
import fasttune as tune
from fasttune.logger import JournalLogger

class Slow(JournalLogger):
    title = "Slow"
    key = "slow"
    niceness = 0

    def log_trial_result(self, iteration, trial, result):
        if "SLOWLY" in os.environ:  # a fifth of a second each; the first ones wait until somebody has pressed Ctrl-C
            time.sleep(0.2)
            while os.path.exists(os.environ["LINES"]) and not os.path.exists(os.environ["SLOWLY"]):
                time.sleep(0.01)
        with open(os.environ["LINES"], "a") as file:
            file.write(f"{trial.index} {iteration}\\n")

def train(config):
    for epoch in range(10):
        tune.report(loss=config["x"] + epoch)

if __name__ == "__main__":
    os.environ.update(LINES=sys.argv[1], SLOWLY=sys.argv[2] + "/pressed")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
    heard = threading.Event()

    class Ears:
        def write(self, text):
            sys.__stderr__.write(text)
            if "catching up" in text:
                heard.set()

        def flush(self):
            sys.__stderr__.flush()

    def press():
        heard.wait()
        while not os.path.exists(os.environ["LINES"]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        open(os.environ["SLOWLY"], "w").close()

    sys.stderr = Ears()
    threading.Thread(target=press, daemon=True).start()
    analysis = tune.run(train, config={"x": tune.grid_search(list(range(10)))}, metric="loss", mode="min",
                        storage_path=sys.argv[2], name="exp", verbose=0, executor="inline", callbacks=[Slow()])
    print("best", analysis.best_config["x"])
"""


def test_ctrl_c_while_it_catches_up_says_how_to_go_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    (tmp_path / "results").mkdir()
    lines, results = tmp_path / "lines", tmp_path / "results"
    done = forks.run(
        [sys.executable, str(script), str(lines), str(results)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "best 0\n"), done.stderr
    assert "then it was interrupted. To go on: fasttune log" in done.stderr
    written = lines.read_text().splitlines()
    assert 0 < len(written) < 100
    command = done.stderr.rpartition("To go on: fasttune ")[2].split()
    on = [sys.executable, "-m", "fasttune", *command]
    went = forks.run(on, env={**os.environ, "LINES": str(lines)}, capture_output=True, text=True, check=False)
    assert went.returncode == 0, went.stderr
    assert lines.read_text().splitlines() == [f"{i} {step}" for i in range(10) for step in range(1, 11)]


@pytest.mark.parametrize(
    ("wrong", "rule"), [({"max_trials": 0}, "max_trials must be an integer"), ({"best_trials": -1}, "best_trials must be")]
)
def test_limits_are_checked(wrong, rule):
    with pytest.raises(ValueError, match=rule):
        JournalLogger(**wrong)


def test_a_simulated_run_starts_no_process(tmp_path):
    logger = Lines(str(tmp_path / "lines"))
    logger.setup(path="")
    logger.on_experiment_end([])
    assert not (tmp_path / "lines").exists()


def test_a_number_beyond_all_floats_is_an_infinity():
    from fasttune.logger.numbers import numbers_of
    from fasttune.logger.tensorboardx import step_of

    assert numbers_of({"big": 10**400, "low": -(10**400), "x": 1}) == {"big": math.inf, "low": -math.inf, "x": 1.0}
    assert (step_of({"timesteps_total": 2**70}, 3), step_of({"timesteps_total": 7}, 3)) == (3, 7)


def reports_of(file: str | Path) -> list[tuple[int, int]]:
    return [(i, step) for _, i, step, *_ in told(file, "result")]


@pytest.mark.parametrize("raised", [7, None], ids=["to seven", "to all"])
@pytest.mark.parametrize("stop_at", [0, 25], ids=["at once", "interrupted"])
def test_a_higher_limit_logs_what_a_lower_one_left_out(run, tmp_path, raised, stop_at):
    path = run(config={"x": tune.grid_search([float(x) for x in range(9)])}).experiment_path
    file = str(tmp_path / "lines")
    assert follow(path, Lines(file, max_trials=2, best_trials=1)).left_out().startswith("of 9 trials the first 2 and the 1 best")
    assert sorted(reports_of(file)) == [(i, step) for i in (0, 1, 2) for step in (1, 2, 3)]
    if stop_at:
        follow(path, Lines(file, max_trials=4, best_trials=1), stop_at=3)  # while it tells of trial 3
    follower = follow(path, Lines(file, max_trials=raised, best_trials=0))
    assert follower.finished
    last = 9 if raised is None else raised
    assert set(reports_of(file)) == {(i, step) for i in range(last) for step in (1, 2, 3)}
    assert len(reports_of(file)) == 3 * last
    assert follower.left_out() == ("" if raised is None else "of 9 trials the first 7 are written (max_trials=7; None: all)")
    before = reports_of(file)
    follow(path, Lines(file, max_trials=raised, best_trials=0))
    assert reports_of(file) == before


@pytest.mark.parametrize("stop_at", range(6, 20, 3))
def test_the_best_of_the_others_are_told_once_when_somebody_interrupts(run, tmp_path, stop_at):
    path = run(config={"x": tune.grid_search([float(x) for x in range(9, 0, -1)])}).experiment_path
    file = str(tmp_path / "lines")
    assert not follow(path, Lines(file, max_trials=1, best_trials=4), stop_at=stop_at).finished
    assert follow(path, Lines(file, max_trials=1, best_trials=4)).finished
    assert sorted(reports_of(file)) == [(i, step) for i in (0, 5, 6, 7, 8) for step in (1, 2, 3)]
    assert sorted(i for _, i, _ in told(file, "end")) == [0, 5, 6, 7, 8]


def test_two_loggers_that_write_to_one_place_are_refused(run, tmp_path, caplog):
    """The second would log nothing: what the first has logged counts for both."""
    run(callbacks=[Lines(str(tmp_path / "lines")), Lines(str(tmp_path / "others"))])
    assert "two Lines loggers of one run write to the same place" in caplog.text
    assert len(reports_of(tmp_path / "lines")) == 9
    assert not (tmp_path / "others").exists()
    again = Lines(str(tmp_path / "again"))
    run(callbacks=[again], name="second")
    run(callbacks=[again], name="third")
    assert len(reports_of(tmp_path / "again")) == 18


def test_places_and_options_that_mean_the_same_elsewhere(tmp_path, monkeypatch):
    from fasttune.logger.options import as_option, whole_place

    monkeypatch.chdir(tmp_path)
    assert whole_place("sqlite:///runs.db") == f"sqlite:///{tmp_path}/runs.db"
    assert whole_place("runs") == str(tmp_path / "runs")
    for service in ("http://there:5000", "databricks", "sqlite://", "postgresql://user@there/runs", ""):
        assert whole_place(service) == service
    assert [as_option(one) for one in ("digits", "123", "true", 3, ["a"], None)] == ["digits", '"123"', '"true"', "3", '["a"]', "null"]
