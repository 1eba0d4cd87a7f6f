"""A process that is being loaded does not tune, and runs within runs go only so deep: nothing multiplies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from box import experiments_in, run_boxed

import fasttune as tune
from fasttune import nesting

F = """
import os, subprocess, sys
import fasttune as tune

def f(config):
    tune.report(loss=config["x"])

SPACE = {"x": tune.uniform(0, 1)}
"""
RUN = "tune.run(f, config=SPACE, num_samples=2, verbose=0)\n"
DOORS = {
    "tune.run": RUN,
    "Tuner.fit": "tune.Tuner(f, param_space=SPACE).fit()\n",
    "tune.run_experiments": "tune.run_experiments({'one': {'run': f, 'config': SPACE}}, verbose=0)\n",
    "tune.open_experiment": "tune.open_experiment(SPACE).close()\n" + RUN,
}
GUARD = 'if __name__ == "__main__":'


@pytest.mark.parametrize("door", DOORS)
def test_a_module_that_tunes_without_a_guard_is_told_of_the_guard(tmp_path: Path, door: str) -> None:
    """At once, and with the line; one experiment has begun, none of its trials."""
    (tmp_path / "train.py").write_text(F + DOORS[door])
    done = run_boxed(tmp_path, "-c", "import train")
    assert done.returncode == 1
    assert f"RuntimeError: {door} was called while a worker process was still loading the trainable" in done.stderr
    assert GUARD in done.stderr
    assert f"train.py:{F.count(chr(10)) + 1} calls it as it is imported" in done.stderr
    assert experiments_in(tmp_path) == (2 if door == "tune.open_experiment" else 1)


def test_a_package_that_tunes_when_it_is_imported(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "train.py").write_text(F)
    (package / "__init__.py").write_text("import fasttune as tune\nfrom package.train import f, SPACE\n" + RUN)
    done = run_boxed(tmp_path, "-m", "package.train")
    assert done.returncode == 1
    assert GUARD in done.stderr
    assert experiments_in(tmp_path) == 1


def test_a_module_that_swallows_the_refusal_is_loaded_and_runs_once(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(F + "try:\n    " + RUN + "except RuntimeError:\n    pass\n")
    done = run_boxed(tmp_path, "-c", "import train")
    assert done.returncode == 0, done.stderr
    assert experiments_in(tmp_path) == 1


def test_a_guard_is_all_that_it_takes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(F + GUARD + "\n    " + RUN)
    (tmp_path / "main.py").write_text("import train\nimport fasttune as tune\nfrom train import f, SPACE\n" + RUN)
    for argv in (("train.py",), ("-m", "train"), ("main.py",)):
        done = run_boxed(tmp_path, *argv)
        assert done.returncode == 0, done.stderr
    assert experiments_in(tmp_path) == 3


def test_a_script_needs_no_guard_for_itself(tmp_path: Path) -> None:
    """Its functions go by value: run as a file, from a pipe, by -c."""
    (tmp_path / "script.py").write_text(F + RUN)
    for argv, stdin in ((("script.py",), ""), (("-",), F + RUN), (("-c", F + RUN), "")):
        done = run_boxed(tmp_path, *argv, stdin=stdin)
        assert done.returncode == 0, done.stderr
    assert experiments_in(tmp_path) == 3


def test_an_import_within_a_trial_that_tunes(tmp_path: Path) -> None:
    """The trial's function imports the script that it belongs to, which begins the run: the trial fails, with the guard
    named. No other run begins."""
    (tmp_path / "model.py").write_text(
        "import fasttune as tune\ndef f(config):\n    import main\n    tune.report(loss=1.0)\n"
    )
    (tmp_path / "main.py").write_text("import fasttune as tune\nfrom model import f\ntune.run(f, verbose=0)\n")
    done = run_boxed(tmp_path, "main.py")
    assert done.returncode == 1
    assert "RuntimeError: tune.run was called by the import of a module within a trial: " in done.stderr
    assert "main.py:3 calls it" in done.stderr
    assert experiments_in(tmp_path) == 1


def test_an_object_in_a_config_whose_module_tunes(tmp_path: Path) -> None:
    """What a config holds is loaded with each trial; here its module tunes in workers only."""
    (tmp_path / "thing.py").write_text(
        F + "class Thing:\n    pass\nif 'FASTTUNE_DEPTH' in os.environ:\n    tune.run(f, config=SPACE)\n"
    )
    (tmp_path / "main.py").write_text(
        F + "import thing\n"
        "tune.run(f, config={'x': 1, 'thing': tune.sample_from(lambda spec: thing.Thing())}, verbose=0)\n"
    )
    done = run_boxed(tmp_path, "main.py")
    assert done.returncode == 1
    assert "RuntimeError: tune.run was called while a worker process was still loading" in done.stderr
    assert experiments_in(tmp_path) == 1


def test_a_sitecustomize_that_tunes(tmp_path: Path) -> None:
    """Every interpreter runs it, that of the workers' server, too."""
    (tmp_path / "sitecustomize.py").write_text(F + RUN)
    done = run_boxed(tmp_path, "-c", "print('goes on')", new=True)
    assert done.returncode == 0
    assert "goes on" in done.stdout
    assert GUARD in done.stderr
    assert experiments_in(tmp_path) == 1


