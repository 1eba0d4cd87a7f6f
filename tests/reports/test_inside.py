"""What lies inside a domain is decided in one place, and what is brought into it lies inside."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fasttune as tune
from fasttune.schedulers import PB2, PopulationBasedTraining
from fasttune.space.dimensions import Dimensions
from fasttune.space.domains import Domain, Float, Integer, lies_in
from fasttune.space.points import with_point

DOMAINS: list[Any] = [
    tune.uniform(-1, 2),
    tune.loguniform(1e-4, 1e-1),
    tune.quniform(-1, 2, 0.25),
    tune.quniform(0.1, 0.9, 0.1),
    tune.qloguniform(0.5, 8, 0.5),
    tune.randn(2, 3),
    tune.qrandn(0, 2, 0.5),
    tune.randint(1, 4),
    tune.lograndint(1, 300),
    tune.qrandint(16, 64, 16),
    tune.qrandint(10, 50, 16),  # bounds that are no multiples
    tune.qlograndint(2, 64, 2),
    tune.qrandint(0, 5, 1),
    tune.randint(-(2**60), 2**60),
]
EDGES = [
    0,
    1,
    2,
    3,
    4,
    16,
    48,
    50,
    63,
    64,
    80,
    300,
    0.3,
    0.30000000000000004,
    0.25,
    0.9,
    1.5,
    2.0,
    2.5,
    1e-4,
    1e9,
    -1,
    0.1,
]
ODD = [
    None,
    "1",
    b"1",
    True,
    np.True_,
    float("nan"),
    float("inf"),
    -float("inf"),
    1j,
    np.complex64(1),
    [1],
    np.zeros(1),
]


def inside_to_a_searcher(domain: Domain, value: Any) -> bool:
    try:
        Dimensions({"x": domain}).numbers({"x": value})
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_everything_that_asks_is_told_the_same(domain: Any) -> None:
    """A space said that a config lay in it, its domain said that it did not."""
    space = tune.SearchSpace({"x": domain})
    rng = random.Random(5)
    drawn = [domain.sample(random_state=rng) for _ in range(40)]
    for value in [*EDGES, *ODD, *drawn, *[rng.uniform(-100, 400) for _ in range(40)]]:
        said = domain.is_valid(value), space.contains({"x": value}), inside_to_a_searcher(domain, value)
        assert len(set(said)) == 1, (value, said)
    assert all(domain.is_valid(value) for value in drawn)
    assert not any(domain.is_valid(value) for value in ODD)


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_the_nearest_value_lies_inside(domain: Any) -> None:
    """Values that were to be kept in their domain left it: by a step, or at the bound that is excluded."""
    rng = random.Random(7)
    for value in [*EDGES, float("inf"), -float("inf"), 10**30, *[rng.uniform(-100, 400) for _ in range(200)]]:
        near = domain.nearest(value)
        assert domain.is_valid(near), value
        assert type(near) is (int if isinstance(domain, Integer) else float)
        if domain.is_valid(value):
            assert near == pytest.approx(value, rel=1e-12)
    for no_number in ("1", None, float("nan")):
        with pytest.raises(ValueError, match="is near"):
            domain.nearest(no_number)


def test_nearest_is_nearest() -> None:
    """A batch size of 50 in steps of 16 became 50, or 10, which is none of its values."""
    assert [tune.qrandint(10, 50, 16).nearest(value) for value in (1, 23.9, 24.1, 39, 41, 1e9)] == [
        16,
        16,
        32,
        32,
        48,
        48,
    ]
    assert tune.qrandint(0, 8, 2).nearest(2.6) == 2
    assert tune.randint(1, 4).nearest(4) == 3
    assert tune.quniform(0, 1, 0.25).nearest(0.4) == 0.5
    assert tune.choice(["a", "b"]).nearest("b") == "b"
    with pytest.raises(ValueError, match="is near 'c'"):
        tune.choice(["a", "b"]).nearest("c")


def test_numbers_of_other_types_count_by_their_value() -> None:
    """np.float32(0.3) was said to be no multiple of 0.1, and Decimal(2) was an error."""
    assert all(tune.quniform(0, 1, 0.1).is_valid(one) for one in (np.float32(0.3), np.float64(0.3), Decimal("0.3")))
    integers: list[Any] = [2.0, np.int8(2), np.float32(2), Decimal(2), Fraction(2), np.array(2), 2]
    assert all(tune.randint(0, 3).is_valid(one) for one in integers)
    assert not any(tune.randint(0, 3).is_valid(one) for one in (2.5, np.float32(2.5), Decimal("2.5"), 3, -1))
    assert not tune.quniform(0, 1e12, 1).is_valid(1e10 + 0.5)  # a step is not lost in large numbers


def test_options_with_domains_are_asked_too() -> None:
    """A choice said that the value of one of its own options lay outside."""
    options = tune.choice(["a", tune.uniform(5, 6), {"n": tune.randint(0, 2), "k": 1}])
    for value, inside in (("a", True), (5.5, True), (6.5, False), ({"n": 1, "k": 1}, True), ({"n": 2, "k": 1}, False)):
        assert options.is_valid(value) is inside
        assert tune.SearchSpace({"x": options}).contains({"x": value}) is inside
    assert not options.is_valid(options.categories[1])  # the domain itself is no value of it


def test_a_domain_of_ones_own_is_asked_by_everything() -> None:
    """A user's domain that says what is valid was passed over, and one that does not say ended the run."""

    class Even(Float):
        def is_valid(self, value: Any) -> bool:
            return super().is_valid(value) and value % 2 == 0

    class Mute(Domain):
        def sample(self, config: Any = None, size: int = 1, random_state: Any = None) -> Any:
            return "anything"

    even = Even(0, 10).uniform()
    for value in (2.0, 3.0):
        told = (
            even.is_valid(value),
            tune.SearchSpace({"x": even}).contains({"x": value}),
            inside_to_a_searcher(even, value),
        )
        assert set(told) == {value == 2.0}
    assert lies_in({"x": Mute()}, {"x": 5})
    with_point({"x": Mute()}, {"x": 5})


