"""Rows that are paused, that copy others, and that go on from what was saved of them."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from told_by_journal import check_sums, records

import fasttune as tune
import forks
from fasttune.error import TuneError
from fasttune.schedulers import (
    PB2,
    FIFOScheduler,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
)

SPACE = {"lr": tune.uniform(0.1, 1.0)}


def run(function: Any, tmp_path: Path, num_samples: int = 16, **more: Any) -> Any:
    told: dict[str, Any] = {"metric": "sum", "mode": "max", "verbose": 0, "seed": 3, "config": SPACE, **more}
    return tune.run(function, num_samples=num_samples, storage_path=str(tmp_path), name="run", **told)


def adding(configs: dict[str, Any]) -> Any:
    """Copies rows, and has no state."""
    total = np.zeros(len(configs["lr"]))
    while True:
        total += configs["lr"]
        rows = yield {"sum": total}
        if rows is not None:
            total, configs = rows.take(total), rows.configs


def with_state(configs: dict[str, Any], state: Any = None) -> Any:
    """Says what its trials go on from; the array is changed in place."""
    total = np.zeros(len(configs["lr"])) if state is None else state["total"]
    while True:
        total += configs["lr"]
        rows = yield {"sum": total}, {"total": total}
        if rows is not None:
            fresh = {"total": np.zeros(int(rows.fresh.sum()))} if rows.fresh.any() else None
            total, configs = rows.take({"total": total}, fresh)["total"], rows.configs


def pbt(kind: Any = PopulationBasedTraining, **more: Any) -> Any:
    if kind is PB2:
        return PB2(time_attr="training_iteration", perturbation_interval=3, hyperparam_bounds={"lr": [0.1, 1.0]}, seed=1, **more)
    return kind(
        time_attr="training_iteration", perturbation_interval=3, hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)}, seed=1,
        clip=True, **more,
    )


@pytest.mark.parametrize("synch", [False, True])
@pytest.mark.parametrize("function", [adding, with_state])
def test_a_copy_repeats_a_row(function: Any, synch: bool, tmp_path: Path) -> None:
    """All in one call: who copies goes on from the row of the other one, at the step where both are."""
    analysis = run(tune.vectorized(function), tmp_path, scheduler=pbt(synch=synch), stop={"training_iteration": 12})
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 16
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {12}
    counts = check_sums(analysis)
    assert counts["CHANGED"] >= (6 if synch else 2)
    assert counts["REPORT"] == 16 * 12  # nobody went back
    assert analysis.verify(pbt(synch=synch)) == []


def test_the_index_of_a_copy_is_the_row_that_it_copies(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    @tune.vectorized
    def train(configs: dict[str, Any]) -> Any:
        total = np.zeros(len(configs["lr"]))
        while True:
            total += configs["lr"]
            rows = yield {"sum": total}
            if rows is not None:
                seen.append(rows.index.tolist())
                assert not rows.fresh.any()
                assert rows.take(np.arange(len(total))).tolist() == rows.index.tolist()
                total, configs = rows.take(total), rows.configs

    run(train, tmp_path, scheduler=pbt(), stop={"training_iteration": 6})
    assert len(seen) == 1
    assert len(seen[0]) == 16
    assert sorted(seen[0]) != list(range(16))  # some twice
    assert set(seen[0]) <= set(range(16))


@pytest.mark.parametrize("refill", [False, True])
@pytest.mark.parametrize(
    "scheduler",
    [
        pbt,
        lambda: pbt(synch=True),
        lambda: pbt(PB2),
        lambda: HyperBandScheduler(time_attr="training_iteration", max_t=9),
        lambda: HyperBandForBOHB(time_attr="training_iteration", max_t=9),
        lambda: MedianStoppingRule(time_attr="training_iteration", grace_period=2, min_samples_required=4, hard_stop=False),
    ],
    ids=["pbt", "pbt synch", "pb2", "hyperband", "bohb", "median"],
)
def test_trials_take_turns_in_few_rows(scheduler: Any, refill: bool, tmp_path: Path) -> None:
    """Paused rows leave their call, and come into another one, with what they had."""
    analysis = run(
        tune.vectorized(size=6, refill=refill)(with_state),
        tmp_path, 20, scheduler=scheduler(), stop={"training_iteration": 9},
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 20
    counts = check_sums(analysis)
    assert counts["PAUSED"] > 0
    assert max(trial.last_result["training_iteration"] for trial in analysis.trials) == 9
    assert analysis.verify(scheduler()) == []


def test_rows_out_of_step_with_each_other_copy_each_other_too(tmp_path: Path) -> None:
    """A trial that has copied another one has its perturbations at other steps: it is copied where it is."""
    analysis = run(tune.vectorized(adding), tmp_path, 100, scheduler=pbt(), stop={"training_iteration": 30})
    counts = check_sums(analysis)
    assert counts["CHANGED"] > 50
    assert counts["REPORT"] == 3000
    assert analysis.verify(pbt()) == []


class Turns(FIFOScheduler):
    """Somebody's own: pauses every third report, lets whoever has come least far go on."""

    def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.PAUSE if result["training_iteration"] % 3 == trial.index % 3 else self.CONTINUE

    def choose_trial_to_run(self, state: Any) -> Any:
        waiting = [*state.trials_of("PENDING"), *state.trials_of("PAUSED")]
        return min(waiting, key=lambda trial: (trial.last_result or {}).get("training_iteration", 0), default=None)


