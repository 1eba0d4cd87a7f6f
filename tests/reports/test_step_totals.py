"""Steps and episodes that a function reports per iteration add up, as those of a class do."""

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune


def run(trainable: Any, folder: Path, **more: Any) -> Any:
    return tune.run(trainable, verbose=0, storage_path=str(folder), executor="inline", **more)


def of(analysis: Any, *names: str) -> list[Any]:
    return [analysis.trials[0].last_result.get(name) for name in names]


def fifteen(config: dict[str, Any]) -> None:
    for _ in range(3):
        tune.report(timesteps_this_iter=15, episodes_this_iter=2, score=1.0)


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_stop_key_on_the_total_holds(tmp_path: Path, executor: str) -> None:
    """A run was to stop after a number of environment steps, and went on for ever: the total was never there."""
    analysis = tune.run(
        fifteen, verbose=0, storage_path=str(tmp_path), executor=executor, stop={"timesteps_total": 30}, num_samples=2
    )
    assert [t.last_result["training_iteration"] for t in analysis.trials] == [2, 2]  # and the second begins at 0
    assert of(analysis, "timesteps_total", "episodes_total") == [30, 4]


def test_a_function_counts_as_a_class_does(tmp_path: Path) -> None:
    """The same training gave other totals when it was written as a function than when it was written as a class."""
    steps = [
        {"timesteps_this_iter": 3},
        {},
        {"timesteps_this_iter": 4, "episodes_this_iter": 5},
        {"timesteps_total": 100},
    ]
    steps += [
        {"timesteps_this_iter": 2, "timesteps_total": 1},
        {"timesteps_this_iter": None},
        {"episodes_this_iter": 1},
    ]

    def function(config: dict[str, Any]) -> None:
        for told in steps:
            tune.report({"x": 1, **told})

    class Class(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"x": 1, **steps[self.iteration]}

    shown = []
    for k, (trainable, stop) in enumerate([(function, None), (Class, {"training_iteration": len(steps)})]):
        analysis = run(trainable, tmp_path / str(k), stop=stop)
        frame = next(iter(analysis.trial_dataframes.values()))
        shown.append(frame[["timesteps_total", "episodes_total"]].fillna(-1).to_numpy().tolist())
    assert shown[0] == shown[1]
    assert [row[0] for row in shown[0]] == [3, 3, 7, 100, 1, 9, 9]


def failing_once(config: dict[str, Any]) -> None:
    """Fails in its first attempt, behind a checkpoint that is two reports old."""
    saved = tune.get_checkpoint()
    begin = saved.to_dict()["next"] if saved else 0
    for i in range(begin, 6):
        kept = None
        if i == 2:
            kept = tune.Checkpoint.from_dict({"next": i + 1, "fill": b"x" * config["size"]})
        tune.report({"timesteps_this_iter": 10}, checkpoint=kept)
        if i == 4 and saved is None:
            raise OSError("a disk was full")


@pytest.mark.parametrize("size", [0, 100_000], ids=["in memory", "a directory"])
def test_a_retry_goes_on_from_the_total_of_its_checkpoint(tmp_path: Path, size: int) -> None:
    """A trial that went on from its checkpoint began to count its steps at 0 again."""
    analysis = run(failing_once, tmp_path, config={"size": size}, max_failures=1)
    assert of(analysis, "training_iteration", "timesteps_total") == [6, 60]


def test_a_later_session_goes_on_from_the_total(tmp_path: Path) -> None:
    """After a resume of a failed trial its steps were counted from 0."""
    run(failing_once, tmp_path, config={"size": 0}, name="a", raise_on_failed_trial=False)
    analysis = run(failing_once, tmp_path, config={"size": 0}, name="a", resume="AUTO+ERRORED")
    assert of(analysis, "training_iteration", "timesteps_total") == [6, 60]


def test_a_directory_written_in_a_block_bears_the_total_of_its_report(tmp_path: Path) -> None:
    """A checkpoint written with ``tune.checkpoint_dir`` forgot how many steps its report stood at."""

    def function(config: dict[str, Any], checkpoint_dir: str | None = None) -> None:
        begin = int(Path(checkpoint_dir, "next").read_text()) if checkpoint_dir else 0
        for i in range(begin, 4):
            if i == 1:
                with tune.checkpoint_dir(step=i) as folder:
                    Path(folder, "next").write_text(str(i + 1))
            tune.report(timesteps_this_iter=7)
            if i == 2 and not checkpoint_dir:
                raise OSError

    analysis = run(function, tmp_path, max_failures=1)
    assert of(analysis, "training_iteration", "timesteps_total") == [4, 28]


def test_threads_add_up_without_a_gap(tmp_path: Path) -> None:
    """Two threads that reported steps at the same time lost some of them."""
    import threading

    def function(config: dict[str, Any]) -> None:
        def work() -> None:
            for _ in range(50):
                tune.report(timesteps_this_iter=1)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    analysis = run(function, tmp_path)
    frame = next(iter(analysis.trial_dataframes.values()))
    assert frame["timesteps_total"].tolist() == list(range(1, 151))


def test_what_is_no_number_is_said_and_kept(tmp_path: Path) -> None:
    """Steps that were reported as text were left out of the total without a word."""

    def function(config: dict[str, Any]) -> None:
        tune.report(timesteps_this_iter="15", x=1)
        tune.report(timesteps_this_iter=5, x=1)

    with pytest.warns(UserWarning, match="timesteps_this_iter is not added up to timesteps_total: it is"):
        analysis = run(function, tmp_path)
    assert of(analysis, "timesteps_total") == [5]


def test_others_are_not_looked_at(tmp_path: Path) -> None:
    """A report without such keys takes the quick way, also behind a trial that has them."""
    seen = []

    def function(config: dict[str, Any]) -> None:
        from fasttune.trial_context import current_context

        if config["k"] == 0:
            tune.report(timesteps_this_iter=5)
        else:
            tune.report(x=1)
        context = current_context()
        assert context is not None
        seen.append((context.quick, dict(context.totals)))

    run(function, tmp_path, config={"k": tune.grid_search([0, 1])})
    assert seen == [(False, {"timesteps_total": 5}), (True, {})]
