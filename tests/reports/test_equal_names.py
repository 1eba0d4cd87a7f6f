"""Values of a search space that would be told under one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fasttune as tune
from fasttune.search import TPESearch
from fasttune.space.domains import SearchSpaceError

TWICE = {"a/b": tune.uniform(0, 1), "a": {"b": tune.uniform(0, 1)}}


@pytest.mark.parametrize("alg", [None, "tpe"])
@pytest.mark.parametrize("space", [TWICE, {"a/b": 1, "a": {"b": 2}}, {"x": {1: tune.uniform(0, 1), "1": 2}}])
def test_two_values_of_one_name_are_refused(tmp_path: Path, space: dict[str, Any], alg: Any) -> None:
    """The table showed one of two parameters, and the searcher learnt from the one what belonged to the other."""
    with pytest.raises(SearchSpaceError, match=r"two values of the search space have the name '(a/b|x/1)'"):
        tune.run(
            lambda config: None, config=space, search_alg=alg, metric="loss", mode="min", storage_path=str(tmp_path)
        )
    assert not list(tmp_path.iterdir())
    with pytest.raises(SearchSpaceError, match="two values"):
        tune.Tuner(lambda config: None, param_space=space)
    if space is TWICE:
        with pytest.raises(SearchSpaceError, match=r"config\['a/b'\] and config\['a'\]\['b'\]"):
            TPESearch(space, "loss", "min")


def test_options_of_a_choice_may_share_their_names_and_a_slash_alone_is_fine(tmp_path: Path) -> None:
    """A space with beta in two optimizers, and a key with a slash, are what they say."""
    beta = {"beta": tune.uniform(0, 1)}
    space = {"opt": tune.choice([{"name": "sgd", **beta}, {"name": "adam", **beta}]), "net/width": tune.randint(1, 5)}
    analysis = tune.run(
        lambda config: tune.report(loss=config["net/width"]),
        config=space,
        num_samples=3,
        executor="inline",
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert all(trial.evaluated_params["net/width"] == trial.config["net/width"] for trial in analysis.trials)
