"""Vectors in worker processes, and in threads: what a user sees is what he sees of one in this process."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told_by_journal import check_sums

import fasttune as tune
import forks
from fasttune.devices.machine import detect
from fasttune.devices.resources import Supply, resolve_resources
from fasttune.error import TuneError
from fasttune.executors import make_executor
from fasttune.executors.base import ExecutorSite, Program, ProgramTrainable
from fasttune.schedulers import ASHAScheduler, FIFOScheduler, HyperBandScheduler, PopulationBasedTraining
from fasttune.search import TPESearch

SPACE = {"lr": tune.uniform(0.1, 1.0)}


def run(function: Any, tmp_path: Path, num_samples: int = 40, name: str = "run", **more: Any) -> Any:
    told: dict[str, Any] = {"metric": "sum", "mode": "max", "verbose": 0, "seed": 3, "config": SPACE, "executor": "process", **more}
    return tune.run(function, num_samples=num_samples, storage_path=str(tmp_path), name=name, **told)


def adding(configs: dict[str, Any], state: Any = None) -> Any:
    total = np.zeros(len(configs["lr"])) if state is None else state
    while True:
        total = total + configs["lr"]
        rows = yield {"sum": total, "pid": os.getpid()}, total
        if rows is not None:
            total, configs = rows.take(total, np.zeros(int(rows.fresh.sum()))), rows.configs


def squares(configs: dict[str, Any]) -> Any:
    return {"sum": configs["lr"] ** 2, "pid": os.getpid()}


def pbt(**more: Any) -> Any:
    return PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=3, hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)}, seed=1,
        clip=True, **more,
    )  # fmt: skip


def test_the_same_results_as_in_this_process(tmp_path: Path) -> None:
    elsewhere = run(tune.vectorized(size=16)(squares), tmp_path, 300)
    here = run(tune.vectorized(size=16)(squares), tmp_path, 300, "here", executor="vector")
    assert elsewhere.dataframe()["sum"].tolist() == here.dataframe()["sum"].tolist()
    assert os.getpid() not in set(elsewhere.dataframe()["pid"])


@pytest.mark.parametrize("refill", [False, True])
@pytest.mark.parametrize("executor", ["process", "thread"])
@pytest.mark.parametrize("scheduler", ["none", "asha", "pbt", "pbt synch", "hyperband", "asked"])
def test_every_scheduler(scheduler: str, executor: str, refill: bool, tmp_path: Path) -> None:
    class Impatient(FIFOScheduler):
        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            return self.STOP if result["training_iteration"] >= 3 and result["sum"] < 2.0 else self.CONTINUE

    made: Any = {
        "none": lambda: None,
        "asha": lambda: ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        "pbt": pbt,
        "pbt synch": lambda: pbt(synch=True),
        "hyperband": lambda: HyperBandScheduler(time_attr="training_iteration", max_t=9),
        "asked": Impatient,
    }[scheduler]
    analysis = run(
        tune.vectorized(size=8, refill=refill)(adding), tmp_path, scheduler=made(), stop={"training_iteration": 9}, executor=executor
    )
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 40
    check_sums(analysis)
    if scheduler != "none":
        assert analysis.verify(made()) == []


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_a_searcher_suggests_for_all_workers(executor: str, tmp_path: Path) -> None:
    analysis = run(tune.vectorized(squares), tmp_path, 60, search_alg=TPESearch(seed=1), executor=executor)
    assert len(analysis.trials) == 60
    assert analysis.best_config["lr"] > 0.95


def test_no_more_at_once_than_are_allowed(tmp_path: Path) -> None:
    def counting(configs: dict[str, Any]) -> Any:
        return {"sum": len(configs["lr"]) * np.ones(len(configs["lr"]))}

    analysis = run(tune.vectorized(counting), tmp_path, 20, max_concurrent_trials=4)
    assert analysis.dataframe()["sum"].max() <= 4


def test_each_call_sees_what_it_was_given_of_the_machine(tmp_path: Path) -> None:
    """What a trial asks for is what a call gets: one of the declared things for each worker."""

    def seen(configs: dict[str, Any]) -> Any:
        n = len(configs["lr"])
        return {"sum": np.zeros(n), "pid": os.getpid() * np.ones(n)}

    analysis = run(
        tune.vectorized(size=4)(seen), tmp_path, 40, resources_per_trial={"cpu": 0, "custom": 1}, resources={"custom": 3}
    )
    assert len(set(analysis.dataframe()["pid"])) <= 3
    with pytest.raises(TuneError, match="resources_per_trial is what one call needs"):
        run(tune.vectorized(squares), tmp_path, name="other", resources_per_trial=lambda config: {"cpu": 1})


@pytest.mark.parametrize("retries", [0, 2])
def test_a_worker_that_dies_costs_its_trials_and_no_others(retries: int, tmp_path: Path) -> None:
    def dying(configs: dict[str, Any], state: Any = None) -> Any:
        inner, tell = adding(configs, state), None
        for step in range(100):
            if step == 5:
                with suppress(FileExistsError):  # one of them alone
                    (tmp_path / "died").touch(exist_ok=False)
                    os.kill(os.getpid(), 9)
            tell = yield inner.send(tell)

    analysis = run(
        tune.vectorized(size=8)(dying), tmp_path, stop={"training_iteration": 8}, max_failures=retries, raise_on_failed_trial=False,
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
    )  # fmt: skip
    failed = [trial for trial in analysis.trials if trial.status == "ERROR"]
    check_sums(analysis)
    if retries:
        assert not failed
        assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {8}
        assert max(trial.last_result["iterations_since_restore"] for trial in analysis.trials) == 8
        assert min(trial.last_result["iterations_since_restore"] for trial in analysis.trials) == 4
    else:
        assert 1 <= len(failed) <= 8
        assert "SIGKILL" in Path(failed[0].error_file).read_text()


def test_a_failure_in_a_worker_has_its_story(tmp_path: Path) -> None:
    def failing(configs: dict[str, Any]) -> Any:
        yield {"sum": configs["lr"]}
        raise ArithmeticError("no luck with this one")

    analysis = run(tune.vectorized(failing), tmp_path, 6, raise_on_failed_trial=False)
    texts = [Path(trial.error_file).read_text() for trial in analysis.trials]
    assert all("ArithmeticError: no luck" in text for text in texts)
    assert any("raise ArithmeticError" in text for text in texts)


def test_calls_in_threads_are_under_way_at_once(tmp_path: Path) -> None:
    """Two functions meet, which one after the other never could."""
    meet = threading.Barrier(2, timeout=30.0)

    def meeting(configs: dict[str, Any]) -> Any:
        meet.wait()
        return {"sum": configs["lr"] + threading.get_ident() * 0.0}

    analysis = run(tune.vectorized(size=4)(meeting), tmp_path, 8, executor="thread", resources_per_trial={"custom": 1},
                   resources={"custom": 2})  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 8


def test_a_gpu_for_each_call_is_for_processes(tmp_path: Path) -> None:
    place = ExecutorSite(str(tmp_path), Supply(detect()), resolve_resources({"gpu": 1}), 4, lambda placement: {}, lambda: "")
    executor = make_executor("thread", place, of_columns=True)
    one = ProgramTrainable("squares", tune.vectorized(squares), False, "columns", place.request, None)
    with pytest.raises(TuneError, match=r"threads of one process see the same GPUs.*executor='process'"):
        executor.open(Program("run", str(tmp_path), "abcde", [one]), 0.0, None, lambda: None, lambda: None)
    executor.close()


def test_without_a_state_nothing_is_paused_there(tmp_path: Path) -> None:
    def bare(configs: dict[str, Any]) -> Any:
        while True:
            yield {"sum": configs["lr"]}

    with pytest.raises(TuneError, match="bare says not what its trials go on from"):
        run(tune.vectorized(bare), tmp_path, scheduler=pbt())


def test_a_run_ends_in_time_although_rows_wait(tmp_path: Path) -> None:
    analysis = run(tune.vectorized(size=4)(adding), tmp_path, 10_000, time_budget_s=1.0)
    assert {trial.status for trial in analysis.trials} <= {"TERMINATED", "PENDING"}  # the latter: no worker had begun them


def test_both_kinds_in_one_run_are_refused(tmp_path: Path) -> None:
    one = tune.Experiment("a", tune.vectorized(squares), config=SPACE)
    other = tune.Experiment("b", lambda config: 1.0, config=SPACE)
    with pytest.raises(ValueError, match="squares evaluates many trials in one call, and lambda one"):
        tune.run([one, other], executor="process", storage_path=str(tmp_path))


KILLED = """
    import os, sys
    import numpy as np
    import fasttune as tune
    from fasttune.schedulers import PopulationBasedTraining

    def train(configs, state=None):
        total = np.zeros(len(configs["lr"])) if state is None else state
        while True:
            total = total + configs["lr"]
            rows = yield {"sum": total}, total
            if rows is not None:
                total, configs = rows.take(total), rows.configs

    class Killing(tune.Callback):
        heard = 0

        def on_trial_result(self, iteration, trials, trial, result, **info):
            self.heard += 1
            if self.heard == int(sys.argv[2]):
                os.kill(os.getpid(), 9)

    if __name__ == "__main__":
        tune.run(tune.vectorized(size=8)(train), config={"lr": tune.uniform(0.1, 1.0)}, num_samples=24, metric="sum", mode="max",
                 seed=3, executor="process", verbose=0, storage_path=sys.argv[1], name="run", resume="AUTO",
                 stop={"training_iteration": 12}, callbacks=[Killing()],
                 checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
                 scheduler=PopulationBasedTraining(time_attr="training_iteration", perturbation_interval=3, seed=1, clip=True,
                                                   hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)}))