class Counts(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.i = 0

    def step(self) -> dict[str, Any]:
        self.i += 1
        return {"score": self.i * self.config["batch"]}

    def save_checkpoint(self, checkpoint_dir: str) -> Any:
        return {"i": self.i}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.i = checkpoint["i"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True


SPACE = {"layers": tune.randint(1, 4), "batch": tune.qrandint(16, 64, 16), "rate": tune.quniform(0.1, 0.9, 0.1)}
STEADY: dict[str, Any] = {
    "time_attr": "training_iteration", "metric": "score", "mode": "max", "perturbation_interval": 2, "seed": 1,
}  # fmt: skip


def configs_of(scheduler: Any, space: dict[str, Any], until: int = 16) -> list[dict[str, Any]]:
    """The configs that trials ended with, and those that they were given on the way."""
    changed: list[dict[str, Any]] = []
    decide = scheduler.new_config

    def noted(*args: Any) -> dict[str, Any]:
        made: dict[str, Any] = decide(*args)
        changed.append(made)
        return made

    scheduler.new_config = noted
    run = tune.run(
        Counts,
        config=space,
        scheduler=scheduler,
        num_samples=6,
        stop={"training_iteration": until},
        executor="inline",
        verbose=0,
    )
    assert changed
    return [*changed, *(trial.config for trial in run.trials)]


@pytest.mark.parametrize("synch", [False, True])
def test_a_population_that_clips_stays_in_its_space(synch: bool) -> None:
    """clip=True gave trials 4 of randint(1, 4), and batch sizes between the steps."""
    scheduler = PopulationBasedTraining(
        **STEADY, hyperparam_mutations=dict(SPACE), clip=True, synch=synch, perturbation_factors=(3.0, 0.3)
    )
    assert all(lies_in(SPACE, config) for config in configs_of(scheduler, SPACE))


def test_a_bandit_stays_in_its_space() -> None:
    """PB2 explored batch sizes between the steps, and the bound of randint that is excluded."""
    bounds = {"layers": [1, 4], "batch": [16, 64], "rate": [0.1, 0.9]}
    assert all(lies_in(SPACE, config) for config in configs_of(PB2(**STEADY, hyperparam_bounds=bounds), SPACE, 6))


def two_arguments(a: Any, b: Any) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("mutations", "message"),
    [
        ({"lr": lambda config: config["x"]}, r"hyperparam_mutations\['lr'\] must be a function without arguments"),
        ({"net": {"lr": two_arguments}}, r"hyperparam_mutations\['net'\]\['lr'\] must be a function without"),
        ({"lr": 5}, r"hyperparam_mutations\['lr'\] must be a list"),
        ({"lr": []}, "at least one value"),
        ({"lr": tune.sample_from(lambda spec: 1)}, "sample_from"),
        ([1, 2], "must be a dict"),
    ],
)
def test_mutations_that_cannot_be_used_are_refused_at_once(mutations: Any, message: str) -> None:
    """A mutation that takes the config, as sample_from does, ended the run at its first perturbation, hours later."""
    with pytest.raises((TypeError, ValueError), match=message):
        PopulationBasedTraining(hyperparam_mutations=mutations)


def test_other_arguments_of_a_population_that_cannot_be_used_are_refused_at_once() -> None:
    """custom_explore_fn without an argument, or a bandit over texts, failed at the first perturbation."""
    with pytest.raises(TypeError, match="custom_explore_fn must be a function of the explored config"):
        PopulationBasedTraining(custom_explore_fn=two_arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names net/lr, but net is no dict in the search space: it is 5"):
        tune.run(
            Counts,
            config={"net": 5},
            scheduler=PopulationBasedTraining(**STEADY, hyperparam_mutations={"net": {"lr": [1, 2]}}),
            verbose=0,
        )
    with pytest.raises(ValueError, match="'kind' of hyperparam_bounds may be 'a' in the search space"):
        PB2(hyperparam_bounds={"kind": [0, 1]}).complete_space({"kind": tune.choice(["a", "b"])})
    with pytest.raises(ValueError, match="hold no value of"):
        PB2(hyperparam_bounds={"n": [17, 30]}).complete_space({"n": tune.qrandint(16, 64, 16)})


def test_a_mutation_that_raises_is_named() -> None:
    """The traceback of a mutation that failed did not say which one of many it was."""

    def broken() -> float:
        raise ZeroDivisionError("no luck")

    scheduler = PopulationBasedTraining(**STEADY, hyperparam_mutations={"batch": broken}, resample_probability=1.0)
    with pytest.raises(ZeroDivisionError) as caught:
        configs_of(scheduler, SPACE)
    assert any("hyperparam_mutations drew 'batch'" in note for note in caught.value.__notes__)


def test_a_mutation_never_gives_a_domain_to_a_trial() -> None:
    """``lambda: tune.uniform(0, 1)`` as a mutation gave the trial a Float object where its number should be."""
    mutations = {
        "lr": lambda: tune.uniform(0, 1),
        "opt": [tune.uniform(2, 3), "plain"],
        "net": tune.choice([{"width": tune.randint(1, 9)}, tune.choice([1, 2])]),
    }
    scheduler = PopulationBasedTraining(**STEADY, hyperparam_mutations=mutations, resample_probability=1.0)
    for config in configs_of(scheduler, {"batch": tune.randint(1, 9)}):
        assert 0 <= config["lr"] < 1
        assert config["opt"] == "plain" or 2 <= config["opt"] < 3
        assert config["net"] in (1, 2) or 1 <= config["net"]["width"] < 9
    scheduler = PopulationBasedTraining(
        **STEADY,
        hyperparam_mutations={"lr": [1]},
        custom_explore_fn=lambda config: {**config, "lr": tune.uniform(0, 1)},
    )
    with pytest.raises(TypeError, match=r"got Float\(.*'lr': write .sample"):
        configs_of(scheduler, SPACE)
