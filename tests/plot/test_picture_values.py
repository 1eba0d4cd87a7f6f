"""What pictures are made of, against slow and obvious ways to say the same."""

from __future__ import annotations

import math
import pickle
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from searched import SPACE, loss_of

import fasttune as tune
from fasttune import _core
from fasttune.analysis.curves import of_experiment
from fasttune.engine.facts import ONE_TRIAL, Changed
from fasttune.plot.curves import LEVELS, curves_data
from fasttune.plot.data import CUT_OFF, FAILED, FINISHED, STOPPED, ExperimentData, experiment_of, sampled
from fasttune.plot.front import front_data
from fasttune.plot.history import edf_data, history_data
from fasttune.plot.journal import ends, side_by_side, stretches
from fasttune.plot.lineage import _line as ancestry
from fasttune.plot.lineage import lineage_data
from fasttune.plot.parallel import NO_VALUE, parallel_data
from fasttune.plot.rungs import rungs_data
from fasttune.plot.slices import contour_data, rank_data, slices_data
from fasttune.plot.workers import timeline_data
from fasttune.schedulers import ASHAScheduler, HyperBandScheduler


def scores(experiment: ExperimentData, metric: str, best: bool = False, mode: str = "min") -> list[float]:
    """The last value of each trial, or its best, out of its frame."""
    found = []
    for frame in experiment.analysis.trial_dataframes.values():
        column = frame[metric]
        found.append(float((column.min() if mode == "min" else column.max()) if best else column.iloc[-1]))
    return found


def test_the_best_so_far_is_that_of_a_loop(asha: ExperimentData) -> None:
    data = history_data(asha, asha.goal(None, None, None))
    told = scores(asha, "loss")
    assert data.score.tolist() == told
    assert data.x.tolist() == list(range(1, 121))
    best, expected = math.inf, []
    for x, score in enumerate(told, 1):
        if score < best:
            best = score
            expected.append((x, best))
    assert list(zip(data.best_x.tolist(), data.best.tolist(), strict=True)) == [*expected, (120.0, best)]


def test_the_best_so_far_to_be_maximised_and_over_time(asha: ExperimentData) -> None:
    data = history_data(asha, asha.goal("accuracy", "max", "all"), over="time")
    assert (np.diff(data.x) >= 0).all()
    assert (np.diff(data.best) >= 0).all()
    assert data.best[-1] == max(scores(asha, "accuracy", best=True, mode="max"))
    last = [float(frame["time_total_s"].iloc[-1]) for frame in asha.analysis.trial_dataframes.values()]
    assert data.x.max() >= max(last)  # no trial reports before it has run


def test_a_trial_that_failed_before_it_reported_stands_at_the_edge() -> None:
    def train(config: dict[str, Any]) -> None:
        if config["x"] == 2:
            raise RuntimeError("early")
        tune.report(loss=config["x"])
        if config["x"] == 3:
            raise RuntimeError("late")

    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "raise_on_failed_trial": False}
    analysis = tune.run(train, config={"x": tune.grid_search([1, 2, 3, 4])}, metric="loss", mode="min", **given)
    experiment = ExperimentData(analysis)
    data = history_data(experiment, experiment.goal(None, None, None))
    assert data.position.tolist() == [0, 2, 3]
    assert data.outcome.tolist() == [FINISHED, FAILED, FINISHED]
    assert data.failed.tolist() == [1]


def test_outcomes_are_those_of_the_scheduler(asha: ExperimentData) -> None:
    steps = [len(frame) for frame in asha.analysis.trial_dataframes.values()]
    assert asha.outcome.tolist() == [FINISHED if n == 27 else STOPPED for n in steps]
    assert {STOPPED, FINISHED} == set(asha.outcome.tolist())