"""


@pytest.mark.parametrize("at", [1, 60, 150])
def test_killed_and_gone_on_with(at: int, tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(textwrap.dedent(KILLED))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for until, code in ((at, -9), (-1, 0)):
        arguments = [sys.executable, str(program), str(tmp_path), str(until)]
        done = forks.run(arguments, env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    analysis = tune.ExperimentAnalysis(str(tmp_path / "run"))
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 24
    check_sums(analysis)


def fails_at_the_second_step(configs: dict[str, Any], state: Any = None) -> Any:
    total, step = np.zeros(len(configs["lr"])) if state is None else state, 0
    while True:
        total, step = total + configs["lr"], step + 1
        if step == 2 and (configs["lr"] > 0.97).any():
            raise ValueError("again")
        rows = yield {"sum": total}, total
        if rows is not None:
            total, configs = rows.take(total), rows.configs


def test_a_worker_tells_the_end_of_a_row_before_it_is_done_with_it(tmp_path: Path) -> None:
    """The loop took the last rows of a call, which it had told to stop, for lost: one run of three, where calls end alone."""
    for k in range(8):
        analysis = run(
            tune.vectorized(size=8)(fails_at_the_second_step), tmp_path, name=str(k), seed=k % 3, max_failures=2,
            scheduler=HyperBandScheduler(time_attr="training_iteration", max_t=27), raise_on_failed_trial=False,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
        )  # fmt: skip
        assert analysis.verify(HyperBandScheduler(time_attr="training_iteration", max_t=27)) == []
        assert all("again" in str(error) for error in analysis.errors)