@pytest.mark.parametrize("max_suspended", [None, 0, 3])
def test_what_pauses_by_itself_works_too(max_suspended: int | None, tmp_path: Path) -> None:
    """Also where few paused trials may stay in memory: the others are saved, and go on from that."""
    analysis = run(
        tune.vectorized(size=4, refill=True)(with_state), tmp_path, 11, scheduler=Turns(), stop={"training_iteration": 10},
        max_suspended=max_suspended,
    )  # fmt: skip
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {10}
    counts = check_sums(analysis)
    if max_suspended == 0:
        assert counts["START"] > 11
        assert counts.get("RESUMED", 0) < counts["START"]


def test_without_a_state_a_paused_row_that_goes_on_at_once_is_where_it_was(tmp_path: Path) -> None:
    class AtOnce(Turns):
        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            return self.PAUSE

    analysis = run(tune.vectorized(adding), tmp_path, 5, scheduler=AtOnce(), stop={"training_iteration": 4})
    counts = check_sums(analysis)
    assert counts["RESUMED"] == counts["PAUSED"] == 15


def test_without_a_state_rows_that_are_to_wait_end_the_run(tmp_path: Path) -> None:
    class Some(Turns):
        def choose_trial_to_run(self, state: Any) -> Any:
            return state.trials_of("PENDING", 1)[0] if state.trials_of("PENDING", 1) else None

    with pytest.raises(TuneError, match=r"trials are to be paused while the others of its call go on.*`yield metrics, state`"):
        run(tune.vectorized(adding), tmp_path, scheduler=Some(), stop={"training_iteration": 4})


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (lambda total: {"total": total[1:]}, r"state\['total'\] is a ndarray of the shape \(\d+,\), and this step has 16 trials"),
        (lambda total: [total, 5], r"state\[1\] is a int, and this step has 16 trials"),
        (lambda total: "abc", "state is a str"),
    ],
)  # fmt: skip
def test_bad_states_are_told_with_place_and_shape(state: Any, match: str, tmp_path: Path) -> None:
    def train(configs: dict[str, Any], state: Any = None) -> Any:
        yield {"sum": configs["lr"]}, made(configs["lr"])

    made = state
    with pytest.raises(TuneError, match=match):
        run(tune.vectorized(train), tmp_path)


