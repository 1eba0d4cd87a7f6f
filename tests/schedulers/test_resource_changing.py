"""ResourceChangingScheduler: who gets what, and that nothing of the base scheduler or of a trial is lost."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from stage import Stage

from fasttune.devices.resources import PlacementGroupFactory
from fasttune.schedulers import (
    ASHAScheduler,
    DistributeResources,
    DistributeResourcesToTopJob,
    ResourceChangingScheduler,
    TrialScheduler,
    evenly_distribute_cpus_gpus,
)
from fasttune.schedulers.base import Change


def stage(scheduler: TrialScheduler, cpus: float = 8, gpus: float = 0) -> Stage:
    made = Stage(scheduler)
    made.machine = {"cpu": cpus, "gpu": gpus}
    return made


def added(on: Stage, n: int, **amounts: float) -> list[Any]:
    """n trials that ask for these amounts."""
    request = PlacementGroupFactory([amounts or {"CPU": 1}])
    trials = []
    for _ in range(n):
        original = on.scheduler.on_trial_add

        def ask(state: Any, trial: Any, original: Any = original) -> None:
            trial.resources = request
            original(state, trial)

        on.scheduler.on_trial_add = ask  # type: ignore[method-assign]
        trials += on.add()
        del on.scheduler.on_trial_add
    return trials


def cpus(trial: Any) -> float:
    amount: float = trial.resources.required_resources.get("CPU", 0)
    return amount


def settle(on: Stage, trials: list[Any], rounds: int = 3) -> None:
    """Everybody reports, and whoever was paused goes on, until nothing changes any more."""
    for _ in range(rounds):
        on.choose_all()
        for trial in trials:
            if trial.status == "RUNNING":
                on.report(trial, score=1.0)
    on.choose_all()


def test_C12_eight_cpus_are_shared_out_2_2_3_4_8() -> None:
    on = stage(ResourceChangingScheduler())
    trials = added(on, 4)
    shares = []
    for alive in (trials, trials[1:], trials[2:], trials[3:]):
        settle(on, alive)
        shares.append([cpus(trial) for trial in alive])
        on.complete(alive[0])
    assert shares == [[2, 2, 2, 2], [3, 3, 2], [4, 4], [8]]


def test_shares_never_add_up_to_more_than_there_is() -> None:
    for n in range(1, 14):
        on = stage(ResourceChangingScheduler(resources_allocation_function=evenly_distribute_cpus_gpus))
        trials = added(on, n)
        settle(on, trials[:8])
        assert sum(cpus(trial) for trial in trials if trial.status == "RUNNING") <= max(8, n)


def test_gpus_are_shared_with_the_cpus_that_belong_to_them() -> None:
    on = stage(ResourceChangingScheduler(), cpus=8, gpus=4)
    trials = added(on, 2, CPU=2, GPU=1)
    settle(on, trials)
    assert [dict(trial.resources.required_resources) for trial in trials] == [{"CPU": 4, "GPU": 2}] * 2


def test_increments_their_number_and_a_reserve() -> None:
    function = DistributeResources(increase_by={"CPU": 2}, reserve_resources={"CPU": 1})
    on = stage(ResourceChangingScheduler(resources_allocation_function=function), cpus=10)
    trials = added(on, 2)
    settle(on, trials)
    assert [cpus(trial) for trial in trials] == [5, 3]  # 9 to give out: 1 each, and three increments of 2
    function = DistributeResources(increase_by_times=2)
    on = stage(ResourceChangingScheduler(resources_allocation_function=function), cpus=10)
    trials = added(on, 2)
    settle(on, trials)
    assert [cpus(trial) for trial in trials] == [3, 3]


def test_bundles_are_added_when_that_was_asked() -> None:
    function = DistributeResources(add_bundles=True, increase_by={"CPU": 3})
    on = stage(ResourceChangingScheduler(resources_allocation_function=function))
    (trial,) = added(on, 1)
    settle(on, [trial])
    assert trial.resources.bundles == [{"CPU": 1}, {"CPU": 3}, {"CPU": 3}]


def test_several_bundles_cannot_grow() -> None:
    with pytest.raises(ValueError, match="2 bundles"):
        DistributeResources()._request(PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}]), {"CPU": 1.0}, 1)


def test_the_best_trial_gets_all_that_is_free() -> None:
    on = stage(ResourceChangingScheduler(resources_allocation_function=DistributeResourcesToTopJob()))
    trials = added(on, 3)
    for scores, expected in (((0.1, 0.9, 0.5), [1, 6, 1]), ((0.2, 0.9, 2.0), [1, 1, 6])):
        for _ in range(4):
            on.choose_all()
            for trial, score in zip(trials, scores, strict=True):
                on.report(trial, score=score)
                assert sum(cpus(one) for one in trials) <= 8
        assert [cpus(trial) for trial in trials] == expected


def test_the_top_job_needs_a_metric() -> None:
    on = Stage(ResourceChangingScheduler(resources_allocation_function=DistributeResourcesToTopJob()), None)
    trials = added(on, 1)
    on.choose_all()
    with pytest.raises(ValueError, match="needs a metric and a mode"):
        on.report(trials[0], score=1.0)


def test_a_change_is_of_the_trials_resources_alone() -> None:
    class Watched(ResourceChangingScheduler):
        seen: list[Any] = []  # noqa: RUF012

        def orders(self) -> Any:
            given = list(super().orders())
            self.seen += given
            return given

    on = stage(Watched())
    trials = added(on, 1)
    on.choose_all()
    assert on.report(trials[0], score=1.0) == "PAUSE"
    assert Watched.seen == [Change(trials[0], resources=PlacementGroupFactory([{"CPU": 8}]))]
    assert trials[0].status == "PENDING"


def test_a_function_changes_only_where_it_reported_a_checkpoint() -> None:
    on = stage(ResourceChangingScheduler())
    trials = added(on, 1)
    trials[0].is_class = False
    on.choose_all()
    with pytest.warns(RuntimeWarning, match="without a checkpoint: it keeps what it has"):
        assert on.report(trials[0], score=1.0) == "CONTINUE"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert on.report(trials[0], score=1.0) == "CONTINUE"
        assert on.report(trials[0], checkpoint=True, score=1.0) == "PAUSE"
        on.choose_all()
        assert on.report(trials[0], score=1.0) == "CONTINUE"
    assert cpus(trials[0]) == 8


def test_the_base_schedulers_decisions_are_those_it_gives_alone() -> None:
    scores = [[((7 * i + 3 * step) % 11) / 11 for step in range(1, 10)] for i in range(30)]
    settings: dict[str, Any] = {"max_t": 9, "reduction_factor": 3}
    outcomes = []
    for scheduler in (ASHAScheduler(**settings), ResourceChangingScheduler(ASHAScheduler(**settings))):
        on = stage(scheduler)
        lengths = []
        for i, trial in enumerate(added(on, 30)):
            on.choose()
            for score in scores[i]:
                if trial.status == "PENDING":
                    trial.status = "RUNNING"
                if trial.status == "RUNNING":
                    on.report(trial, score=score)
            lengths.append(trial.last_result["training_iteration"])
            if trial.status == "PENDING":
                trial.status = "RUNNING"
                on.complete(trial)
        outcomes.append(lengths)
    assert outcomes[0] == outcomes[1]
    assert len(set(outcomes[0])) > 1


def test_the_base_schedulers_orders_are_passed_on_and_come_first() -> None:
    class Orders(TrialScheduler):
        def __init__(self) -> None:
            super().__init__()
            self.waiting: list[Any] = []

        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            self.waiting = [Change(trial, config={"x": 2})]
            return self.PAUSE

        def orders(self) -> Any:
            given, self.waiting = self.waiting, []
            return given

    on = stage(ResourceChangingScheduler(Orders()))
    trials = added(on, 1)
    on.choose_all()
    assert on.report(trials[0], score=1.0) == "PAUSE"
    assert trials[0].config == {"x": 2}
    assert cpus(trials[0]) == 1


def test_the_base_scheduler_is_asked_when_it_wants_to_be() -> None:
    class Rarely(TrialScheduler):
        asked: list[int] = []  # noqa: RUF012

        def ask_from(self, trial: Any) -> int:
            return 5

        def on_trial_result(self, state: Any, trial: Any, result: dict[str, Any]) -> str:
            self.asked.append(result["training_iteration"])
            return self.CONTINUE

    on = stage(ResourceChangingScheduler(Rarely()))
    trials = added(on, 1)
    for _ in range(6):
        on.choose_all()
        on.report(trials[0], score=1.0)
    assert Rarely.asked == [5, 6]
    assert ResourceChangingScheduler(Rarely(), None).ask_from(trials[0]) == 5


def test_what_cannot_be_is_said_at_once() -> None:
    with pytest.raises(TypeError, match="base_scheduler"):
        ResourceChangingScheduler("asha")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be callable"):
        ResourceChangingScheduler(resources_allocation_function=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="increase_by must name"):
        DistributeResources(increase_by={})
    with pytest.raises(ValueError, match="increase_by_times"):
        DistributeResources(increase_by_times=-2)
    with pytest.raises(ValueError, match="mode must be"):
        DistributeResourcesToTopJob(mode="maximise")
    on = stage(ResourceChangingScheduler())
    added(on, 1)
    with pytest.raises(RuntimeError, match="ask for the same resources"):
        added(on, 1, CPU=2)


def test_reused_actors_are_refused() -> None:
    on = stage(ResourceChangingScheduler())
    on.reuses_processes = True
    with pytest.raises(ValueError, match="reuse_actors"):
        on.add()


@pytest.mark.parametrize("kind", [DistributeResources, DistributeResourcesToTopJob])
def test_a_decision_does_not_look_at_every_trial(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a report costs must not grow with the number of trials: only so many are asked for as fit the machine."""
    made = stage(ResourceChangingScheduler(resources_allocation_function=kind()), cpus=4)
    trials = added(made, 50, CPU=1)
    made.choose()
    seen = []
    of = made.trials_of

    def counted(status: str, most: int = -1) -> list[Any]:
        found = of(status, most)
        seen.append(len(found))
        return found

    monkeypatch.setattr(made, "trials_of", counted)
    monkeypatch.setattr(made, "get_live_trials", lambda: pytest.fail("every trial was listed"))
    made.report(trials[0], score=1.0)
    assert seen
    assert max(seen) <= 4
