"""The Searcher contract, and the searchers around searchers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from fasttune.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    Repeater,
    Searcher,
    SearchGenerator,
    create_searcher,
)
from fasttune.search.repeater import TRIAL_INDEX


class Counting(Searcher):
    """Suggests 1, 2, 3 .. and writes down what it is told."""

    def __init__(self, metric="score", mode="max", last=None):
        super().__init__(metric, mode)
        self.count = 0
        self.last = last
        self.told = []

    def suggest(self, trial_id):
        if self.count == self.last:
            return Searcher.FINISHED
        self.count += 1
        return {"x": self.count, "nested": {"l": [1]}}

    def on_trial_result(self, trial_id, result):
        self.told.append(("result", trial_id, result))

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.told.append((trial_id, result, error))

    def add_evaluated_point(self, parameters, value, error=False, pruned=False, intermediate_values=None):
        self.told.append((parameters, value, error, pruned))


class SelfLimiting(Counting):
    limit = None

    def set_max_concurrency(self, max_concurrent):
        self.limit = max_concurrent
        return True


# --- Searcher ---


def test_A2_a_searcher_needs_suggest_and_on_trial_complete():
    with pytest.raises(NotImplementedError, match="suggest"):
        Searcher().suggest("a")
    with pytest.raises(NotImplementedError, match="on_trial_complete"):
        Searcher().on_trial_complete("a")
    with pytest.raises(NotImplementedError, match="evaluated points"):
        Searcher().add_evaluated_trials([], "m")
    assert Searcher().on_trial_result("a", {}) is None
    assert Searcher().set_search_properties("m", "max", {}) is False
    assert Searcher().set_max_concurrency(3) is False


def test_A2_metric_and_mode_may_be_lists():
    searcher = Searcher(["a", "b"], ["min", "obs"])
    assert searcher.metric == ["a", "b"]
    assert searcher.mode == ["min", "obs"]
    assert (Searcher().metric, Searcher().mode) == (None, None)
    for metric, mode in [("a", "best"), (["a"], ["min", "max"]), ("a", ["min"]), (["a"], "min")]:
        with pytest.raises(ValueError, match="mode"):
            Searcher(metric, mode)


def test_A2_a_searcher_saves_and_restores_its_state(tmp_path):
    searcher = Counting()
    searcher.suggest("a")
    searcher.save(str(tmp_path / "state"))
    again = Counting()
    again.restore(str(tmp_path / "state"))
    assert again.suggest("b")["x"] == 2
    searcher.save_to_dir(str(tmp_path), "one")
    assert (tmp_path / "searcher-state-one.pkl").exists()
    again = Counting()
    again.restore_from_dir(str(tmp_path))
    assert again.count == 1
    with pytest.raises(RuntimeError, match="no searcher state"):
        again.restore_from_dir(str(tmp_path / "nothing"))


def test_A2_a_state_with_functions_is_saved_too(tmp_path):
    searcher = Counting()
    searcher.rule = lambda x: x + 1
    searcher.save(str(tmp_path / "state"))
    again = Counting()
    again.restore(str(tmp_path / "state"))
    assert again.rule(1) == 2


def test_A2_trials_of_another_run_are_learned_from():
    trials = [
        SimpleNamespace(config={"x": 1}, status="TERMINATED", last_result={"m": 5, "done": True}),
        SimpleNamespace(config={"x": 2}, status="TERMINATED", last_result={"m": 4}),
        SimpleNamespace(config={"x": 3}, status="ERROR", last_result={}),
        SimpleNamespace(config={"x": 4}, status="TERMINATED", last_result={"done": True}),
    ]
    told = [({"x": 1}, 5, False, False), ({"x": 2}, 4, False, True), ({"x": 3}, None, True, False)]
    for given in (trials, SimpleNamespace(trials=trials)):
        searcher = Counting()
        searcher.add_evaluated_trials(given, "m")
        assert searcher.told == told
    with pytest.warns(UserWarning, match="has the metric 'other'"):
        Counting().add_evaluated_trials(trials[0], "other")


# --- ConcurrencyLimiter ---


def test_A3_no_more_than_max_concurrent_are_out():
    limiter = ConcurrencyLimiter(Counting(), max_concurrent=2)
    assert limiter.suggest("t1")["x"] == 1
    assert limiter.suggest("t2")["x"] == 2
    assert limiter.suggest("t3") is None
    limiter.on_trial_complete("t1", {"score": 3})
    assert limiter.searcher.told == [("t1", {"score": 3}, False)]
    assert limiter.suggest("t3")["x"] == 3
    assert limiter.suggest("t4") is None


def test_A3_a_batch_is_told_once_all_of_it_has_ended():
    limiter = ConcurrencyLimiter(Counting(), max_concurrent=2, batch=True)
    limiter.suggest("t1")
    limiter.suggest("t2")
    limiter.on_trial_complete("t1", {"score": 1})
    assert limiter.searcher.told == []
    assert limiter.suggest("t3") is None
    limiter.on_trial_complete("t2", None, error=True)
    assert limiter.searcher.told == [("t1", {"score": 1}, False), ("t2", None, True)]
    assert limiter.suggest("t3")["x"] == 3
    limiter.on_trial_complete("t3", {"score": 3})
    assert limiter.searcher.told[2:] == [("t3", {"score": 3}, False)]


def test_A3_a_batch_that_the_searcher_does_not_fill_ends_all_the_same():
    limiter = ConcurrencyLimiter(Counting(last=3), max_concurrent=2, batch=True)
    for trial in ("t1", "t2"):
        limiter.suggest(trial)
    for trial in ("t1", "t2"):
        limiter.on_trial_complete(trial, {"score": 1})
    assert limiter.suggest("t3")["x"] == 3
    assert limiter.suggest("t4") == Searcher.FINISHED
    limiter.on_trial_complete("t3", {"score": 1})
    assert [told[0] for told in limiter.searcher.told] == ["t1", "t2", "t3"]
    assert not limiter.live_trials


def test_A3_finished_and_none_do_not_count_as_out():
    limiter = ConcurrencyLimiter(Counting(last=0), max_concurrent=1)
    assert limiter.suggest("t1") == limiter.suggest("t2") == Searcher.FINISHED
    assert not limiter.live_trials


def test_A3_a_trial_that_ends_twice_or_is_unknown_is_told_once():
    limiter = ConcurrencyLimiter(Counting(), max_concurrent=1)
    limiter.suggest("t1")
    for trial in ("t1", "t1", "stranger"):
        limiter.on_trial_complete(trial, {})
    assert len(limiter.searcher.told) == 1
    assert limiter.suggest("t2") is not None


def test_A3_a_searcher_that_limits_itself_is_left_to_it():
    searcher = SelfLimiting()
    limiter = ConcurrencyLimiter(searcher, max_concurrent=2)
    assert searcher.limit == 2
    assert [limiter.suggest(f"t{i}")["x"] for i in range(4)] == [1, 2, 3, 4]
    limiter.on_trial_complete("t0", {"score": 1})
    assert searcher.told == [("t0", {"score": 1}, False)]
    assert limiter.set_max_concurrency(5)
    assert searcher.limit == 5


def test_A3_the_limit_can_be_changed():
    limiter = ConcurrencyLimiter(Counting(), max_concurrent=1)
    limiter.suggest("t1")
    assert limiter.suggest("t2") is None
    assert limiter.set_max_concurrency(2)
    assert limiter.suggest("t2") is not None


def test_A3_everything_else_is_passed_on(tmp_path):
    calls = []

    class Told(Counting):
        def set_search_properties(self, metric, mode, config, **spec):
            calls.append((metric, mode, config, spec))
            return True

        def on_pause(self, trial_id):
            calls.append(("pause", trial_id))

        def on_unpause(self, trial_id):
            calls.append(("unpause", trial_id))

    limiter = ConcurrencyLimiter(Told(), 1)
    assert (limiter.metric, limiter.mode) == ("score", "max")
    assert limiter.set_search_properties("m", "min", {"a": 1}, stop=3)
    limiter.on_pause("t")
    limiter.on_unpause("t")
    assert calls == [("m", "min", {"a": 1}, {"stop": 3}), ("pause", "t"), ("unpause", "t")]
    limiter.on_trial_result("t", {"score": 1})
    limiter.add_evaluated_point({"x": 1}, 2.0)
    assert limiter.searcher.told == [("result", "t", {"score": 1}), ({"x": 1}, 2.0, False, False)]
    limiter.suggest("t")
    limiter.save(str(tmp_path / "s"))
    again = ConcurrencyLimiter(Told(), 1)
    again.restore(str(tmp_path / "s"))
    assert again.suggest("t")["x"] == 2


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_A3_the_limit_is_an_int_of_at_least_1(limit):
    with pytest.raises(ValueError, match="max_concurrent must be an integer >= 1"):
        ConcurrencyLimiter(Counting(), limit)


def test_A3_only_searchers_are_limited():
    with pytest.raises(RuntimeError, match="has max_concurrent of its own"):
        ConcurrencyLimiter(BasicVariantGenerator(), 1)


def test_A3_a_limiter_around_a_repeater_counts_trials():
    limiter = ConcurrencyLimiter(Repeater(Counting(), repeat=2), max_concurrent=3)
    assert [limiter.suggest(f"t{i}")["x"] for i in range(3)] == [1, 1, 2]
    assert limiter.suggest("t3") is None


# --- Repeater ---


def run_repeated(searcher, samples):
    return [searcher.suggest(f"t{i}") for i in range(samples)]


@pytest.mark.parametrize(("samples", "repeat"), [(12, 4), (11, 5)])
def test_A4_every_config_is_tried_as_often_as_asked(samples, repeat):
    searcher = Repeater(Counting(), repeat=repeat)
    configs = run_repeated(searcher, samples)
    assert {config["x"] for config in configs} == {1, 2, 3}
    assert [config[TRIAL_INDEX] for config in configs] == [i % repeat for i in range(samples)]
    for i in range(samples):
        searcher.on_trial_complete(f"t{i}", {"score": i})
    assert len(searcher.searcher.told) == samples // repeat


def test_A4_the_mean_is_told_for_the_first_trial_of_a_group_without_nan():
    searcher = Repeater(Counting(), repeat=5)
    run_repeated(searcher, 5)
    for i, result in enumerate([{"score": 2}, {"score": math.nan}, {}, None, {"score": 5}]):
        searcher.on_trial_complete(f"t{4 - i}", result, error=result is None)
    assert searcher.searcher.told == [("t0", {"score": 3.5}, False)]


def test_A4_a_group_without_any_value_is_nan_and_failed_if_all_of_it_did():
    searcher = Repeater(Counting(), repeat=2)
    run_repeated(searcher, 4)
    for i in range(4):
        searcher.on_trial_complete(f"t{i}", None, error=i != 3)
    (_, first, failed), (_, _, second_failed) = searcher.searcher.told
    assert math.isnan(first["score"])
    assert (failed, second_failed) == (True, False)


def test_A4_index_is_optional_configs_share_nothing_and_strangers_are_ignored():
    searcher = Repeater(Counting(), repeat=2, set_index=False)
    first, second = run_repeated(searcher, 2)
    assert first == second == {"x": 1, "nested": {"l": [1]}}
    assert first["nested"]["l"] is not second["nested"]["l"]
    searcher.on_trial_complete("stranger", {"score": 1})
    assert searcher.searcher.told == []


def test_A4_finished_is_passed_on_and_arguments_are_checked():
    assert Repeater(Counting(last=0), repeat=2).suggest("t") == Searcher.FINISHED
    with pytest.raises(ValueError, match="repeat"):
        Repeater(Counting(), repeat=0)
    with pytest.raises(TypeError, match="Searcher"):
        Repeater(3)


def test_A4_several_metrics_have_a_mean_each():
    searcher = Repeater(Counting(["a", "b"], ["min", "max"]), repeat=2)
    run_repeated(searcher, 2)
    searcher.on_trial_complete("t0", {"a": 1, "b": 10})
    searcher.on_trial_complete("t1", {"a": 2, "b": 20})
    assert searcher.searcher.told == [("t0", {"a": 1.5, "b": 15}, False)]


# --- by name ---


def test_create_searcher():
    assert isinstance(create_searcher("random", random_state=3), BasicVariantGenerator)
    assert isinstance(create_searcher("variant_generator"), BasicVariantGenerator)
    with pytest.raises(TypeError, match="max_concurent"):
        create_searcher("random", max_concurent=3)
    with pytest.raises(ValueError, match="there is no adapter to the search library 'sigopt' here"):
        create_searcher("sigopt")
    with pytest.raises(ValueError, match=r"must be one of .*random.*, got 'nope'"):
        create_searcher("nope")


def test_a_search_generator_passes_everything_to_its_searcher():
    generator = SearchGenerator(Counting())
    generator.on_trial_result("t", {"a": 1})
    generator.on_trial_complete("t", {"a": 1}, error=True)
    assert generator.searcher.told == [("result", "t", {"a": 1}), ("t", {"a": 1}, True)]
    assert generator.set_search_properties("m", "min", {}) is False
    assert generator.set_max_concurrency(1) is False
    with pytest.raises(TypeError, match="Searcher"):
        SearchGenerator(BasicVariantGenerator())


def test_A3_a_trial_that_waits_for_others_does_not_count():
    limiter = ConcurrencyLimiter(Counting(), 2)
    assert limiter.suggest("a")
    assert limiter.suggest("b")
    assert limiter.suggest("c") is None
    limiter.on_pause("a")
    assert limiter.suggest("c")
    assert limiter.suggest("d") is None
    limiter.on_unpause("a")
    limiter.on_trial_complete("b", {"score": 1})
    assert limiter.suggest("d") is None  # a and c run
    limiter.on_pause("a")
    limiter.on_trial_complete("a", {"score": 1})
    assert limiter.suggest("d")
    assert limiter.suggest("e") is None