def test_who_takes_a_state_and_says_none_is_told(tmp_path: Path) -> None:
    def train(configs: dict[str, Any], state: Any = None) -> Any:
        while True:
            yield {"sum": configs["lr"]}

    with pytest.raises(TuneError, match="train has a parameter `state`, and said no state with its metrics"):
        run(tune.vectorized(size=4)(train), tmp_path, scheduler=pbt(), stop={"training_iteration": 9})


class Counter(tune.Trainable):
    """The same as a class, one trial at a time."""

    def setup(self, config: dict[str, Any]) -> None:
        self.lr, self.total = config["lr"], 0.0

    def step(self) -> dict[str, Any]:
        self.total += self.lr
        return {"sum": self.total}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"total": self.total}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.total = checkpoint["total"]


def test_the_same_decisions_as_one_by_one(tmp_path: Path) -> None:
    """Of trials that take turns in the order of rows."""
    more: dict[str, Any] = {"stop": {"training_iteration": 12}}
    together = run(tune.vectorized(with_state), tmp_path / "a", scheduler=pbt(synch=True), **more)
    single = run(Counter, tmp_path / "b", scheduler=pbt(synch=True), executor="inline", resources_per_trial={"cpu": 1 / 16}, **more)
    assert [trial.config for trial in together.trials] == [trial.config for trial in single.trials]
    assert [trial.last_result["sum"] for trial in together.trials] == [trial.last_result["sum"] for trial in single.trials]


