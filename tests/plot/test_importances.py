"""Importances: by hand where that is possible, and on functions of which it is known what matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fasttune.plot.data import ExperimentData
from fasttune.plot.fanova import variance_shares
from fasttune.plot.importances import importances_data
from fasttune.plot.parameters import Parameter
from fasttune.plot.ped_anova import divergence

RNG = np.random.default_rng(0)


def number(values: np.ndarray, log: bool = False) -> Parameter:
    return Parameter("x", values, None, log, 1e-3 if log else 0.0, 1.0)


def test_the_divergence_of_categories_by_hand() -> None:
    # six a, four b; the best two of ten are both b
    values = np.array([0.0] * 6 + [1.0] * 4)
    losses = np.array([9.0, 8, 7, 6, 5, 4, 0, 1, 3, 2])
    reference = np.array([(6 + 0.5) / 11, (4 + 0.5) / 11])  # one trial is spread over both
    top = np.array([0.5 / 3, 2.5 / 3])
    expected = (reference * (top / reference - 1) ** 2).sum()
    found = divergence(Parameter("x", values, ("a", "b"), False, -0.5, 1.5), losses, top=0.2)
    assert found.value == pytest.approx(expected)
    assert found.trials == 10


def test_only_trials_that_have_the_parameter_and_a_loss_count() -> None:
    values, losses = RNG.random(200), RNG.random(200)
    values[:50], losses[150:] = np.nan, np.nan
    assert divergence(number(values), losses, 0.1) == divergence(number(values[50:150]), losses[50:150], 0.1)
    assert divergence(number(values), losses, 0.1).trials == 100


def test_what_matters_diverges_and_what_does_not_is_chance() -> None:
    x, y = RNG.random(2000), RNG.random(2000)
    losses = (x - 0.3) ** 2
    matters, noise = divergence(number(x), losses, 0.1), divergence(number(y), losses, 0.1)
    assert matters.value > 20 * matters.chance
    assert noise.value < 3 * noise.chance


def test_only_the_order_of_losses_counts_and_the_axis_of_the_space() -> None:
    x = 10 ** RNG.uniform(-3, 0, 500)
    losses = (np.log10(x) + 1.5) ** 2
    found = divergence(number(x, log=True), losses, 0.1)
    assert divergence(number(x, log=True), np.exp(losses * 3), 0.1) == found
    assert found.value > 3 * divergence(number(x), losses, 0.1).chance


def test_the_importances_of_an_experiment(wide: ExperimentData) -> None:
    data = importances_data(wide, wide.goal(None, None, None))
    assert data.names[0] == "lr"
    assert set(data.names) == set(wide.parameters)
    assert data.importance.sum() == pytest.approx(1.0)
    assert (np.diff(data.importance) <= 0).all()
    forest = importances_data(wide, wide.goal(None, None, None), method="fanova")
    assert forest.names[0] == "lr"
    assert forest.importance[0] > 0.8
    other = importances_data(wide, wide.goal("seconds", "min", None))
    assert other.names[0] == "width"


@pytest.mark.parametrize("method", ["ped-anova", "fanova"])
def test_the_table_has_what_the_picture_shows(wide: ExperimentData, method: Any) -> None:
    data = importances_data(wide, wide.goal("seconds", "min", None), ["lr", "width"], method)
    table = wide.analysis.importances("seconds", "min", params=["lr", "width"], method=method)
    assert table["parameter"].tolist() == data.names
    assert table["importance"].tolist() == data.importance.tolist()
    assert table["chance"].isna().all() == (data.chance is None)


def test_variance_shares_of_a_sum_are_known() -> None:
    units = RNG.random((1500, 3))
    losses = units[:, 0] + 2.0 * units[:, 1]  # variances 1/12 and 4/12
    shares = variance_shares(units, losses)
    np.testing.assert_allclose(shares, [0.2, 0.8, 0.0], atol=0.03)


def test_variance_shares_leave_out_what_only_acts_together() -> None:
    units = RNG.random((1500, 2))
    losses = np.where((units[:, 0] > 0.5) == (units[:, 1] > 0.5), 0.0, 1.0)
    assert variance_shares(units, losses).sum() < 0.1


def test_a_forest_that_sees_no_difference_has_no_shares() -> None:
    assert variance_shares(RNG.random((50, 2)), np.ones(50)).tolist() == [0.0, 0.0]


def test_errors_name_what_is_wrong(asha: ExperimentData) -> None:
    goal = asha.goal(None, None, None)
    with pytest.raises(ValueError, match="method must be one of ped-anova, fanova, got 'shap'"):
        importances_data(asha, goal, method="shap")
    with pytest.raises(ValueError, match=r"top is the share of trials .* between 0 and 1, got 10"):
        importances_data(asha, goal, top=10)
