"""Rows T1 to T14: everything that can be a trial, through the public doors, on both executors."""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.logger import JsonLoggerCallback
from fasttune.schedulers import HyperBandScheduler

AUTO_FILLED = {
    "done",
    "training_iteration",
    "trial_id",
    "date",
    "timestamp",
    "time_this_iter_s",
    "time_total_s",
    "pid",
    "hostname",
    "node_ip",
    "config",
    "time_since_restore",
    "iterations_since_restore",
}


def append(path: str | Path, line: object) -> None:
    """One line to a file that several processes may write."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def lines(path: str | Path) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


# ---- Key Concepts, as it stands


def objective(x: float, a: float, b: float) -> float:
    return float(a * (x**0.5) + b)


def trainable(config: dict[str, Any]) -> None:
    for x in range(20):
        score = objective(x, config["a"], config["b"])
        tune.report(score=score)


class Trainable(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x = 0
        self.a = config["a"]
        self.b = config["b"]

    def step(self) -> dict[str, Any]:
        score = objective(self.x, self.a, self.b)
        self.x += 1
        return {"score": score}

    def save_checkpoint(self, tmp_checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, tmp_checkpoint_dir: str) -> None:
        pass


def test_T1_function_api_of_key_concepts(run):
    analysis = run(trainable, config={"a": 2, "b": 4}, callbacks=[JsonLoggerCallback()])
    (trial,) = analysis.trials
    assert trial.status == "TERMINATED"
    assert trial.last_result["training_iteration"] == 20
    assert trial.last_result["score"] == objective(19, 2, 4)
    logged = [json.loads(line) for line in lines(os.path.join(trial.logdir, "result.json"))]
    assert [one["score"] for one in logged] == [objective(x, 2, 4) for x in range(20)]
    assert [one["training_iteration"] for one in logged] == list(range(1, 21))


def test_T1_samples_and_space_of_key_concepts(run):
    space = {"a": tune.uniform(0, 1), "b": tune.uniform(0, 1)}
    analysis = run(trainable, config=space, num_samples=10)
    assert len(analysis.trials) == 10
    assert len({(trial.config["a"], trial.config["b"]) for trial in analysis.trials}) == 10
    for trial in analysis.trials:
        assert trial.last_result["score"] == objective(19, **trial.config)
        assert set(trial.evaluated_params) == {"a", "b"}


def test_T1_the_whole_config_block_of_key_concepts(run):
    config = {
        "uniform": tune.uniform(-5, -1),
        "quniform": tune.quniform(3.2, 5.4, 0.2),
        "loguniform": tune.loguniform(1e-4, 1e-1),
        "qloguniform": tune.qloguniform(1e-4, 1e-1, 5e-5),
        "randn": tune.randn(10, 2),
        "qrandn": tune.qrandn(10, 2, 0.2),
        "randint": tune.randint(-9, 15),
        "qrandint": tune.qrandint(-21, 12, 3),
        "lograndint": tune.lograndint(1, 10),
        "qlograndint": tune.qlograndint(1, 10, 2),
        "choice": tune.choice(["a", "b", "c"]),
        "func": tune.sample_from(lambda spec: spec.config.uniform * 0.01),
        "grid": tune.grid_search([32, 64, 128]),
    }

    def check(config):
        tune.report(ok=float(config["func"] == config["uniform"] * 0.01))

    analysis = run(check, config=config, num_samples=2)
    assert [trial.last_result["ok"] for trial in analysis.trials] == [1.0] * 6
    assert sorted(trial.config["grid"] for trial in analysis.trials) == [32, 32, 64, 64, 128, 128]
    for trial in analysis.trials:
        found = trial.config
        assert -5 <= found["uniform"] < -1
        assert -21 <= found["qrandint"] <= 12
        assert found["qrandint"] % 3 == 0
        assert found["choice"] in "abc"


def test_T2_dict_form_and_nested_metrics(run):
    def nested(config):
        for i in range(3):
            tune.report({"score": i, "eval": {"loss": i / 2, "name": "dev"}})

    analysis = run(nested, metric="eval/loss", mode="min")
    (trial,) = analysis.trials
    assert trial.last_result["training_iteration"] == 3
    assert trial.last_result["eval"] == {"loss": 1.0, "name": "dev"}
    frame = analysis.trial_dataframes[trial.trial_id]
    assert list(frame["eval/loss"]) == [0.0, 0.5, 1.0]
    assert list(frame["eval/name"]) == ["dev"] * 3


def test_T2_a_report_with_a_checkpoint(run, tmp_path):
    def saves(config):
        import tempfile

        for i in range(3):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(i))
                tune.report({"score": i}, checkpoint=tune.Checkpoint.from_directory(folder))

    analysis = run(saves)
    (trial,) = analysis.trials
    assert trial.last_result["training_iteration"] == 3
    kept = sorted(name for name in os.listdir(trial.logdir) if name.startswith("checkpoint"))
    assert kept == ["checkpoint_000000", "checkpoint_000001", "checkpoint_000002"]
    assert Path(trial.checkpoint.path, "step").read_text() == "2"
    assert trial.checkpoint.path == os.path.join(trial.logdir, "checkpoint_000002")


def test_T3_returned_and_yielded_values(run):
    assert run(lambda config: config["a"], config={"a": 4}).trials[0].last_result["_metric"] == 4
    assert run(lambda config: {"b": config["a"]}, config={"a": 8}).trials[0].last_result["b"] == 8

    def yields(config):
        for i in range(10):
            yield config["a"] + i

    analysis = run(yields, config={"a": tune.grid_search([4, 8])}, metric="_metric", mode="max")
    assert [trial.last_result["_metric"] for trial in analysis.trials] == [13, 17]
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [10, 10]


def test_T3_numpy_numbers_are_numbers(run):
    import numpy as np

    analysis = run(lambda config: np.float32(0.5))
    assert analysis.trials[0].last_result["_metric"] == 0.5


@pytest.mark.parametrize("value", ["text", [1], object()])
def test_T3_other_return_values_fail_the_trial_with_the_reason(run, value):
    analysis = run(tune.with_parameters(_returns, kind=type(value).__name__), raise_on_failed_trial=False)
    (trial,) = analysis.trials
    assert trial.status == "ERROR"
    assert "must return or yield a dict of metrics, a number or None" in str(trial.get_error())


def _returns(config, kind):
    return {"str": "text", "list": [1], "object": object()}[kind]


def test_T4_a_returned_zero_is_reported(run):
    analysis = run(lambda config: 0.0)
    assert analysis.trials[0].last_result["_metric"] == 0.0
    assert run(lambda config: None).trials[0].last_result["training_iteration"] == 0


def test_T4_a_reported_zero_is_reported(run):
    def zero(config):
        tune.report(0)

    assert run(zero).trials[0].last_result["_metric"] == 0


def test_T5_class_api_of_key_concepts(run):
    analysis = run(Trainable, config={"a": 2, "b": 4}, stop={"training_iteration": 20})
    (trial,) = analysis.trials
    assert trial.status == "TERMINATED"
    assert trial.last_result["training_iteration"] == 20
    assert trial.last_result["score"] == objective(19, 2, 4)


class Lifecycle(tune.Trainable):
    """Writes what is called to a file."""

    def setup(self, config):
        self.note("setup")
        config["changed"] = True
        assert "changed" not in self.config

    def note(self, text: str) -> None:
        append(self.config["notes"], text)

    def step(self):
        self.note(f"step {self.iteration}")
        return {"value": self.iteration * 10}

    def save_checkpoint(self, checkpoint_dir):
        self.note("save")
        return {"iteration": self.iteration}

    def load_checkpoint(self, checkpoint):
        self.note(f"load {checkpoint}")

    def cleanup(self):
        self.note("cleanup")


def test_T5_setup_and_cleanup_are_called_once(run, tmp_path):
    notes = tmp_path / "notes"
    run(Lifecycle, config={"notes": str(notes)}, stop={"training_iteration": 3}, checkpoint_at_end=True)
    assert lines(notes) == ["setup", "step 0", "step 1", "step 2", "save", "cleanup"]


def test_T5_cleanup_is_called_after_an_error(run, tmp_path):
    class Fails(Lifecycle):
        def step(self):
            raise ValueError("no luck")

    notes = tmp_path / "notes"
    analysis = run(Fails, config={"notes": str(notes)}, raise_on_failed_trial=False)
    assert lines(notes) == ["setup", "cleanup"]
    assert isinstance(analysis.trials[0].get_error(), ValueError)


def test_T5_a_step_that_returns_no_dict_says_so(run):
    class Forgot(tune.Trainable):
        def step(self):
            pass

    analysis = run(Forgot, raise_on_failed_trial=False)
    assert "must return a dict of metrics, got NoneType" in str(analysis.trials[0].get_error())


class Checkpointed(tune.Trainable):
    def setup(self, config):
        self.total = 0

    def step(self):
        self.total += 1
        return {"total": self.total, **self.config.get("more", {}).get(self.iteration, {})}

    def save_checkpoint(self, checkpoint_dir):
        Path(checkpoint_dir, "total").write_text(str(self.total))
        return checkpoint_dir

    def load_checkpoint(self, checkpoint):
        self.total = int(Path(checkpoint, "total").read_text())


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, []),
        ({"checkpoint_freq": 2}, [2, 4]),
        ({"checkpoint_at_end": True}, [5]),
        ({"checkpoint_freq": 2, "checkpoint_at_end": True}, [2, 4, 5]),
        ({"checkpoint_freq": 5, "checkpoint_at_end": True}, [5]),
        ({"checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=3)}, [3]),
    ],
)
def test_K3_class_checkpoints_by_count_and_at_the_end(run, options, steps):
    analysis = run(Checkpointed, stop={"training_iteration": 5}, **options)
    saved = analysis.get_trial_checkpoints_paths(analysis.trials[0], "total")
    assert [value for _, value in saved] == steps
    assert [int(Path(path, "total").read_text()) for path, _ in saved] == steps


def test_K3_should_checkpoint_in_a_result(run):
    config = {"more": {1: {"should_checkpoint": True}}}
    analysis = run(Checkpointed, config=config, stop={"training_iteration": 4})
    saved = analysis.get_trial_checkpoints_paths(analysis.trials[0], "total")
    assert [value for _, value in saved] == [2]


def test_K5_restore_starts_every_trial_from_a_checkpoint(run, tmp_path):
    first = run(Checkpointed, stop={"training_iteration": 3}, checkpoint_at_end=True, name="first")
    path = first.trials[0].checkpoint.path
    second = run(Checkpointed, stop={"training_iteration": 5}, restore=path, num_samples=2, name="second")
    for trial in second.trials:
        assert trial.last_result["total"] == 5
        assert trial.last_result["training_iteration"] == 5
        assert trial.last_result["iterations_since_restore"] == 2


def test_T6_done_ends_the_trial(run):
    class Three(tune.Trainable):
        def step(self):
            return {"done": self.iteration == 2}

    assert run(Three).trials[0].last_result["training_iteration"] == 3

    def goes_on(config):
        for i in range(100):
            tune.report(i=i, done=i == 4)

    trial = run(goes_on).trials[0]
    assert trial.last_result["training_iteration"] == 5
    assert trial.last_result["done"] is True
    assert trial.status == "TERMINATED"


def test_T6_timesteps_and_episodes_add_up(run):
    class Counts(tune.Trainable):
        def step(self):
            return {"timesteps_this_iter": 3, "episodes_this_iter": 4.5, "done": self.iteration == 9}

    result = run(Counts).trials[0].last_result
    assert result["timesteps_total"] == 30
    assert result["episodes_total"] == 45


def test_T7_auto_filled_keys(run):
    def three(config):
        for i in range(3):
            tune.report(score=i)

    analysis = run(three, config={"a": 1})
    (trial,) = analysis.trials
    assert set(trial.last_result) >= AUTO_FILLED
    assert trial.last_result["config"] == {"a": 1}
    assert trial.last_result["trial_id"] == trial.trial_id
    assert trial.last_result["done"] is True
    assert trial.last_result["iterations_since_restore"] == 3
    assert trial.last_result["time_total_s"] >= 0
    frame = analysis.trial_dataframes[trial.trial_id]
    assert AUTO_FILLED - {"config"} <= set(frame.columns)
    assert list(frame["training_iteration"]) == [1, 2, 3]


def test_T7_a_users_own_value_of_an_auto_filled_key_wins(run):
    def own(config):
        tune.report(score=1, timestamp=5, hostname="here")

    result = run(own).trials[0].last_result
    assert result["timestamp"] == 5
    assert result["hostname"] == "here"


class Reusable(tune.Trainable):
    def setup(self, config):
        append(config["notes"], f"setup {os.getpid()}")
        self.value = config["value"]

    def step(self):
        return {"value": self.value, "pid_of_step": os.getpid(), "done": self.iteration == 1}

    def reset_config(self, new_config):
        append(new_config["notes"], "reset")
        self.value = new_config["value"]
        return True

    def cleanup(self):
        append(self.config["notes"], "cleanup")


def test_T8_reuse_actors_resets_instead_of_setting_up(run, tmp_path):
    notes = tmp_path / "notes"
    config = {"notes": str(notes), "value": tune.grid_search([1, 2, 3, 4])}
    analysis = run(Reusable, config=config, reuse_actors=True, max_concurrent_trials=1)
    assert [trial.last_result["value"] for trial in analysis.trials] == [1, 2, 3, 4]
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [2, 2, 2, 2]
    assert len({trial.last_result["pid_of_step"] for trial in analysis.trials}) == 1
    said = lines(notes)
    assert said[0].startswith("setup")
    assert said[1:] == ["reset", "reset", "reset", "cleanup"]


def test_T8_a_refused_reset_fails_the_trial(run, tmp_path):
    class Refuses(Reusable):
        def reset_config(self, new_config):
            return False

    config = {"notes": str(tmp_path / "notes"), "value": tune.grid_search([1, 2])}
    analysis = run(Refuses, config=config, reuse_actors=True, max_concurrent_trials=1, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR"]
    assert "reset_config" in str(analysis.trials[1].get_error())


def test_T8_an_instance_whose_step_failed_is_not_reused(run, tmp_path):
    class FailsOnTwo(Reusable):
        def step(self):
            if self.value == 2:
                raise ValueError("two")
            return super().step()

    notes = tmp_path / "notes"
    config = {"notes": str(notes), "value": tune.grid_search([1, 2, 3])}
    analysis = run(FailsOnTwo, config=config, reuse_actors=True, max_concurrent_trials=1, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert [line.split()[0] for line in lines(notes)] == ["setup", "reset", "cleanup", "setup", "cleanup"]


def test_T9_with_parameters_shares_objects_and_no_mutations(run):
    import numpy as np

    data = np.arange(500_000)
    seen: list[int] = []

    def train(config, data, seen):
        seen.append(config["i"])
        tune.report(total=float(data.sum()), count=len(seen))

    config = {"i": tune.grid_search([1, 2, 3])}
    analysis = run(tune.with_parameters(train, data=data, seen=seen), config=config)
    assert [trial.last_result["total"] for trial in analysis.trials] == [float(data.sum())] * 3
    assert [trial.last_result["count"] for trial in analysis.trials] == [1] * 3
    assert seen == []
    assert analysis.trials[0].trainable_name == "train"


def test_T9_with_parameters_for_a_class(run):
    class WithData(tune.Trainable):
        def setup(self, config, data=None):
            self.data = data

        def step(self):
            return {"n": len(self.data), "done": True}

    analysis = run(tune.with_parameters(WithData, data=list(range(1000))))
    assert analysis.trials[0].last_result["n"] == 1000
    assert analysis.trials[0].trainable_name == "WithData"


@pytest.mark.parametrize("form", ["dict", "factory", "function", "per_trial"])
def test_T10_with_resources(run, form):
    wanted = tune.PlacementGroupFactory([{"CPU": 2}])

    def asks(config):
        assert tune.get_trial_resources() == tune.PlacementGroupFactory([{"CPU": 2}])
        tune.report(ok=1)

    if form == "per_trial":
        analysis = run(asks, resources_per_trial={"cpu": 2})
    else:
        resources = {"dict": {"cpu": 2}, "factory": wanted, "function": lambda config: {"cpu": config["n"]}}
        analysis = run(tune.with_resources(asks, resources[form]), config={"n": 2})
    (trial,) = analysis.trials
    assert trial.placement_group_factory == wanted
    assert tune.ExperimentAnalysis(analysis.experiment_path).trials[0].placement_group_factory == wanted


def test_T10_with_resources_of_a_class_and_default_resource_request(run):
    class Asks(tune.Trainable):
        @classmethod
        def default_resource_request(cls, config):
            return tune.PlacementGroupFactory([{"CPU": config["cpus"]}])

        def step(self):
            return {"done": True}

    analysis = run(Asks, config={"cpus": tune.grid_search([1, 2])})
    assert [t.placement_group_factory.head_cpus for t in analysis.trials] == [1, 2]
    with pytest.raises(tune.TuneError, match="default_resource_request"):
        run(Asks, config={"cpus": 1}, resources_per_trial={"cpu": 1})


def test_T11_a_trial_knows_who_it_is(run):
    def who(config):
        context = tune.get_context()
        tune.report(
            {
                "name": context.get_trial_name(),
                "id": tune.get_trial_id(),
                "dir": tune.get_trial_dir(),
                "experiment": context.get_experiment_name(),
                "cpus": context.get_trial_resources().head_cpus,
                "enabled": tune.is_session_enabled(),
            }
        )

    analysis = run(who, config={"a": tune.grid_search([1, 2])}, name="named")
    for trial in analysis.trials:
        result = trial.last_result
        assert result["name"] == str(trial) == f"who_{trial.trial_id}"
        assert result["id"] == trial.trial_id
        assert result["dir"] == trial.logdir
        assert result["experiment"] == "named"
        assert result["cpus"] == 1
        assert result["enabled"] is True
    assert not tune.is_session_enabled()
    assert tune.get_trial_id() is None


def test_T11_a_class_knows_who_it_is(run):
    class Who(tune.Trainable):
        def step(self):
            return {
                "name": self.trial_name,
                "id": self.trial_id,
                "dir": self.logdir,
                "cpus": self.trial_resources.head_cpus,
                "done": True,
            }

    (trial,) = run(Who).trials
    assert trial.last_result["name"] == str(trial)
    assert trial.last_result["id"] == trial.trial_id
    assert trial.last_result["dir"] == trial.logdir
    assert trial.last_result["cpus"] == 1


def test_T12_report_outside_a_trial_only_warns():
    from fasttune import once

    once.warn_anew()
    with pytest.warns(UserWarning, match="does nothing here"):
        tune.report(score=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tune.report(score=2)


def test_T12_report_in_a_class_does_nothing(run):
    class Reports(tune.Trainable):
        def step(self):
            tune.report(score=1)
            return {"value": 1, "done": True}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (trial,) = run(Reports).trials
    assert trial.last_result["training_iteration"] == 1
    assert "score" not in trial.last_result


def test_T13_names_lambdas_partials_and_callables(run):
    tune.register_trainable("my_trainable", trainable, warn=False)
    analysis = run("my_trainable", config={"a": 1, "b": 0})
    assert analysis.trials[0].trainable_name == "my_trainable"
    assert len(analysis.trial_dataframes[analysis.trials[0].trial_id]) == 20

    assert run(lambda config: 1.0).trials[0].trainable_name == "lambda"

    def scaled(config, factor):
        return config["a"] * factor

    (trial,) = run(partial(scaled, factor=3), config={"a": 2}).trials
    assert (trial.trainable_name, trial.last_result["_metric"]) == ("scaled", 6)

    class Callable:
        def __call__(self, config):
            return config["a"]

    assert run(Callable(), config={"a": 7}).trials[0].last_result["_metric"] == 7


def test_T13_closures_and_functions_of_a_notebook(run):
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cell = (
        "import fasttune as tune\n"
        "SCALE = 3\n"
        "def scale(x):\n    return x * SCALE\n"
        "def train(config):\n    tune.report(score=scale(config['x']))\n"
        "class Stepper(tune.Trainable):\n    def step(self):\n        return {'score': scale(2), 'done': True}\n"
    )
    exec(cell, namespace)
    assert run(namespace["train"], config={"x": 2}).trials[0].last_result["score"] == 6
    assert run(namespace["Stepper"]).trials[0].last_result["score"] == 6

    offset = 10
    assert run(lambda config: config["x"] + offset, config={"x": 1}).trials[0].last_result["_metric"] == 11


def test_T13_unknown_names_and_wrong_functions(run):
    with pytest.raises(tune.TuneError, match="Unknown trainable 'nobody'"):
        run("nobody")
    with pytest.raises(ValueError, match="Unknown argument found in the Trainable function"):
        run(lambda config, other: None)
    with pytest.raises(TypeError, match=r"does not derive from tune\.Trainable"):
        run(dict)
    with pytest.raises(TypeError, match="is a function of the config or a class"):
        run(5)


def test_T13_old_forms_of_functions(run):
    def with_reporter(config, reporter):
        reporter(score=1)
        reporter(score=2)

    assert run(with_reporter).trials[0].last_result["score"] == 2

    def with_folder(config, checkpoint_dir=None):
        assert checkpoint_dir is None
        with tune.checkpoint_dir(step=3) as folder:
            Path(folder, "kept").write_text("x")
        tune.report(score=3)

    (trial,) = run(with_folder).trials
    assert trial.checkpoint.path == os.path.join(trial.logdir, "checkpoint_000003")
    assert os.listdir(trial.checkpoint.path) == ["kept"]


def prints(config: dict[str, Any]) -> Iterator[float]:
    import sys

    print("to stdout")
    print("to stderr", file=sys.stderr)
    yield 1.0


@pytest.mark.parametrize(
    ("log_to_file", "names"),
    [(True, ("stdout", "stderr")), ("both", ("both", "both")), (("out.txt", "err.txt"), ("out.txt", "err.txt"))],
)
def test_T14_log_to_file(run, capfd, log_to_file, names):
    (trial,) = run(prints, log_to_file=log_to_file).trials
    out, err = (Path(trial.logdir, name).read_text() for name in names)
    assert "to stdout\n" in out
    assert "to stderr\n" in err
    shown = capfd.readouterr()
    assert "to stdout" in shown.out
    assert "to stderr" in shown.err


def test_T14_a_stream_that_is_kept_logs_for_whichever_trial_prints(run):
    """As a handler of logging keeps it, which the first trial of a process has made."""
    kept = []

    def train(config):
        if not kept:
            kept.append((sys.stdout, sys.stderr))
        for stream in kept[0]:
            stream.write(f"trial {config['i']}\n")
            stream.flush()
        print("printed")
        thread = threading.Thread(target=print, args=("in a thread",))
        thread.start()
        thread.join()
        tune.report(loss=1.0)

    space = {"i": tune.grid_search([0, 1, 2, 3])}
    analysis = run(train, config=space, log_to_file=True, max_concurrent_trials=1)
    for i, trial in enumerate(analysis.trials):
        assert trial.status == "TERMINATED"
        assert Path(trial.logdir, "stdout").read_text() == f"trial {i}\nprinted\nin a thread\n"
        assert Path(trial.logdir, "stderr").read_text() == f"trial {i}\n"


def test_T14_a_thread_that_prints_when_its_trial_ends(run):
    """Streams are not freed under a thread that is just writing to one."""

    def train(config):
        def chat():
            for _ in range(400):
                print("x" * 50)

        for _ in range(2):
            threading.Thread(target=chat, daemon=True).start()
        tune.report(loss=1.0)

    analysis = run(train, config={"i": tune.grid_search(list(range(20)))}, log_to_file=True)
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
    for thread in threading.enumerate():
        if thread.daemon and "chat" in thread.name:
            thread.join()


def test_T14_trials_that_are_left_inside_their_reports_log_each_to_its_own_file(run):
    def train(config):
        for step in range(4):
            print(f"{config['i']} {step}")
            tune.report(loss=config["i"] + step)

    pauses = HyperBandScheduler(metric="loss", mode="min", max_t=9, time_attr="training_iteration")
    space = {"i": tune.grid_search([0, 1, 2, 3, 4, 5])}
    before = sys.stdout, sys.stderr
    analysis = run(train, config=space, log_to_file=True, scheduler=pauses)
    assert (sys.stdout, sys.stderr) == before
    for i, trial in enumerate(analysis.trials):
        steps = trial.last_result["training_iteration"]
        logged = Path(trial.logdir, "stdout").read_text().splitlines()
        assert logged in ([f"{i} {step}" for step in range(n)] for n in (steps, steps + 1))


def test_T14_log_to_file_of_a_class_and_wrong_values(run):
    class Prints(tune.Trainable):
        def setup(self, config):
            print("in setup")

        def step(self):
            print("in step")
            return {"done": True}

        def cleanup(self):
            print("in cleanup")

    (trial,) = run(Prints, log_to_file=True).trials
    assert Path(trial.logdir, "stdout").read_text() == "in setup\nin step\nin cleanup\n"
    for wrong in (("a",), ("a", "b", "c"), 5):
        with pytest.raises(ValueError, match="log_to_file"):
            run(Prints, log_to_file=wrong)