def test_a_trial_that_says_it_is_done_has_ended_by_itself() -> None:
    class Done(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": self.config["x"], "done": self.iteration == self.config["x"]}

    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "metric": "loss", "mode": "min"}
    experiment = ExperimentData(tune.run(Done, config={"x": tune.grid_search([1, 2, 3])}, **given))
    assert experiment.steps.tolist() == [2, 3, 4]
    assert experiment.outcome.tolist() == [FINISHED] * 3
    made = experiment.analysis
    curves = of_experiment(made._source, made._columns, made._indices, None)
    assert curves.truncated == frozenset()  # nor might what is recorded of it have gone on


def test_a_trial_that_is_stopped_from_outside_says_nothing_of_the_others(
    asha: ExperimentData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ran at that moment and was stopped later by the scheduler had ended with it."""
    stop, alone = _core.STOP, _core.STOP | ONE_TRIAL
    head = struct.pack("<II", 0, 0) + bytes(8)
    entries = [
        (0, 0, _core.encode(_core.KIND_CONFIGS, 0, 2, head, 0, 1.0)),
        (0, 0, _core.encode(_core.KIND_DECISION, 1, 0, b"stopped from outside", alone, 12.0)),
        (0, 0, _core.encode(_core.KIND_DECISION, 0, 0, b"time is up", stop, 25.0)),
    ]
    assert ends(entries) == ([25.0], {1})
    before = asha.outcome.tolist()
    hit = before.index(STOPPED)
    again = ExperimentData(asha.analysis)
    monkeypatch.setattr(ExperimentData, "_ends", ([], {hit, before.index(FINISHED)}))
    assert again.outcome.tolist() == [CUT_OFF if k == hit else one for k, one in enumerate(before)]


def test_what_a_later_session_took_up_again_ran_until_the_end_of_its_own() -> None:
    def told(kind: int, trial: int, time: float) -> tuple[int, int, bytes]:
        return 0, 0, _core.encode(kind, trial, 0, b"", 0, time)

    head = struct.pack("<II", 0, 0) + bytes(8)
    entries = [
        (0, 0, _core.encode(_core.KIND_CONFIGS, 0, 2, head, 0, 1.0)),
        told(_core.KIND_START, 0, 10.0),
        told(_core.KIND_START, 1, 11.0),
        told(_core.KIND_END, 1, 20.0),
        told(_core.KIND_DECISION, 0, 25.0),
        told(_core.KIND_REQUEUED, 0, 10_000.0),
        told(_core.KIND_START, 0, 10_001.0),
        told(_core.KIND_END, 0, 10_005.0),
    ]
    assert [(trial, start, end) for trial, _, start, end in stretches(entries, 0.0)] == [
        (0, 10.0, 25.0),
        (1, 11.0, 20.0),
        (0, 10_001.0, 10_005.0),
    ]


def test_what_ran_when_the_time_was_up_was_stopped_by_no_scheduler() -> None:
    given: dict[str, Any] = {"num_samples": 9, "metric": "loss", "mode": "min", "workers": 2, "steps": 5}
    analysis = tune.simulate(curve_of_x, {"x": tune.uniform(0, 1)}, time_budget_s=12.5, **given)
    experiment = ExperimentData(analysis)
    steps = experiment.steps.tolist()
    cut = [k for k, one in enumerate(experiment.outcome.tolist()) if one == CUT_OFF]
    assert cut == [k for k, n in enumerate(steps) if 0 < n < 5]
    assert len(cut) == 2
    with pytest.raises(ValueError, match="none of the"):
        rungs_data(experiment)


def test_the_distribution_counts(wide: ExperimentData) -> None:
    data = edf_data(wide, wide.goal(None, None, None))
    told = sorted(scores(wide, "loss"))
    assert data.score.tolist() == told
    assert data.fraction.tolist() == [k / 400 for k in range(1, 401)]


def test_bands_are_quantiles_of_the_trials_that_reported_at_the_step(asha: ExperimentData, wide: ExperimentData) -> None:
    assert len(curves_data(asha, asha.goal(None, None, None)).band_step) == 0  # few enough to be drawn one by one
    data = curves_data(wide, wide.goal(None, None, None))
    frames = list(wide.analysis.trial_dataframes.values())
    for k, step in enumerate(data.band_step.astype(int).tolist()):
        values = [float(frame["loss"].iloc[step - 1]) for frame in frames if len(frame) >= step]
        assert data.reached[k] == len(values)
        np.testing.assert_allclose(data.bands[:, k], np.quantile(values, LEVELS), rtol=1e-12)


def test_the_sample_of_curves_holds_the_best(wide: ExperimentData) -> None:
    goal = wide.goal(None, None, None)
    data = curves_data(wide, goal)
    assert len(data.curves) < 100
    assert data.best == np.argsort(scores(wide, "loss"), kind="stable")[:5].tolist()
    assert set(data.best) <= {one.position for one in data.curves}
    for one in data.curves:
        frame = wide.analysis.trial_dataframes[wide.trial_id(one.position)]
        assert one.value.tolist() == frame["loss"].tolist()


def test_parameters_are_those_that_differ_with_their_axes(asha: ExperimentData) -> None:
    params = asha.parameters
    assert list(params) == ["lr", "width", "act", "batch", "opt/momentum", "opt/name"]
    frame = asha.analysis.dataframe()
    lr = params["lr"]
    assert lr.values.tolist() == frame["config/lr"].tolist()
    assert lr.log
    assert (lr.low, lr.high) == (1e-4, 1.0)
    np.testing.assert_allclose(lr.units(), (np.log10(lr.values) + 4) / 4, atol=1e-12)
    np.testing.assert_allclose(lr.at(lr.units()), lr.values, rtol=1e-9)
    assert (params["width"].low, params["width"].high, params["width"].log) == (4, 64, False)
    assert params["act"].labels == ("relu", "tanh", "gelu")
    assert [params["act"].labels[int(k)] for k in params["act"].values] == frame["config/act"].tolist()
    assert params["batch"].labels == ("32", "64", "128")  # numbers to choose from are categories, in their order
    momentum = params["opt/momentum"].values
    assert (np.isnan(momentum) == (frame["config/opt/name"] == "adam").to_numpy()).all()


def test_slices_pair_values_with_scores(asha: ExperimentData) -> None:
    told = scores(asha, "loss")
    for one in slices_data(asha, asha.goal(None, None, None), ["opt/momentum", "lr"]):
        assert one.position.tolist() == np.flatnonzero(np.isfinite(one.parameter.values)).tolist()
        assert one.score.tolist() == [told[k] for k in one.position]
        assert one.value.tolist() == one.parameter.values[one.position].tolist()


def test_ranks_count_better_trials_and_share_ties() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=float(config["x"] // 2))

    space = {"x": tune.grid_search(list(range(8))), "y": tune.grid_search([0, 1])}
    analysis = tune.run(train, config=space, metric="loss", mode="min", executor="inline", verbose=0)
    experiment = ExperimentData(analysis)
    (pair,) = rank_data(experiment, experiment.goal(None, None, None))
    told = [float(config["x"] // 2) for config in experiment.analysis.get_all_configs().values()]
    expected = [(sum(b < a for b in told) + (sum(b == a for b in told) - 1) / 2) / (len(told) - 1) for a in told]
    np.testing.assert_allclose(pair.rank, [expected[k] for k in pair.position], atol=1e-12)


def test_a_contour_is_the_mean_of_what_is_near(wide: ExperimentData) -> None:
    goal = wide.goal(None, None, None)
    (cells,) = contour_data(wide, goal, ["act", "batch"])
    frame = wide.analysis.dataframe()
    tamed = np.minimum(frame["loss"], np.quantile(frame["loss"], 0.95))
    for row, batch in enumerate((32, 64, 128)):
        for column, act in enumerate(("relu", "tanh", "gelu")):
            mean = tamed[(frame["config/act"] == act) & (frame["config/batch"] == batch)].mean()
            assert cells.z[row, column] == pytest.approx(mean)
    (surface,) = contour_data(wide, goal, ["lr", "width"])
    _, column = np.unravel_index(np.nanargmin(surface.z), surface.z.shape)
    assert 3e-3 < surface.x_at[column] < 3e-2  # the valley of the loss


def test_lines_pass_axes_at_their_values(asha: ExperimentData) -> None:
    data = parallel_data(asha, asha.goal(None, None, None))
    names = [one.name for one in data.parameters]
    told = scores(asha, "loss")
    assert data.score.tolist() == sorted(told, reverse=True)  # the best is drawn last
    lr = data.places[:, names.index("lr")]
    np.testing.assert_allclose(lr, (np.log10(asha.parameters["lr"].values[data.position]) + 4) / 4, atol=1e-12)
    lacks = np.isnan(asha.parameters["opt/momentum"].values[data.position])
    assert (data.places[lacks, names.index("opt/momentum")] == NO_VALUE).all()
    assert ((data.places >= 0) & (data.places <= 1))[~lacks].all()


def test_of_many_trials_the_best_hundred_have_lines(wide: ExperimentData) -> None:
    data = parallel_data(wide, wide.goal(None, None, None))
    assert len(data.position) == 300
    best = np.argsort(scores(wide, "loss"), kind="stable")[:100]
    assert set(best.tolist()) <= set(data.position.tolist())


def test_workers_run_one_trial_at_a_time(asha: ExperimentData) -> None:
    data = timeline_data(asha)
    assert data.workers == 3
    assert len(data.spans.start) == 120
    for lane in range(3):
        of_it = data.spans.lane == lane
        assert (data.spans.start[of_it][1:] >= data.spans.end[of_it][:-1]).all()
    steps = np.array([len(frame) for frame in asha.analysis.trial_dataframes.values()])
    length = np.zeros(120)
    np.add.at(length, data.spans.position, data.spans.end - data.spans.start)
    np.testing.assert_allclose(length, steps)  # a step costs one virtual second
    width = data.seconds / data.busy.shape[1]
    for lane in range(3):
        for bin_ in range(0, data.busy.shape[1], 17):
            a, b = bin_ * width, (bin_ + 1) * width
            of_it = data.spans.lane == lane
            overlap = np.minimum(data.spans.end[of_it], b) - np.maximum(data.spans.start[of_it], a)
            assert data.busy[lane, bin_] == pytest.approx(np.maximum(overlap, 0).sum() / width, abs=1e-9)


def test_a_paused_trial_has_a_stretch_for_each_time_that_it_ran() -> None:
    given: dict[str, Any] = {"num_samples": 20, "metric": "loss", "mode": "min", "workers": 2, "steps": 9}
    halving = HyperBandScheduler(max_t=9)
    experiment = ExperimentData(tune.simulate(lambda c, s: {"loss": loss_of(c)}, SPACE, scheduler=halving, **given))
    data = timeline_data(experiment)
    assert len(data.spans.start) > 20
    length = np.zeros(20)
    np.add.at(length, data.spans.position, data.spans.end - data.spans.start)
    np.testing.assert_allclose(length, experiment.steps)


def test_gpus_that_running_trials_hold() -> None:
    given: dict[str, Any] = {"num_samples": 4, "metric": "loss", "mode": "min", "workers": 2, "steps": 3}
    experiment = ExperimentData(
        tune.simulate(lambda c, s: {"loss": 1.0}, {"x": tune.uniform(0, 1)}, resources_per_trial={"cpu": 1, "gpu": 0.5}, **given)
    )
    data = timeline_data(experiment)
    assert data.gpu_time.tolist() == [0.0, 3.0, 6.0]
    assert data.gpu.tolist() == [1.0, 1.0, 0.0]


def test_lanes_are_as_few_as_overlaps_need() -> None:
    rows = [(0, 4, 0.0, 2.0), (1, 4, 1.0, 3.0), (2, 4, 2.0, 4.0), (3, 9, 0.0, 9.0)]
    rows.sort(key=lambda row: row[2])
    assert side_by_side(rows) == [(0, 0, 0.0, 2.0), (3, 1, 0.0, 9.0), (1, 2, 1.0, 3.0), (2, 0, 2.0, 4.0)]


def test_rungs_count_who_came_and_who_was_stopped(asha: ExperimentData) -> None:
    (data,) = rungs_data(asha)
    steps = [len(frame) for frame in asha.analysis.trial_dataframes.values()]
    assert data.first.tolist() == [1, 3, 9, 27]
    assert data.reached.tolist() == [sum(n >= step for n in steps) for step in (1, 3, 9, 27)]
    assert data.cut.tolist() == [sum(n == step for n in steps) for step in (1, 3, 9)] + [0]
    assert data.ended.tolist() == [0, 0, 0, sum(n == 27 for n in steps)]
    assert (data.reached[1:] == (data.reached - data.cut - data.failed - data.ended)[:-1]).all()


@pytest.mark.parametrize(
    ("scheduler", "firsts"),
    [
        (ASHAScheduler(max_t=27, brackets=2, reduction_factor=3), {1, 3}),
        (HyperBandScheduler(max_t=27), {1, 3, 9}),
    ],
    ids=["asha", "hyperband"],
)
def test_brackets_begin_at_their_own_rungs(scheduler: Any, firsts: set[int]) -> None:
    given: dict[str, Any] = {"num_samples": 60, "metric": "loss", "mode": "min", "workers": 3, "steps": 27}
    experiment = ExperimentData(tune.simulate(curve_of_x, {"x": tune.uniform(0, 1)}, scheduler=scheduler, **given))
    found = rungs_data(experiment)
    assert {int(one.first[0]) for one in found} == firsts
    assert [one.bracket for one in found] == list(range(len(firsts)))
    assert sum(one.trials for one in found) <= 60  # what no rung has stopped or kept waiting is in no bracket that is known
    assert sum(int(one.cut.sum()) for one in found) == int((experiment.outcome == STOPPED).sum())


def curve_of_x(config: dict[str, Any], step: int) -> dict[str, float]:
    return {"loss": config["x"] + 1.0 / step}


def test_the_line_of_the_best_trial_is_that_of_the_frame(population: ExperimentData) -> None:
    data = lineage_data(population, population.goal(None, None, None))
    frame = population.analysis.lineage()
    assert [population.trial_id(k) for k in data.trial] == frame["trial_id"].tolist()
    assert data.donor_step.tolist() == frame["donor_iteration"].tolist()
    # slowly: walk the frame backwards from the best trial
    trial, expected, rows = population.analysis.best_trial.trial_id, [], frame.to_dict("records")
    while True:
        of_it = [k for k, row in enumerate(rows) if row["trial_id"] == trial]
        if not of_it:
            expected.append((trial, 0))
            break
        row = rows[of_it[-1]]
        expected.append((trial, row["donor_iteration"]))
        rows, trial = rows[: of_it[-1]], row["donor_id"] or trial
    assert [(population.trial_id(one.position), one.first) for one in data.line] == expected[::-1]
    assert data.line[-1].last == 40
    assert data.line[-1].config["lr"] == population.analysis.best_config["lr"]
    assert data.changed == ["lr"]


def test_a_trial_that_went_on_otherwise_by_itself_is_its_own_ancestor() -> None:
    told = [
        Changed(1.0, 0, 5, 1, 4, {"x": 0}, {"x": 1}),
        Changed(2.0, 0, 9, None, 8, {"x": 1}, {"x": 2}),
        Changed(3.0, 1, 9, 0, 7, {}, {}),
    ]

    class Three:
        steps = np.array([20, 20, 20])
        analysis = SimpleNamespace(trials=[SimpleNamespace(config={"x": k}) for k in range(3)])

    line: Any = ancestry(Three(), told, 0)  # type: ignore[arg-type]  # all that it looks at
    assert [(one.position, one.first, one.last, one.config) for one in line] == [
        (1, 0, 4, {}), (0, 4, 8, {"x": 1}), (0, 8, 20, {"x": 2})
    ]  # fmt: skip


def test_the_front_is_that_of_the_analysis(wide: ExperimentData) -> None:
    wanted = {"accuracy": "max", "seconds": "min"}
    data = front_data(wide, [wide.goal(metric, mode, "last") for metric, mode in wanted.items()])
    told = [trial.trial_id for trial in wide.analysis.pareto_front(wanted, "last")]
    assert [wide.trial_id(k) for k in data.position[data.front].tolist()] == told


def test_a_sample_keeps_what_it_has_to() -> None:
    assert sampled(5, 10).tolist() == [0, 1, 2, 3, 4]
    some = sampled(1000, 100, always=[7, 999])
    assert len(some) == 100 == len(set(some.tolist()))
    assert {7, 999} <= set(some.tolist())
    assert (np.diff(some) > 0).all()


def test_trials_of_an_analysis_in_its_order(asha: ExperimentData) -> None:
    source = asha.analysis
    chosen = [source.trials[40], source.trials[7]]
    some = tune.ExperimentAnalysis(source._source, trials=chosen, default_metric="loss", default_mode="min")
    experiment = experiment_of(some)
    told = scores(asha, "loss")
    assert history_data(experiment, experiment.goal(None, None, None)).score.tolist() == [told[40], told[7]]
    assert set(timeline_data(experiment).spans.position.tolist()) == {0, 1}


# ---- what cannot be drawn


def test_errors_say_what_there_is(asha: ExperimentData, population: ExperimentData, wide: ExperimentData) -> None:
    with pytest.raises(ValueError, match=r"metric 'los' was never reported; reported were 'loss', 'seconds', 'accuracy'"):
        asha.goal("los", "min", None)
    with pytest.raises(ValueError, match="mode"):
        asha.goal("accuracy", None, None)
    with pytest.raises(ValueError, match=r"no parameter 'constant' differs between trials; there are 'lr', 'width'"):
        slices_data(asha, asha.goal(None, None, None), ["constant"])
    with pytest.raises(TypeError, match=r"params is a list of names, got the text 'lr'"):
        slices_data(asha, asha.goal(None, None, None), "lr")
    with pytest.raises(ValueError, match="needs at least 2 parameters of which trials differ, and there is 1: lr"):
        contour_data(population, population.goal(None, None, None))
    with pytest.raises(ValueError, match="none of the 400 trials was stopped early"):
        rungs_data(wide)
    with pytest.raises(ValueError, match="no trial copied another"):
        lineage_data(wide, wide.goal(None, None, None))
    with pytest.raises(ValueError, match='over must be "trials" or "time"'):
        history_data(wide, wide.goal(None, None, None), "steps")
    with pytest.raises(TypeError, match="got int"):
        experiment_of(3)


def test_nothing_reported_is_said() -> None:
    given: dict[str, Any] = {"executor": "inline", "verbose": 0, "raise_on_failed_trial": False}

    def fails(config: dict[str, Any]) -> None:
        raise RuntimeError("at once")

    experiment = ExperimentData(tune.run(fails, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=2, **given))
    with pytest.raises(ValueError, match=r"none of the 2 trials of .* has reported"):
        experiment.goal(None, None, None)


def test_only_nan_is_nothing_to_draw() -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=math.nan)

    experiment = ExperimentData(tune.run(train, metric="loss", mode="min", num_samples=2, executor="inline", verbose=0))
    with pytest.raises(ValueError, match="no trial has a finite value of 'loss'"):
        history_data(experiment, experiment.goal(None, None, None))


def test_an_analysis_without_a_journal_has_no_timeline() -> None:
    space = {"x": tune.uniform(0, 1)}
    analysis = tune.run(lambda config: {"loss": config["x"]}, config=space, num_samples=3, executor="inline", verbose=0)
    copy = ExperimentData(pickle.loads(pickle.dumps(analysis)))
    with pytest.raises(ValueError, match="holds no journal"):
        timeline_data(copy)
    assert len(history_data(copy, copy.goal("loss", "min", None)).score) == 3