def test_a_row_that_cannot_be_saved_fails_with_its_call(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            raise ArithmeticError("this cannot be saved")

    def train(configs: dict[str, Any], state: Any = None) -> Any:
        while True:
            n = len(configs["lr"])
            rows = yield {"sum": configs["lr"]}, np.array([Bad() for _ in range(n)], dtype=object)
            if rows is not None:
                configs = rows.configs

    analysis = run(
        tune.vectorized(train), tmp_path, scheduler=pbt(), stop={"training_iteration": 9}, raise_on_failed_trial=False,
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["ERROR"] * 16
    assert "this cannot be saved" in Path(analysis.trials[0].error_file).read_text()


@pytest.mark.parametrize("large", [False, True])
def test_rows_save_by_count_and_at_their_end(large: bool, tmp_path: Path) -> None:
    """In the journal, or, where they are large, in folders; what was saved is one row of the state."""

    def train(configs: dict[str, Any], state: Any = None) -> Any:
        n = len(configs["lr"])
        total, weights = np.zeros(n), np.zeros((n, 20_000 if large else 2))
        for _ in range(5):
            total += configs["lr"]
            weights += configs["lr"][:, None]
            yield {"sum": total}, (total, weights)

    config = tune.CheckpointConfig(checkpoint_frequency=2, checkpoint_at_end=True, num_to_keep=10)
    analysis = run(tune.vectorized(train), tmp_path, 3, checkpoint_config=config, stop={"training_iteration": 3})
    for trial in analysis.trials:
        found = analysis.get_best_checkpoint(trial, "sum", "max")
        total, weights = found.to_dict()["state"]
        assert total.shape == (1,)
        assert total[0] == weights[0, -1] == pytest.approx(3 * trial.config["lr"])
    assert [step for kind, trial, step, _ in records(analysis) if kind == "CHECKPOINT" and trial == 0] == [2, 3]


@pytest.mark.parametrize("function", [adding, with_state])
def test_a_call_that_fails_is_tried_again_from_what_was_saved(function: Any, tmp_path: Path) -> None:
    calls: list[int] = []

    def train(configs: dict[str, Any], **more: Any) -> Any:
        calls.append(len(configs["lr"]))
        inner, tell = function(configs, **more), None
        for step in range(1, 100):
            if step == 8 and len(calls) == 1:
                raise ArithmeticError("once")
            tell = yield inner.send(tell)

    def stateful(configs: dict[str, Any], state: Any = None) -> Any:
        return train(configs, state=state)

    analysis = run(
        tune.vectorized(stateful if function is with_state else train), tmp_path, scheduler=pbt(), stop={"training_iteration": 12},
        max_failures=1,
    )  # fmt: skip
    assert {trial.last_result["training_iteration"] for trial in analysis.trials} == {12}
    counts = check_sums(analysis)
    assert counts["ERROR"] == 16
    told = [(kind, step) for kind, _, step, _ in records(analysis) if kind in ("ERROR", "START")]
    last = max(k for k, (kind, _) in enumerate(told) if kind == "ERROR")
    again = [step for _, step in told[last + 1 :]][:16]
    assert (max(again) > 0) == (function is with_state)


def test_a_trial_goes_on_from_a_checkpoint_of_another_run(tmp_path: Path) -> None:
    config = tune.CheckpointConfig(checkpoint_at_end=True)
    first = run(tune.vectorized(with_state), tmp_path / "a", 4, checkpoint_config=config, stop={"training_iteration": 3})
    best = first.best_trial
    second = run(tune.vectorized(with_state), tmp_path / "b", 3, restore=first.get_best_checkpoint(best, "sum", "max").path,
                 stop={"training_iteration": 2})  # fmt: skip
    for trial in second.trials:
        assert trial.last_result["sum"] == pytest.approx(best.last_result["sum"] + 2 * trial.config["lr"])


KILLED = """
    import os, sys
    import numpy as np
    import fasttune as tune
    from fasttune.schedulers import HyperBandScheduler, PopulationBasedTraining

    steps = 0

    def train(configs, state=None):
        global steps
        total = np.zeros(len(configs["lr"])) if state is None else state
        while True:
            steps += 1
            if steps == int(sys.argv[2]):
                os.kill(os.getpid(), 9)
            total = total + configs["lr"]
            rows = yield {"sum": total}, total
            if rows is not None:
                total, configs = rows.take(total), rows.configs

    def adding(configs):
        inner, tell = train(configs), None
        while True:
            tell = yield inner.send(tell)[0]

    def scheduler(what):
        if what == "hyperband":
            return HyperBandScheduler(time_attr="training_iteration", max_t=9)
        return PopulationBasedTraining(time_attr="training_iteration", perturbation_interval=3, seed=1,
                                       hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)})

    if __name__ == "__main__":
        what, size = sys.argv[3], int(sys.argv[4])
        tune.run(tune.vectorized(size=size)(adding if what == "rows" else train), num_samples=20,
                 config={"lr": tune.uniform(0.1, 1.0)}, metric="sum", mode="max", seed=3, scheduler=scheduler(what),
                 verbose=0, storage_path=sys.argv[1], name="run", resume="AUTO", stop={"training_iteration": 12},
                 checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0 if what == "rows" else 2))
"""


@pytest.mark.parametrize(
    ("what", "size", "at"),
    [("pbt", 32, 8), ("pbt", 6, 5), ("pbt", 6, 11), ("hyperband", 6, 8), ("rows", 32, 1), ("rows", 32, 8)],
)
def test_killed_and_gone_on_with(what: str, size: int, at: int, tmp_path: Path) -> None:
    """Whatever the moment: what the journal says of each trial's sum is true from its first report to its last."""
    program = tmp_path / "killed.py"
    program.write_text(textwrap.dedent(KILLED))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, str(program), str(tmp_path)]
    done = forks.run([*arguments, str(at), what, str(size)], env=env, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    tune.ExperimentAnalysis(str(tmp_path / "run")).results_df  # noqa: B018 - readers can look at what is there
    done = forks.run([*arguments, "-1", what, str(size)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    analysis = tune.ExperimentAnalysis(str(tmp_path / "run"))
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 20
    check_sums(analysis)
    again = [step for kind, _, step, _ in records(analysis) if kind == "START"]
    assert what == "rows" or at < 5 or max(again) > 0
