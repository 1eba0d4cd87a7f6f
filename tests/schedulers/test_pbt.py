"""Population based training on a stage: who copies whom, what is explored, who is asked when and runs next."""

from __future__ import annotations

import math
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.error import TuneError
from fasttune.schedulers import PopulationBasedTraining
from fasttune.schedulers.base import Change, Save
from fasttune.schedulers.explore import Explorer, completed, perturbed_tag

sys.path.insert(0, str(Path(__file__).parent))
from stage import Stage


def pbt(**more: Any) -> PopulationBasedTraining:
    """As Ray Tune compares: test_equal_times.py has the other way."""
    given: dict[str, Any] = {
        "time_attr": "training_iteration",
        "perturbation_interval": 10,
        "hyperparam_mutations": {"x": lambda: 0.0},
        "resample_probability": 0.0,
        "compare": "last_scores",
        **more,
    }
    return PopulationBasedTraining(**given)


class Recorded(Stage):
    """Keeps every order that is given."""

    def __init__(self, scheduler: PopulationBasedTraining, **more: Any) -> None:
        super().__init__(scheduler, **more)
        self.saves: list[str] = []
        inner = scheduler.orders

        def orders() -> Any:
            given = inner()
            self.saves += [order.trial.trial_id for order in given if isinstance(order, Save)]
            return given

        scheduler.orders = orders  # type: ignore[method-assign]


def population(n: int = 5, scores: list[float] | None = None, **more: Any) -> tuple[Recorded, list[Any]]:
    """n trials that run and have reported at iteration 10, the best one last unless ``scores`` says otherwise."""
    stage = Recorded(pbt(**more))
    trials = stage.add(n)
    for trial in trials:
        trial.config = {"x": 100.0 * (trial.index + 1), "number": trial.index}
    stage.choose_all()
    for trial in trials:
        score = scores[trial.index] if scores else 50.0 * trial.index
        stage.report(trial, training_iteration=10, score=score)
    return stage, trials


def fallen_behind(n: int = 5, **more: Any) -> tuple[Recorded, list[Any]]:
    """As :func:`population`, and the first one has become worse."""
    stage, trials = population(n, **more)
    assert stage.report(trials[0], training_iteration=20, score=-100.0) == "PAUSE"
    return stage, trials


# ---- C7: quantiles, exploitation


def test_C7_the_worst_copies_the_best_and_those_that_were_best_have_saved():
    stage, trials = population(5, quantile_fraction=0.2)
    assert stage.saves == ["00001", "00002", "00003", "00004"]  # each was the best when it came; the first was alone
    assert stage.changes == []
    assert stage.report(trials[0], training_iteration=20, score=-100.0) == "PAUSE"
    (change,) = stage.changes
    assert (change.trial, change.donor) == (trials[0], trials[4])
    assert change.config["x"] in (400.0, 600.0)
    assert change.config["number"] == 4  # all of the donor's config is copied
    assert (trials[0].status, trials[0].checkpoint) == ("PENDING", 10)


def test_C7_values_explored_from_100_are_80_and_120():
    found = set()
    for seed in range(30):
        stage = Stage(pbt(seed=seed, hyperparam_mutations={"f": lambda: 100.0, "i": lambda: 10, "c": [100]}))
        trials = stage.add(2, f=100.0, i=10, c=100)
        stage.choose_all()
        for t in (10, 20):
            for trial in trials[::-1] if t == 20 else trials:
                stage.report(trial, training_iteration=t, score=trial.index)
        (change,) = stage.changes
        found.add((change.config["f"], change.config["i"], change.config["c"]))
    assert found == {(f, i, 100) for f in (80.0, 120.0) for i in (8, 12)}


def test_C7_the_middle_goes_on_and_nobody_is_asked_in_between():
    stage, trials = population(5, quantile_fraction=0.2)
    assert [trial.status for trial in trials] == ["RUNNING"] * 5
    assert stage.scheduler.ask_from(trials[2]) == 20
    decided = len(stage.decisions)
    stage.report(trials[2], training_iteration=19, score=0.0)
    assert len(stage.decisions) == decided
    stage.report(trials[2], training_iteration=20, score=1000.0)
    assert len(stage.decisions) == decided + 1
    assert stage.saves[-1] == "00002"


