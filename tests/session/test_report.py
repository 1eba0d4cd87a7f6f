"""What report() accepts, what it writes, and what it does with the answer."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_reporter import FakeReporter
from hypothesis import given
from hypothesis import strategies as st

from fasttune import session
from fasttune.engine.record_checks import extras
from fasttune.error import StopTrial
from fasttune.metric_values import split_metrics
from fasttune.session import STOP, WAIT, report
from fasttune.trial_functions import handle_return, run_function

Enter = Callable[..., FakeReporter]


def test_T1_keywords_twenty_reports(enter: Enter) -> None:
    reporter = enter()
    for step in range(20):
        report(score=step * 0.5)
    assert reporter.iteration == 20
    assert reporter.quick_calls == 20
    assert reporter.rows[3] == {"score": 1.5}


def test_T2_dict_form_is_as_quick(enter: Enter) -> None:
    reporter = enter()
    report({"score": 1.5, "done": False})
    assert reporter.rows == [{"score": 1.5, "done": False}]
    assert reporter.quick_calls == 1


def test_T2_nested_dict_is_flattened(enter: Enter) -> None:
    reporter = enter()
    report({"a": {"b": {"c": 1}, "d": 2.0}, "e": {}})
    assert reporter.rows == [{"a/b/c": 1, "a/d": 2.0, "e": {}}]


def test_metrics_by_its_keyword_is_the_dict(enter: Enter) -> None:
    reporter = enter()
    report(metrics={"loss": 1.0})
    report(metrics={"loss": 1.0}, other=2)  # with company it is a nested metric
    assert reporter.rows == [{"loss": 1.0}, {"metrics/loss": 1.0, "other": 2}]


def test_positional_number_is_the_default_metric_zero_included(enter: Enter) -> None:
    reporter = enter()
    report(0)
    report(0.0, loss=2)
    report(np.float32(0.5))
    assert reporter.rows == [{"_metric": 0}, {"_metric": 0.0, "loss": 2}, {"_metric": 0.5}]


def test_dict_and_keywords_are_joined_but_not_twice(enter: Enter) -> None:
    reporter = enter()
    report({"a": 1}, b=2)
    assert reporter.rows == [{"a": 1, "b": 2}]
    with pytest.raises(ValueError, match="'a' is given twice"):
        report({"a": 1}, a=2)


def test_a_name_met_twice_by_nesting_is_refused(enter: Enter) -> None:
    enter()
    with pytest.raises(ValueError, match="'a/b' is reported twice"):
        report({"a/b": 1, "a": {"b": 2}})


def test_something_else_than_metrics_is_refused(enter: Enter) -> None:
    enter()
    with pytest.raises(TypeError, match="dict of metrics, a number or keywords, got str"):
        report("0.5")  # type: ignore[arg-type]


class Colour(str, enum.Enum):  # noqa: UP042 - the older form is the one that is a trap
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Plain(enum.Enum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.longdouble(0.25), 0.25),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array(1.5), 1.5),
        (Level.HIGH, 3),
        (2**53, 2**53),
    ],
)
def test_numbers_of_libraries_become_numbers(value: Any, stored: Any) -> None:
    numbers, extra = split_metrics({"m": value})
    assert numbers == {"m": stored}
    assert type(numbers["m"]) is type(stored)
    assert extra == {}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("text", "text"),
        (None, None),
        (Colour.RED, "red"),
        (np.str_("s"), "s"),
        ((1, 2.5), (1, 2.5)),
        ([np.float32(1), {"a": np.int8(2)}], [1.0, {"a": 2}]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (2**53 + 1, 2**53 + 1),
        (-(2**80), -(2**80)),
        (datetime.datetime(2024, 1, 2, 3, 4), "2024-01-02T03:04:00"),
        (Path("a") / "b", "a/b"),
        (b"\x00\xff", "AP8="),
        ({}, {}),
        ([{3: "three"}], [{3: "three"}]),
    ],
)
def test_everything_else_becomes_what_json_gives_back(enter: Enter, value: Any, stored: Any) -> None:
    reporter = enter()
    report({"m": value, "loss": 1.0})
    assert reporter.rows == [{"loss": 1.0, "m": stored}]


def test_keys_that_are_not_text_are_written_as_text(enter: Enter) -> None:
    reporter = enter()
    report({"per_class": {0: 0.5, 1: 0.25}, 3: 1.0})  # type: ignore[dict-item]
    assert reporter.rows == [{"per_class/0": 0.5, "per_class/1": 0.25, "3": 1.0}]


def test_nan_and_infinity_are_numbers(enter: Enter) -> None:
    reporter = enter()
    report(a=math.nan, b=[math.inf])
    assert math.isnan(reporter.rows[0]["a"])
    assert reporter.rows[0]["b"] == [math.inf]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@dataclasses.dataclass
class Score:
    mean: float
    labels: set[str]


@pytest.mark.parametrize(
    ("value", "kept", "said"),
    [
        ({3, 1, 2}, [1, 2, 3], "as a list"),
        (frozenset({"b", 1}), [1, "b"], "as a list"),
        (datetime.timedelta(minutes=1, milliseconds=500), 60.5, "as seconds"),
        (decimal.Decimal("0.1"), 0.1, "as a number"),
        (fractions.Fraction(1, 4), 0.25, "as a number"),
        (1 + 2j, "(1+2j)", "as text"),
        (Plain.ONE, "Plain.ONE", "as text"),
        (Score(0.5, {"x"}), {"mean": 0.5, "labels": ["x"]}, "as a dict"),
        (Path, "<class 'pathlib.Path'>", "as text"),
        (range(10**6).__iter__, None, "as text"),
        ("".join, None, "as text"),
        (type("Wide", (), {"__str__": lambda self: "w" * 5000})(), "w" * 1000 + "...", "as text"),
    ],
)
def test_a_value_that_json_does_not_have_is_kept_as_the_nearest_and_said_once(
    enter: Enter, value: Any, kept: Any, said: str
) -> None:
    reporter = enter()
    with pytest.warns(UserWarning, match=rf"metric 'a/m' has the type .* it is kept {said}"):
        report({"a": {"m": value}, "loss": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        report({"a": {"m": value}, "loss": 2.0})
    assert [row["loss"] for row in reporter.rows] == [1.0, 2.0]
    for row in reporter.rows:
        assert row["a/m"] == (kept if kept is not None else str(value))


def in_itself() -> dict[str, Any]:
    value: dict[str, Any] = {"n": 1}
    value["a"] = value["b"] = [value]
    return value


def nested(levels: int) -> list[Any]:
    value: list[Any] = [1]
    for _ in range(levels):
        value = [value]
    return value


def raising(method: str) -> Any:
    def refuse(*_: Any) -> Any:
        raise LookupError("not today")

    return type("Awkward", (), {method: refuse, "__str__": lambda self: "awkward"})()


@pytest.mark.filterwarnings("ignore:metric .* has the type:UserWarning")
@pytest.mark.parametrize(
    "value",
    [
        in_itself(),
        [in_itself(), {"again": in_itself()}],
        nested(99),
        nested(400),
        nested(20_000),
        10**400,
        -(10**5000),
        [10**5000],
        decimal.Decimal("sNaN"),
        fractions.Fraction(10**400),
        np.array([1 + 1j], dtype=np.clongdouble)[0],
        *(raising(name) for name in ("isoformat", "total_seconds", "__float__", "__iter__", "__fspath__", "tolist", "__getattr__")),
        *(int, decimal.Decimal, datetime.date, datetime.timedelta, np.float64, np.ndarray, Score),
        type("Odd", (), {"isoformat": 3, "total_seconds": 4, "__dataclass_fields__": 5})(),
        {Unprintable(): 1, "fine": 2},
        {Unprintable(), Unprintable()},
        "\ud800 alone",
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_value_beside_the_metric_fails_a_report_or_takes_others_with_it(enter: Enter, value: Any) -> None:
    reporter = enter()
    report({"loss": 1.0, "odd": value, "note": "a text", "list": [1, 2]})
    report({"loss": 1.0, "deep": {"odd": value}, "note": "a text"})
    first, second = reporter.rows
    assert (first["loss"], first["note"], first["list"]) == (1.0, "a text", [1, 2])
    assert (second["loss"], second["note"]) == (1.0, "a text")
    assert any(name.startswith("odd") for name in first)
    assert any(name.startswith("deep/odd") for name in second)
    for row in reporter.rows:  # what is written can be read: no deeper, and no longer numbers, than readers take
        told = {key: part for key, part in row.items() if not isinstance(part, (int, float))}
        assert repr(extras(json.dumps(told).encode())) == repr(told)


def test_what_has_not_even_text_is_named_by_its_type(enter: Enter) -> None:
    reporter = enter()
    with pytest.warns(UserWarning, match="Unprintable"):
        report({"m": [Unprintable()], "loss": 1.0})
    assert "Unprintable object at" in reporter.rows[0]["m"][0]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.array([1, 2], dtype="datetime64[ns]"), ["1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000002"]),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.timedelta64(3, "s"), 3.0),
        (np.array([0.25, 0.5], dtype=np.longdouble), [0.25, 0.5]),
        (np.array([[1 + 1j]]), [["(1+1j)"]]),
    ],
)
@pytest.mark.filterwarnings("ignore:metric 'm' has the type:UserWarning")
def test_arrays_of_every_type_are_kept(enter: Enter, value: Any, kept: Any) -> None:
    reporter = enter()
    report({"m": value, "loss": 1.0})
    assert reporter.rows == [{"loss": 1.0, "m": kept}]


def test_a_torch_tensor_is_refused_wherever_it_is(enter: Enter) -> None:
    tensor = type(
        "Tensor", (), {"__module__": "torch", "detach": lambda self: self, "item": lambda self: 1.0}
    )()
    parameter = type("Parameter", (type(tensor),), {"__module__": "mine"})()
    enter()
    for metrics in ({"loss": tensor}, {"a": {"loss": [tensor]}}, {"loss": parameter}):
        with pytest.raises(ValueError, match=r"loss.*convert it with \.item"):
            report(metrics)
    with pytest.raises(ValueError, match=r"convert it with \.item"):
        report(tensor)


def test_stop_raises_where_report_was_called_so_that_finally_runs(enter: Enter) -> None:
    seen = []

    def train(config: dict[str, Any]) -> None:
        try:
            for step in range(5):
                report(step=step)
        except Exception:  # a stopped trial must not be swallowed by this
            seen.append("swallowed")
        finally:
            seen.append("finally")

    reporter = enter(answers=(0, STOP))
    with pytest.raises(StopTrial):
        run_function(train, {}, reporter)
    assert seen == ["finally"]
    assert reporter.iteration == 2


def test_wait_asks_the_context_and_obeys_it(enter: Enter) -> None:
    answers = [0, STOP]
    reporter = enter(answers=(WAIT, WAIT), wait=lambda: answers.pop(0))
    report(a=1)
    with pytest.raises(StopTrial):
        report({"a": "text"})
    assert reporter.iteration == 2
    assert answers == []


def twice(call: Callable[[], object]) -> None:
    for _ in range(2):
        call()


def test_T12_outside_a_trial_one_warning_and_nothing_else() -> None:
    with pytest.warns(UserWarning, match="does nothing here") as caught:
        twice(lambda: report(score=1))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_T12_inside_a_class_one_warning_and_nothing_written(enter: Enter) -> None:
    reporter = enter(is_class=True)
    with pytest.warns(UserWarning, match=r"class Trainable.*step\(\)") as caught:
        twice(lambda: report({"score": 2}))
    assert len(caught) == 1
    assert reporter.rows == []


# ---- return and yield


@pytest.mark.parametrize("config", [4, 8])
def test_T3_returned_number_is_the_default_metric(enter: Enter, config: int) -> None:
    reporter = enter()
    run_function(lambda c: c["a"], {"a": config}, reporter)
    assert reporter.rows == [{"_metric": config}]


def test_T3_returned_dict(enter: Enter) -> None:
    reporter = enter()
    run_function(lambda c: {"loss": 1.0, "name": "x"}, {}, reporter)
    assert reporter.rows == [{"loss": 1.0, "name": "x"}]


@pytest.mark.parametrize(("start", "last"), [(4, 13), (8, 17)])
def test_T3_every_yield_is_a_report(enter: Enter, start: int, last: int) -> None:
    def train(config: dict[str, Any]) -> Any:
        for i in range(10):
            yield config["a"] + i

    reporter = enter()
    run_function(train, {"a": start}, reporter)
    assert reporter.iteration == 10
    assert reporter.rows[-1] == {"_metric": last}


@pytest.mark.parametrize("value", [0, 0.0, False, np.float64(0.0)])
def test_T4_falsy_numbers_are_reported(enter: Enter, value: Any) -> None:
    reporter = enter()
    handle_return(reporter, value)
    assert reporter.rows == [{"_metric": 0}]


def test_nothing_returned_reports_nothing(enter: Enter) -> None:
    reporter = enter()
    handle_return(reporter, None)
    handle_return(reporter, {})
    assert reporter.rows == []


@pytest.mark.parametrize("value", ["0.5", [1.0], object(), np.zeros(3)])
def test_T3_other_return_values_are_refused(enter: Enter, value: Any) -> None:
    with pytest.raises(ValueError, match="must return or yield a dict of metrics, a number or None, got"):
        handle_return(enter(), value)


def test_a_stopped_generator_is_closed(enter: Enter) -> None:
    closed = []

    def train(config: dict[str, Any]) -> Any:
        try:
            while True:
                yield 1.0
        finally:
            closed.append(True)

    reporter = enter(answers=(0, STOP))
    with pytest.raises(StopTrial):
        run_function(train, {}, reporter)
    assert closed == [True]
    assert reporter.iteration == 2


def test_form_with_a_reporter_argument(enter: Enter) -> None:
    def train(config: dict[str, Any], reporter: Any) -> None:
        reporter(mean_loss=config["a"])
        reporter(0)
        reporter(name=reporter.trial_name, id=reporter.trial_id)

    fake = enter()
    run_function(train, {"a": 3}, fake, "reporter")
    assert fake.rows == [
        {"mean_loss": 3},
        {"_metric": 0},
        {"name": "train_ab12c_00007", "id": "ab12c_00007"},
    ]


def test_no_warning_in_an_ordinary_trial(enter: Enter) -> None:
    reporter = enter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_function(lambda config: report(score=1), {}, reporter)
    assert reporter.iteration == 1


METRICS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("xyz", min_size=1), METRICS, max_size=4))
def test_what_is_split_is_what_was_given(metrics: dict[str, Any]) -> None:
    numbers, extra = split_metrics(metrics)
    assert not numbers.keys() & extra.keys()
    assert {**numbers, **extra} == slow_flatten(metrics)
    for value in extra.values():
        assert not isinstance(value, (float, bool))
        assert not isinstance(value, int) or abs(value) > 2**53


def slow_flatten(metrics: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for key, value in metrics.items():
        if isinstance(value, dict) and value:
            flat.update({f"{key}/{inner}": part for inner, part in slow_flatten(value).items()})
        else:
            flat[key] = value
    return flat


def test_words_that_stand_for_codes_are_the_agreed_numbers() -> None:
    assert (session.CONTINUE, session.STOP, session.WAIT, session.NOT_PLAIN) == (0, 1, 2, -1)