# -- how deep ------------------------------------------------------------------------------------------------

CALLS_ITSELF = """
import os, subprocess, sys
import fasttune as tune

def f(config):
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tune.report(loss=1.0)

tune.run(f, verbose=0)
"""


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_trial_that_runs_its_own_script_is_stopped_by_depth(tmp_path: Path, most: int) -> None:
    (tmp_path / "script.py").write_text(CALLS_ITSELF)
    environ = {nesting.MOST: str(most)} if most != nesting.MOST_BY_DEFAULT else {}
    done = run_boxed(tmp_path, "script.py", **environ)
    assert done.returncode == 1
    assert f"RuntimeError: tune.run was called at depth {most + 1} (" in done.stderr
    assert f"set FASTTUNE_MAX_DEPTH={most + 1} in the environment" in done.stderr
    assert experiments_in(tmp_path) == most + 1


def inner(config: dict[str, Any]) -> None:
    tune.report({"loss": config["y"]})


@pytest.mark.parametrize("outside", ["process", "thread", "inline"])
@pytest.mark.parametrize("inside", ["process", "thread", "inline"])
def test_a_run_within_a_trial(tmp_path: Path, outside: str, inside: str) -> None:
    """Meant so, it works in every combination; the reports of both runs are where they belong."""

    def outer(config: dict[str, Any]) -> None:
        analysis = tune.run(
            inner,
            config={"y": tune.grid_search([1.0, 2.0])},
            storage_path=tmp_path,
            name=f"inner{config['x']}",
            executor=inside,
            verbose=0,
            metric="loss",
            mode="min",
        )
        tune.report({"loss": config["x"] * analysis.best_config["y"]})

    for _ in range(2):  # the second one sees that nothing is left of the first
        analysis = tune.run(
            outer,
            config={"x": tune.grid_search([1, 2, 3])},
            storage_path=tmp_path,
            executor=outside,
            verbose=0,
            metric="loss",
            mode="min",
        )
        assert [trial.last_result["loss"] for trial in analysis.trials] == [1.0, 2.0, 3.0]
    assert nesting.depth() == 0
    assert nesting.DEPTH not in os.environ


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_runs_within_runs_within_runs_are_refused_unless_asked_for(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nest(config: dict[str, Any]) -> None:
        if config["levels"]:
            tune.run(
                nest,
                config={"levels": config["levels"] - 1},
                storage_path=tmp_path,
                executor=executor,
                verbose=0,
                raise_on_failed_trial=True,
            )
        tune.report({"loss": 1.0})

    given: dict[str, Any] = {"config": {"levels": 2}, "storage_path": tmp_path, "executor": executor, "verbose": 0}
    with pytest.raises(tune.TuneError, match="at depth 2 "):
        tune.run(nest, **given)
    monkeypatch.setenv(nesting.MOST, "2")
    assert tune.run(nest, **given).trials[0].status == "TERMINATED"


# -- processes that multiprocessing has spawned --------------------------------------------------------------

SPAWNED = """
import enum, multiprocessing, sys
import fasttune as tune

class Kind(enum.Enum):
    GOOD = 1

class Odd(Exception):
    pass

def f(config):
    tune.report(loss=config["x"], kind=str(config["kind"]), sampled=str(config["sampled"]))
    if config["x"] > 0.9:
        raise Odd("on purpose")

class Trainable(tune.Trainable):
    def step(self):
        return {"loss": 1.0, "done": True}

def job(context):
    space = {
        "x": tune.grid_search([0.1, 0.2, 1.0]),
        "kind": tune.choice([Kind.GOOD]),
        "sampled": tune.sample_from(lambda spec: Kind.GOOD),
    }
    analysis = tune.run(f, config=space, verbose=0, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "TERMINATED", "ERROR"], analysis.trials
    assert {trial.last_result["kind"] for trial in analysis.trials} == {"Kind.GOOD"}
    assert {trial.last_result["sampled"] for trial in analysis.trials} == {"Kind.GOOD"}
    assert tune.run(Trainable, verbose=0).trials[0].status == "TERMINATED"
    print("both have run")

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=job, args=(sys.argv[1],))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("context", ["spawn", "forkserver", "fork"])
def test_a_run_in_a_process_of_multiprocessing(tmp_path: Path, context: str) -> None:
    """With functions, classes, values and exceptions that the script defines, which has another name there."""
    (tmp_path / "script.py").write_text(SPAWNED)
    done = run_boxed(tmp_path, "script.py", context)
    assert done.returncode == 0, done.stderr
    assert "both have run" in done.stdout
    assert experiments_in(tmp_path) == 2


def test_a_script_without_a_guard_that_spawns(tmp_path: Path) -> None:
    """The spawned process imports the script; the run that this would begin again is refused."""
    (tmp_path / "script.py").write_text(
        F + RUN + "import multiprocessing\n"
        "process = multiprocessing.get_context('spawn').Process(target=print)\n"
        "process.start()\nprocess.join()\nprint('exit code', process.exitcode)\n"
    )
    done = run_boxed(tmp_path, "script.py")
    assert done.returncode == 0
    assert "exit code 1" in done.stdout
    assert "RuntimeError: tune.run was called while multiprocessing was still starting this process" in done.stderr
    assert GUARD in done.stderr
    assert experiments_in(tmp_path) == 1