def test_C7_the_tag_shows_what_was_perturbed():
    _, trials = fallen_behind(4, hyperparam_mutations={"x": lambda: 0.0, "number": [0, 1, 2, 3]})
    tag = trials[0].experiment_tag
    assert tag == f"0@perturbed[x={trials[0].config['x']:.4f},number={trials[0].config['number']}]"
    assert perturbed_tag(tag, {"x": 1, "number": "a b"}, {"x": 0, "number": 0}) == "0@perturbed[x=1,number=a_b]"


def test_C7_of_equal_seeds_the_same_comes_out():
    configs = [fallen_behind(8, seed=seed)[0].changes[0].config for seed in (3, 3, 4, 5, 6, 7)]
    assert configs[0] == configs[1]
    assert any(other != configs[0] for other in configs)


def test_C7_without_quantiles_nobody_copies():
    stage, trials = population(4, quantile_fraction=0.0)
    assert (stage.saves, stage.changes) == ([], [])
    assert [trial.status for trial in trials] == ["RUNNING"] * 4


def test_C7_a_donor_that_did_not_save_at_its_last_perturbation_is_passed_over():
    stage, trials = population(4, scores=[4.0, 1.0, 2.0, 3.0])  # the first was alone, so that it has not saved
    assert stage.report(trials[1], training_iteration=20, score=0.0) == "CONTINUE"
    assert stage.changes == []
    stage.report(trials[0], training_iteration=20, score=4.0)
    assert stage.report(trials[1], training_iteration=30, score=0.0) == "PAUSE"
    assert stage.changes[0].donor is trials[0]


def test_C7_a_trial_that_has_ended_is_neither_donor_nor_counted():
    stage, trials = population(4, quantile_fraction=0.5)
    stage.complete(trials[3])
    stage.fail(trials[2])
    assert len(stage.scheduler.population) == 2
    assert stage.report(trials[0], training_iteration=20, score=-100.0) == "PAUSE"
    assert stage.changes[0].donor is trials[1]


def test_C7_smaller_is_better_with_mode_min():
    stage = Recorded(pbt(), mode="min")
    trials = stage.add(4, x=1.0)
    stage.choose_all()
    for trial in trials:
        stage.report(trial, training_iteration=10, score=-float(trial.index))
    stage.report(trials[0], training_iteration=20, score=100.0)
    assert (stage.changes[0].trial, stage.changes[0].donor) == (trials[0], trials[3])


def test_C7_scores_that_are_nan_are_left_out():
    stage, trials = population(4, scores=[1.0, math.nan, math.inf, -math.inf])
    assert (stage.changes[0].trial, stage.changes[0].donor) == (trials[3], trials[2])
    assert trials[1].status == "RUNNING"


@pytest.mark.parametrize("missing", ["score", "time"])
def test_C7_reports_without_what_is_needed(missing):
    for require in (True, False):
        stage = Stage(pbt(time_attr="time", require_attrs=require))
        trial = stage.add()[0]
        stage.choose()
        result = {"score": 1.0, "time": 10.0}
        del result[missing]
        if require:
            with pytest.raises(RuntimeError, match=missing):
                stage.report(trial, **result)
        else:
            with pytest.warns(UserWarning, match=missing):
                assert stage.report(trial, **result) == "CONTINUE"
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert stage.report(trial, **result) == "CONTINUE"  # said once


def test_C7_any_result_key_may_be_the_time():
    stage = Stage(pbt(time_attr="epochs", perturbation_interval=2.5, hyperparam_mutations={"x": [1, 2]}))
    trials = stage.add(2, x=1)
    stage.choose_all()
    assert stage.scheduler.ask_from(trials[0]) == 0
    assert stage.report(trials[0], epochs=2.0, score=1.0) == "CONTINUE"
    assert len(stage.scheduler.population) == 0
    stage.report(trials[0], epochs=2.5, score=1.0)
    stage.report(trials[1], epochs=3.0, score=2.0)
    assert stage.report(trials[0], epochs=4.9, score=0.0) == "CONTINUE"
    assert stage.report(trials[0], epochs=5.0, score=0.0) == "PAUSE"
    assert stage.changes[0].donor is trials[1]


