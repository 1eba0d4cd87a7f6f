"""HyperBand on the stage: its plan, its halvings, what losses do to them, and that nothing waits for ever."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from fasttune._core import NEVER_ASK
from fasttune.error import MissingMetricError
from fasttune.schedulers import HyperBandForBOHB, HyperBandScheduler, TrialScheduler
from fasttune.schedulers.brackets import budget_of

sys.path.insert(0, str(Path(__file__).parent))
from stage import Stage

SMALL = {"max_t": 9, "reduction_factor": 3}  # brackets (3, 9); (5, 3), (2, 9); (9, 1), (3, 3), (1, 9)


def make_stage(n: int, total: int | None = None, scheduler: TrialScheduler | None = None, **settings: Any) -> Stage:
    stage = Stage(scheduler or HyperBandScheduler(**{**SMALL, **settings}))
    stage.total = total
    stage.add(n)
    return stage


def second_bracket(total: int | None = None, **settings: Any) -> tuple[Stage, list[Any]]:
    """The five trials of the bracket (5, 3), (2, 9), all running."""
    stage = make_stage(8, total, **settings)
    stage.choose_all()
    return stage, stage.trials[3:]


def reach(stage: Stage, trial: Any, t: float, score: Any = 0.0) -> str:
    return stage.report(trial, training_iteration=t, score=score)


def statuses(trials: list[Any]) -> list[str]:
    return [trial.status for trial in trials]


# -- the plan --------------------------------------------------------------------------------------------------------------

RAY_81_3 = [
    [(5, 81)],
    [(8, 27), (3, 81)],
    [(15, 9), (5, 27), (2, 81)],
    [(34, 3), (12, 9), (4, 27), (2, 81)],
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
]
ALGORITHM1_81_3 = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]
TABLE1_81_3 = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(27, 3), (9, 9), (3, 27), (1, 81)],
    [(9, 9), (3, 27), (1, 81)],
    [(6, 27), (2, 81)],
    [(5, 81)],
]
RAY_81_4 = [[(4, 81)], [(8, 20), (2, 80)], [(22, 5), (6, 20), (2, 80)], [(64, 1), (16, 4), (4, 16), (1, 64)]]
ALGORITHM1_81_4 = [
    [(64, 1.265625), (16, 5.0625), (4, 20.25), (1, 81)],
    [(22, 5.0625), (5, 20.25), (1, 81)],
    [(8, 20.25), (2, 81)],
    [(4, 81)],
]
TABLE1_81_4 = [
    [(64, 1.265625), (16, 5.0625), (4, 20.25), (1, 81)],
    [(16, 5.0625), (4, 20.25), (1, 81)],
    [(8, 20.25), (2, 81)],
    [(4, 81)],
]


@pytest.mark.parametrize(
    ("form", "eta", "brackets"),
    [
        ("ray", 3, RAY_81_3),
        ("algorithm1", 3, ALGORITHM1_81_3),
        ("table1", 3, TABLE1_81_3),
        ("ray", 4, RAY_81_4),
        ("algorithm1", 4, ALGORITHM1_81_4),
        ("table1", 4, TABLE1_81_4),
    ],
)
def test_C4_Q2_every_bracket_and_halving_for_81(form: str, eta: int, brackets: list[Any]) -> None:
    assert HyperBandScheduler(max_t=81, reduction_factor=eta, form=form).brackets == brackets


def test_C4_a_round_has_143_trials_by_default() -> None:
    assert sum(stages[0][0] for stages in HyperBandScheduler().brackets) == 143


@pytest.mark.parametrize(
    ("max_t", "eta", "first_stages"),
    [
        (243, 3, [(6, 243), (9, 81), (18, 27), (41, 9), (98, 3), (243, 1)]),
        (729, 10, [(4, 729), (20, 72), (134, 7)]),  # the fourth has a milestone below 1
        (1000, 10, [(4, 1000), (20, 100), (134, 10), (1000, 1)]),
        (100, 3, [(5, 100), (8, 33), (15, 11), (34, 3), (81, 1)]),
        (8, 4, [(3, 8), (6, 2)]),  # the logarithm is 1.5: to the even one, and the third bracket has no milestone
        (32, 4, [(3, 32), (6, 8), (16, 2)]),
        (1, 3, [(1, 1)]),
        (27, 2.5, [(5, 27), (7, 10), (11, 4), (20, 1)]),
    ],
)
def test_C4_brackets_are_exact(max_t: float, eta: float, first_stages: list[Any]) -> None:
    brackets = HyperBandScheduler(max_t=max_t, reduction_factor=eta).brackets
    assert [stages[0] for stages in brackets] == first_stages


@pytest.mark.parametrize("form", ["algorithm1", "table1"])
@pytest.mark.parametrize(("max_t", "eta", "number"), [(243, 3, 6), (729, 10, 3), (1000, 10, 4), (80, 3, 4), (81, 3, 5)])
def test_the_papers_forms_have_floor_of_the_logarithm_brackets(form: str, max_t: int, eta: int, number: int) -> None:
    brackets = HyperBandScheduler(max_t=max_t, reduction_factor=eta, form=form).brackets
    assert [len(stages) for stages in brackets] == list(range(number, 0, -1))
    assert all(stages[-1][1] == max_t for stages in brackets)


def test_brackets_cost_about_the_same() -> None:
    """Section 3 of the paper: every bracket of Algorithm 1 uses about (s_max + 1) * R, trials starting anew."""
    for stages in HyperBandScheduler(form="algorithm1").brackets:
        anew = sum(n * r for n, r in stages)
        assert 0.75 * 5 * 81 <= anew <= 1.2 * 5 * 81
        assert budget_of(stages) <= anew


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_t": 0.5}, "max_t must be a finite number >= 1, got 0.5"),
        ({"max_t": math.nan}, "max_t must be"),
        ({"reduction_factor": 1}, "reduction_factor must be a finite number > 1, got 1"),
        ({"reduction_factor": 1.001}, "so near to 1 that max_t=81 needs more than 64 brackets"),
        ({"form": "paper"}, "form must be one of ray, algorithm1, table1, got 'paper'"),
        ({"mode": "best"}, "mode must be 'min' or 'max'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HyperBandScheduler(**settings)


# -- filling, pausing, halving ----------------------------------------------------------------------------------------------


def test_C4_trials_fill_the_smallest_bracket_first_then_a_new_round() -> None:
    stage = make_stage(17 + 3)
    asked = [stage.scheduler.ask_from(trial) for trial in stage.trials]
    assert asked == [9] * 3 + [3] * 5 + [1] * 9 + [9] * 3


def test_C4_a_trial_is_not_asked_before_its_milestone() -> None:
    stage, (trial, *_) = second_bracket()
    assert [stage.report(trial, score=1.0) for _ in range(3)] == ["CONTINUE", "CONTINUE", "PAUSE"]
    assert stage.decisions == [(trial.trial_id, "PAUSE")]


def test_C4_paused_until_all_are_there_then_the_best_go_on() -> None:
    stage, trials = second_bracket()
    assert [reach(stage, trial, 3, score) for trial, score in zip(trials, (5, 1, 4, 2, 3), strict=True)] == ["PAUSE"] * 4 + [
        "STOP"
    ]
    assert statuses(trials) == ["PAUSED", "TERMINATED", "PAUSED", "TERMINATED", "TERMINATED"]
    assert [stage.choose(), stage.choose(), stage.choose()] == [trials[0], trials[2], None]
    assert stage.scheduler.ask_from(trials[0]) == 9
    assert reach(stage, trials[0], 9, 1) == "PAUSE"
    assert reach(stage, trials[2], 9, 0) == "STOP"
    assert statuses(trials) == ["TERMINATED"] * 5


def test_C4_the_last_to_come_goes_on_without_a_pause_when_it_is_good() -> None:
    stage, trials = second_bracket()
    for trial in trials[:4]:
        reach(stage, trial, 3, 0.0)
    assert reach(stage, trials[4], 3, 1.0) == "CONTINUE"
    assert statuses(trials) == ["TERMINATED"] * 3 + ["PAUSED", "RUNNING"]  # of equals the later one is kept


def test_C4_mode_min_keeps_the_least() -> None:
    stage = Stage(HyperBandScheduler(**SMALL), mode="min")
    trials = stage.add(8)[3:]
    stage.choose_all()
    for trial, score in zip(trials, (5, 1, 4, 2, 3), strict=True):
        reach(stage, trial, 3, score)
    assert [trial for trial in trials if trial.status != "TERMINATED"] == [trials[1], trials[3]]


@pytest.mark.parametrize("form", ["ray", "algorithm1", "table1"])
@pytest.mark.parametrize("eta", [3, 4])
def test_C4_a_whole_round_is_cut_as_planned(form: str, eta: int) -> None:
    """All brackets of a round, each trial with a score of its own: so many are left after each milestone."""
    scheduler = HyperBandScheduler(max_t=81, reduction_factor=eta, form=form)
    stage = make_stage(sum(stages[0][0] for stages in scheduler.brackets), scheduler=scheduler)
    first = 0
    for stages in scheduler.brackets:
        members = stage.trials[first : first + stages[0][0]]
        first += stages[0][0]
        for n, milestone in stages:
            stage.choose_all()
            alive = [trial for trial in members if not trial.is_finished()]
            assert len(alive) == n
            for trial in alive:
                reach(stage, trial, math.ceil(milestone), trial.index * 7 % 101)
            kept = {trial.index * 7 % 101 for trial in members if not trial.is_finished()}
            assert kept == set(sorted(trial.index * 7 % 101 for trial in alive)[len(alive) - len(kept) :])
    assert set(statuses(stage.trials)) == {"TERMINATED"}


def test_C4_the_least_complete_bracket_of_the_oldest_round_is_served_first() -> None:
    stage = make_stage(17 + 17)
    chosen = [stage.choose() for _ in range(4)]
    assert [trial.index for trial in chosen] == [0, 1, 2, 3]
    for trial in stage.trials[:3]:
        reach(stage, trial, 9)
    assert [stage.choose().index for _ in range(4)] == [4, 5, 6, 7]
    reach(stage, stage.trials[3], 3)
    assert stage.choose().index == 8  # the third bracket, since the second has done something
    assert [trial.index for trial in stage.choose_all()] == list(range(9, 34))


def test_C4_last_trials_go_on_for_ever_when_they_are_not_stopped() -> None:
    stage, trials = second_bracket(stop_last_trials=False)
    for trial in trials:
        reach(stage, trial, 3, trial.index)
    assert statuses(trials) == ["TERMINATED"] * 3 + ["PAUSED", "RUNNING"]
    assert stage.scheduler.ask_from(trials[4]) == NEVER_ASK
    assert stage.scheduler.ask_from(stage.trials[0]) == NEVER_ASK
    assert [reach(stage, trials[4], t) for t in (9, 10, 1000)] == ["CONTINUE"] * 3


def test_C4_a_report_that_jumps_over_milestones_is_halved_as_often() -> None:
    stage = make_stage(17, total=17)
    stage.choose_all()
    trials = stage.trials[8:]
    for trial in trials[:-1]:
        assert reach(stage, trial, 10, trial.index) == "PAUSE"
    assert reach(stage, trials[-1], 10, 99) == "STOP"
    assert statuses(trials) == ["TERMINATED"] * 9


def test_C4_who_is_past_the_new_milestone_waits_for_those_who_are_not() -> None:
    stage = make_stage(17, total=17)
    stage.choose_all()
    trials = stage.trials[8:]
    for trial in trials:
        reach(stage, trial, 5 if trial.index == 14 else 1, trial.index)
    assert statuses(trials) == ["TERMINATED"] * 6 + ["PAUSED", "PAUSED", "RUNNING"]
    assert stage.choose() is trials[7]
    assert stage.choose() is None  # trial 14 has run to 5 already


def test_time_may_go_backwards() -> None:
    stage, trials = second_bracket()
    assert reach(stage, trials[0], 3, 1.0) == "PAUSE"
    for trial in trials[1:]:
        reach(stage, trial, 3, 2.0 if trial.index > 5 else 0.0)
    trial = stage.choose()
    assert [reach(stage, trial, t) for t in (8, 2, 8)] == ["CONTINUE"] * 3
    assert reach(stage, trial, 9) == "PAUSE"


def test_other_clocks_are_asked_on_every_report() -> None:
    stage = make_stage(8, scheduler=HyperBandScheduler("seconds", **SMALL))
    stage.choose_all()
    trial = stage.trials[3]
    assert stage.scheduler.ask_from(trial) == 0
    assert [stage.report(trial, seconds=t, score=1.0) for t in (0.5, 2.9, 3.1)] == ["CONTINUE", "CONTINUE", "PAUSE"]


@pytest.mark.parametrize("bad", [None, math.nan, -math.inf])
def test_what_is_no_number_is_worst(bad: float | None) -> None:
    stage, trials = second_bracket()
    for trial, score in zip(trials, (bad, -1e300, bad, 0.0, bad), strict=True):
        reach(stage, trial, 3, score)
    assert [trial.index for trial in trials if not trial.is_finished()] == [4, 6]


def test_a_result_without_the_metric_or_the_time_is_an_error_that_names_it() -> None:
    stage, trials = second_bracket()
    with pytest.raises(MissingMetricError, match=r"trial 00003 did not report 'score', the scheduler's metric; it reported"):
        stage.report(trials[0], training_iteration=3, other=1.0)
    with pytest.raises(TypeError, match="reported 'high' as 'score'"):
        stage.report(trials[1], training_iteration=3, score="high")
    stage = make_stage(1, scheduler=HyperBandScheduler("seconds", **SMALL))
    with pytest.raises(MissingMetricError, match="'seconds', the scheduler's time_attr"):
        stage.report(stage.choose(), score=1.0)


def test_without_a_metric_nothing_can_be_compared() -> None:
    with pytest.raises(ValueError, match="HyperBandScheduler was run without a metric and mode"):
        Stage(HyperBandScheduler(), metric=None).add(1)


def test_the_debug_string_tells_the_brackets() -> None:
    assert HyperBandScheduler().debug_string() == "Using HyperBand: num_stopped=0 total_brackets=0"
    stage, trials = second_bracket()
    reach(stage, trials[0], 3)
    assert stage.scheduler.debug_string().splitlines() == [
        "Using HyperBand: num_stopped=0 total_brackets=2",
        "Round #0:",
        "  Bracket(Max Size (n)=3, Milestone (r)=9, completed=0.0%): {RUNNING: 3}",
        "  Bracket(Max Size (n)=5, Milestone (r)=3, completed=11.1%): {PAUSED: 1, RUNNING: 4}",
    ]


# -- losses: a bracket never waits for a trial that is gone -------------------------------------------------------------------


def test_C5_an_error_before_the_milestone_is_not_waited_for() -> None:
    stage, trials = second_bracket()
    stage.fail(trials[0])
    assert [reach(stage, trial, 3, trial.index) for trial in trials[1:]] == ["PAUSE"] * 3 + ["CONTINUE"]
    assert statuses(trials) == ["ERROR", "TERMINATED", "TERMINATED", "PAUSED", "RUNNING"]


def test_C5_the_error_of_the_last_one_halves_there_and_then() -> None:
    stage, trials = second_bracket()
    for trial in trials[:4]:
        reach(stage, trial, 3, trial.index)
    stage.fail(trials[4])
    assert statuses(trials) == ["TERMINATED", "TERMINATED", "PAUSED", "PAUSED", "ERROR"]
    assert [stage.choose(), stage.choose()] == trials[2:4]


def test_C5_after_losses_fewer_are_cut() -> None:
    stage, trials = second_bracket()
    for trial in trials[:3]:
        stage.fail(trial)
    assert [reach(stage, trial, 3) for trial in trials[3:]] == ["PAUSE", "CONTINUE"]
    assert statuses(trials[3:]) == ["PAUSED", "RUNNING"]


def test_C5_the_error_of_a_paused_trial() -> None:
    stage, trials = second_bracket()
    reach(stage, trials[0], 3, 9.0)
    stage.fail(trials[0])
    for trial in trials[1:]:
        reach(stage, trial, 3, trial.index)
    assert statuses(trials) == ["ERROR", "TERMINATED", "TERMINATED", "PAUSED", "RUNNING"]


def test_C5_a_trial_that_ends_early_is_not_waited_for() -> None:
    stage, trials = second_bracket()
    reach(stage, trials[0], 2, 100.0)
    stage.complete(trials[0])
    for trial in trials[1:]:
        reach(stage, trial, 3, trial.index)
    assert statuses(trials) == ["TERMINATED"] * 3 + ["PAUSED", "RUNNING"]


def test_C5_the_early_end_of_the_last_one_halves_there_and_then() -> None:
    stage, trials = second_bracket()
    for trial in trials[:4]:
        reach(stage, trial, 3, trial.index)
    stage.complete(trials[4])  # without a report
    assert statuses(trials) == ["TERMINATED", "TERMINATED", "PAUSED", "PAUSED", "TERMINATED"]


def test_C5_a_survivor_that_ends_early_leaves_the_next_stage_to_the_others() -> None:
    stage, trials = second_bracket()
    for trial in trials:
        reach(stage, trial, 3, trial.index)
    stage.choose()
    assert reach(stage, trials[3], 9) == "PAUSE"
    stage.complete(trials[4])
    assert statuses(trials) == ["TERMINATED"] * 5


def test_C5_removal_of_a_paused_and_of_a_pending_trial() -> None:
    stage = make_stage(8)
    trials = stage.trials[3:]
    for _ in range(7):
        stage.choose()
    for trial in trials[:4]:
        reach(stage, trial, 3, -trial.index)
    for trial in (trials[0], trials[4]):  # the best of the paused, then the one that was never run
        trial.status = "TERMINATED"
        stage.scheduler.on_trial_remove(stage, trial)
        stage._obey()
    assert statuses(trials) == ["TERMINATED", "PAUSED", "PAUSED", "TERMINATED", "TERMINATED"]
    assert stage.choose_all() == trials[1:3]


def test_C5_all_lost() -> None:
    stage, trials = second_bracket()
    for trial in trials:
        stage.fail(trial)
    assert stage.choose() is None
    (fresh,) = stage.add()
    assert stage.scheduler.ask_from(fresh) == 3  # it takes the place of a lost one
    assert stage.choose() is fresh


def test_C5_a_trial_added_after_a_loss_is_judged_at_the_brackets_milestone() -> None:
    stage, trials = second_bracket()
    for trial in trials:
        reach(stage, trial, 3, trial.index)
    stage.fail(trials[4])
    (fresh,) = stage.add()
    assert stage.scheduler.ask_from(fresh) == 9
    assert stage.scheduler.ask_from(*stage.add()) == 1  # the next one opens the third bracket


def test_C5_a_trial_added_after_a_halving_opens_a_bracket() -> None:
    stage, trials = second_bracket()
    for trial in trials:
        reach(stage, trial, 3, trial.index)
    assert stage.scheduler.ask_from(*stage.add()) == 1


def test_C5_a_trial_that_is_tried_again_joins_again() -> None:
    stage, trials = second_bracket()
    stage.scheduler.on_trial_error(stage, trials[0])
    trials[0].status = "PENDING"
    stage.scheduler.on_trial_add(stage, trials[0])
    assert stage.choose() is trials[0]
    for trial in trials:
        reach(stage, trial, 3, trial.index)
    assert statuses(trials) == ["TERMINATED"] * 3 + ["PAUSED", "RUNNING"]


def test_C5_early_ends_use_their_places_up() -> None:
    """Otherwise trials that end by themselves, one at a time, would never fill a bracket."""
    stage = make_stage(0)
    milestones = []
    for _ in range(20):
        (trial,) = stage.add()
        milestones.append(stage.scheduler.ask_from(trial))
        assert stage.choose() is trial
        stage.complete(trial)
    assert milestones == [9] * 3 + [3] * 5 + [1] * 9 + [9] * 3


# -- nothing waits for ever -------------------------------------------------------------------------------------------------


def test_a_bracket_waits_for_the_trials_that_fill_it() -> None:
    stage = make_stage(6)
    stage.choose_all()
    for trial in stage.trials[3:]:
        assert reach(stage, trial, 3, trial.index) == "PAUSE"
    assert stage.choose() is None  # trials 0 to 2 run, more may come
    stage.add(2)
    for trial in stage.choose_all():
        reach(stage, trial, 3, trial.index)
    assert statuses(stage.trials[3:]) == ["TERMINATED"] * 3 + ["PAUSED", "RUNNING"]


def test_a_bracket_that_cannot_fill_is_halved_as_soon_as_all_are_there() -> None:
    stage = make_stage(6, total=6)
    stage.choose_all()
    assert [reach(stage, trial, 3, trial.index) for trial in stage.trials[3:]] == ["PAUSE", "PAUSE", "CONTINUE"]
    assert statuses(stage.trials[3:]) == ["TERMINATED", "PAUSED", "RUNNING"]


def test_when_nothing_runs_and_nothing_comes_the_bracket_goes_on_with_those_it_has() -> None:
    stage = make_stage(6)
    stage.choose_all()
    for trial in stage.trials[3:]:
        reach(stage, trial, 3, trial.index)
    for trial in stage.trials[:3]:
        reach(stage, trial, 9)
    assert stage.choose() is stage.trials[4]
    assert stage.choose() is stage.trials[5]
    assert statuses(stage.trials) == ["TERMINATED"] * 4 + ["RUNNING"] * 2
    for trial in stage.trials[4:]:
        reach(stage, trial, 9)
    assert set(statuses(stage.trials)) == {"TERMINATED"}
    assert stage.choose() is None


def test_a_trial_that_was_chosen_and_could_not_be_run_is_chosen_again() -> None:
    stage = make_stage(8)
    trial = stage.scheduler.choose_trial_to_run(stage)
    assert trial is stage.trials[0]
    assert stage.scheduler.choose_trial_to_run(stage) is trial  # it did not run
    trial.status = "RUNNING"  # it is being handed out
    assert stage.choose() is stage.trials[1]
    trial.status = "PENDING"  # and comes back
    assert stage.choose() is trial


def test_whoever_was_running_when_the_run_was_interrupted_is_run_again() -> None:
    stage, trials = second_bracket()
    for trial in trials[:4]:
        reach(stage, trial, 3, trial.index)
    for trial in stage.trials:  # as a resumed run finds them
        if not trial.is_finished():
            trial.status = "PENDING"
    again = stage.choose_all()
    assert again == [*stage.trials[:3], trials[4]]  # those that were held stay so
    reach(stage, trials[4], 3, 0.0)
    assert statuses(trials) == ["TERMINATED", "TERMINATED", "PENDING", "PENDING", "TERMINATED"]
    assert stage.choose_all() == trials[2:4]


# -- for BOHB -----------------------------------------------------------------------------------------------------------------


def test_bohb_fills_the_largest_bracket_first() -> None:
    scheduler = HyperBandForBOHB(max_t=9)
    assert scheduler.brackets == [[(9, 1), (3, 3), (1, 9)], [(5, 3), (2, 9)], [(3, 9)]]
    stage = make_stage(18, scheduler=scheduler)
    assert [scheduler.ask_from(trial) for trial in stage.trials] == [1] * 9 + [3] * 5 + [9] * 3 + [1]


def test_bohb_tells_the_searcher_the_budget_and_leaves_results_alone() -> None:
    scheduler = HyperBandForBOHB(**SMALL)
    stage = make_stage(9, scheduler=scheduler)
    assert scheduler.holds_back
    words = []
    for trial in stage.choose_all():
        result = {"training_iteration": 1, "score": float(trial.index)}
        trial.last_result = dict(result)
        decision = scheduler.on_trial_result(stage, trial, result)
        words.append(scheduler.tells_searcher(trial))
        assert result == trial.last_result
        trial.status = {"PAUSE": "PAUSED", "CONTINUE": "RUNNING"}[decision]
        stage._obey()
    assert words == [{"hyperband_info": {"budget": 1.0}}] * 9
    short = {"training_iteration": 2, "score": 1.0}
    assert scheduler.on_trial_result(stage, stage.trials[8], short) == "CONTINUE"
    assert scheduler.tells_searcher(stage.trials[8]) == {"hyperband_info": {}}
    assert stage.choose_all() == stage.trials[6:8]


def test_bohb_serves_one_bracket_after_the_other() -> None:
    stage = make_stage(14, scheduler=HyperBandForBOHB(**SMALL))
    first = stage.choose()
    reach(stage, first, 1)
    assert [trial.index for trial in stage.choose_all()] == list(range(1, 14))