# ---- taking turns


def test_C7_trials_take_turns_when_others_wait():
    stage = Stage(pbt(quantile_fraction=0.0))
    first, second, third = stage.add(3, x=1.0)
    assert stage.choose() is first
    assert stage.report(first, training_iteration=10, score=1.0) == "PAUSE"
    assert stage.choose() is second
    assert stage.report(second, training_iteration=10, score=1.0) == "PAUSE"
    assert stage.choose() is third
    assert stage.report(third, training_iteration=12, score=1.0) == "PAUSE"
    assert stage.choose() is first
    assert stage.report(first, training_iteration=20, score=1.0) == "PAUSE"
    assert stage.choose() is second  # 10, before 12 and 20
    stage.complete(second)
    assert stage.choose() is third


def test_a_trial_that_copied_waits_with_its_donors_time():
    stage = Stage(pbt(quantile_fraction=0.5))
    first, second = stage.add(2, x=1.0)
    stage.choose_all()
    stage.report(first, training_iteration=30, score=3.0)
    stage.report(first, training_iteration=40, score=4.0)
    assert stage.report(second, training_iteration=10, score=1.0) == "CONTINUE"  # the first one was alone
    stage.report(first, training_iteration=50, score=5.0)
    assert stage.report(second, training_iteration=20, score=1.0) == "PAUSE"
    assert stage.changes[0].donor is first
    assert stage.scheduler.ask_from(second) == 60
    assert stage.choose() is second


def test_what_was_chosen_and_not_started_is_chosen_again():
    stage = Stage(pbt())
    first, second = stage.add(2, x=1.0)
    scheduler = stage.scheduler
    assert scheduler.choose_trial_to_run(stage) is first
    assert scheduler.choose_trial_to_run(stage) is first
    first.status = "RUNNING"  # set aside
    assert scheduler.choose_trial_to_run(stage) is second
    second.status = "RUNNING"
    assert scheduler.choose_trial_to_run(stage) is None
    first.status = second.status = "PENDING"
    assert scheduler.choose_trial_to_run(stage) is first


# ---- C8: synchronous, burn-in


def test_C8_nobody_copies_before_the_burn_in():
    stage = Stage(pbt(burn_in_period=50, perturbation_interval=10))
    trials = stage.add(4)
    for trial in trials:
        trial.config = {"x": float(trial.index)}
    stage.choose_all()
    for t in (10, 20, 30, 40):
        for trial in trials:
            assert stage.report(trial, training_iteration=t, score=float(trial.index)) == "CONTINUE"
    assert stage.scheduler.ask_from(trials[0]) == 50
    for trial in trials:
        stage.report(trial, training_iteration=50, score=-float(trial.index))
    stage.report(trials[3], training_iteration=60, score=-9.0)
    stage.report(trials[0], training_iteration=60, score=9.0)
    stage.report(trials[3], training_iteration=70, score=-9.0)
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[3], trials[0])]


def synchronous(n: int = 4, **more: Any) -> tuple[Recorded, list[Any]]:
    stage = Recorded(pbt(synch=True, **more))
    trials = stage.add(n)
    for trial in trials:
        trial.config = {"x": 10.0 * (trial.index + 1)}
    stage.choose_all()
    return stage, trials


def test_C8_a_synchronous_population_waits_for_the_last():
    stage, trials = synchronous(4)
    for trial in trials[:3]:
        assert stage.report(trial, training_iteration=10, score=float(trial.index)) == "PAUSE"
        assert stage.choose() is None
        assert stage.changes == []
    assert stage.report(trials[3], training_iteration=10, score=3.0) == "PAUSE"
    assert stage.saves == ["00003"]
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[0], trials[3])]
    assert trials[0].config["x"] in (32.0, 48.0)
    assert stage.choose_all() == trials
    assert [stage.scheduler.ask_from(trial) for trial in trials] == [20] * 4


def test_C8_the_worst_may_be_the_last_to_come():
    stage, trials = synchronous(4)
    for trial in trials:
        stage.report(trial, training_iteration=10, score=-float(trial.index))
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[3], trials[0])]
    assert set(stage.choose_all()) == set(trials)


def test_C8_burn_in_of_a_synchronous_population():
    stage, trials = synchronous(4, burn_in_period=50)
    for t in (10, 20, 30, 40):
        for trial in trials:
            assert stage.report(trial, training_iteration=t, score=float(trial.index)) == "CONTINUE"
    for trial in trials:
        assert stage.report(trial, training_iteration=50, score=float(trial.index)) == "PAUSE"
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[0], trials[3])]


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_C8_a_population_goes_on_when_the_last_one_ends(end):
    stage, trials = synchronous(4)
    for trial in trials[:3]:
        stage.report(trial, training_iteration=10, score=float(trial.index))
    assert stage.choose() is None
    getattr(stage, end)(trials[3])
    assert [(change.trial, change.donor) for change in stage.changes] == [(trials[0], trials[2])]
    assert stage.choose_all() == trials[:3]


def test_C8_one_that_went_too_far_is_waited_for():
    stage, (first, second) = synchronous(2)
    stage.report(first, training_iteration=10, score=1.0)
    stage.report(second, training_iteration=25, score=2.0)
    assert stage.scheduler._next_sync == 25
    assert stage.changes[0].donor is second
    assert stage.scheduler.population.trained(first.index) == 25  # it goes on from where its donor was


def test_Q6_in_lock_step_with_equal_scores_somebody_copies():
    for synch in (False, True):
        stage, trials = synchronous(2) if synch else population(2, scores=[1.0, 1.0])
        for t in (10, 20):
            stage.choose_all()
            for trial in trials:
                if trial.status == "RUNNING" and trial.last_result.get("training_iteration", 0) < t:
                    stage.report(trial, training_iteration=t, score=float(t))
        assert stage.changes


# ---- explore


def explored(config: dict[str, Any], mutations: dict[str, Any], n: int = 60, **more: Any) -> list[dict[str, Any]]:
    given = {"resample_probability": 0.0, "factors": (1.2, 0.8), "clip": False, **more}
    explorer = Explorer(mutations, **given)
    return [explorer.explore(config, random.Random(seed)) for seed in range(n)]


def values(found: list[dict[str, Any]], key: str) -> set[Any]:
    return {config[key] for config in found}


def test_explore_moves_a_list_one_step_and_not_over_its_ends():
    assert values(explored({"a": 2}, {"a": [1, 2, 3, 4]}), "a") == {1, 3}
    assert values(explored({"a": 1}, {"a": (1, 2, 3, 4)}), "a") == {1, 2}
    assert values(explored({"a": "c"}, {"a": tune.choice(["a", "b", "c"])}), "a") == {"b", "c"}


def test_explore_resamples_what_is_not_in_the_list():
    assert values(explored({"a": 9}, {"a": [1, 2, 3]}), "a") == {1, 2, 3}
    assert values(explored({"a": 1}, {"a": [1, 2, 3]}, resample_probability=1.0), "a") == {1, 2, 3}


def test_explore_multiplies_numbers_and_keeps_their_kind():
    anything = {"a": lambda: 7}
    assert values(explored({"a": 100}, anything), "a") == {80, 120}
    assert {type(value) for value in values(explored({"a": 100}, anything), "a")} == {int}
    assert values(explored({"a": 4}, anything), "a") == {3, 5}  # 3.2 and 4.8, rounded
    assert values(explored({"a": True}, anything), "a") == {True}
    assert values(explored({"a": 1.0}, anything, factors=(2.0, 0.5)), "a") == {2.0, 0.5}
    assert values(explored({"a": 1.0}, anything, resample_probability=1.0), "a") == {7}


def test_explore_draws_from_a_domain():
    found = values(explored({"a": 1.0}, {"a": tune.uniform(3, 4)}, resample_probability=1.0), "a")
    assert len(found) == 60
    assert all(3 <= value < 4 for value in found)


def test_explore_goes_into_dicts_and_leaves_the_rest_alone():
    config = {"a": {"b": 1.0, "c": [1, 2]}, "d": 5}
    found = explored(config, {"a": {"b": tune.uniform(0, 9)}})
    assert {one["a"]["b"] for one in found} == {0.8, 1.2}
    assert all(one["a"]["c"] == [1, 2] and one["d"] == 5 for one in found)
    assert config == {"a": {"b": 1.0, "c": [1, 2]}, "d": 5}


def test_explore_leaves_a_domain_with_a_warning_unless_it_clips():
    with pytest.warns(UserWarning, match="clip=True"):
        assert values(explored({"a": 1.0}, {"a": tune.uniform(0.5, 1.0)}), "a") == {0.8, 1.2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(explored({"a": 1.0}, {"a": tune.uniform(0.5, 1.0)}, clip=True), "a") == {0.8, 1.0}
        assert values(explored({"a": 9}, {"a": tune.randint(1, 10)}, clip=True), "a") == {7, 9}
    assert tune.quniform(0.0, 2.0, 0.5).nearest(1.3) == 1.5
    assert tune.qrandint(2, 10, 2).nearest(11) == 10


def test_explore_draws_anew_what_cannot_be_multiplied():
    assert values(explored({"a": "x"}, {"a": lambda: "y"}), "a") == {"y"}


def test_a_custom_function_has_the_last_word():
    stage, _ = fallen_behind(4, custom_explore_fn=lambda config: {**config, "x": -1.0})
    assert stage.changes[0].config["x"] == -1.0
    with pytest.raises(TypeError, match="custom_explore_fn must return"):
        fallen_behind(4, custom_explore_fn=lambda config: None)
    assert isinstance(pbt(hyperparam_mutations=None, custom_explore_fn=dict), PopulationBasedTraining)


def test_what_the_space_does_not_name_is_drawn_from_the_mutations():
    mutations = {"a": [1, 2], "b": {"c": tune.uniform(0, 1), "d": lambda: 5}, "e": tune.randint(0, 3)}
    whole = completed({"a": 7, "b": {"d": 1}}, mutations)
    assert whole["a"] == 7
    assert whole["b"]["d"] == 1
    assert whole["b"]["c"] is mutations["b"]["c"]
    assert whole["e"] is mutations["e"]
    assert completed({}, mutations)["a"].categories == [1, 2]
    assert completed({}, mutations)["b"]["d"].sample() == 5


# ---- arguments


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"hyperparam_mutations": {"x": 1}}, TypeError, "must be a list"),
        ({"hyperparam_mutations": {"x": "abc"}}, TypeError, "must be a list"),
        ({"hyperparam_mutations": {"x": {"y": None}}}, TypeError, "must be a list"),
        ({"hyperparam_mutations": {"x": []}}, ValueError, "at least one"),
        ({"hyperparam_mutations": {"x": tune.sample_from(lambda: 1)}}, ValueError, "sample_from"),
        ({"hyperparam_mutations": {}}, TuneError, "needs hyperparam_mutations"),
        ({"quantile_fraction": 0.6}, ValueError, "quantile_fraction must be a number from 0 to 0.5"),
        ({"quantile_fraction": -0.1}, ValueError, "quantile_fraction"),
        ({"perturbation_interval": 0}, ValueError, "perturbation_interval must be a number > 0"),
        ({"burn_in_period": math.nan}, ValueError, "burn_in_period"),
        ({"resample_probability": 1.5}, ValueError, "resample_probability"),
        ({"perturbation_factors": ()}, ValueError, "perturbation_factors"),
        ({"seed": -1}, ValueError, "seed"),
        ({"mode": "best"}, ValueError, "mode"),
        ({"no_such": 1}, TypeError, "no_such"),
    ],
)
def test_C7_arguments_that_cannot_be_are_errors(wrong, error, text):
    with pytest.raises(error, match=text):
        pbt(**wrong)


def test_a_population_without_a_metric_is_an_error():
    with pytest.raises(ValueError, match="without a metric"):
        Stage(pbt(), metric=None).add()


def test_a_change_names_its_donor():
    stage, _ = fallen_behind(4)
    assert all(isinstance(change, Change) and change.donor is not None for change in stage.changes)
    assert stage.scheduler.debug_string() == "PopulationBasedTraining: 3 checkpoints, 1 perturbs"
