"""What Ray Tune has in ``tune.utils`` and beside it, under the same names."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import fasttune as tune
from fasttune.logger import pretty_print
from fasttune.utils import (
    deep_update,
    diagnose_serialization,
    flatten_dict,
    merge_dicts,
    unflatten_dict,
    validate_save_restore,
)

LOCK = threading.Lock()


class Counter(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.count = 0

    def step(self) -> dict[str, Any]:
        self.count += 1
        return {"count": self.count}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"count": self.count}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = checkpoint["count"]


def test_a_class_that_saves_and_restores() -> None:
    assert validate_save_restore(Counter)
    assert tune.utils.validate_save_restore is validate_save_restore


def test_dicts() -> None:
    assert unflatten_dict(flatten_dict({"a": {"b": 1, "c": {}}, "d": 2})) == {"a": {"b": 1, "c": {}}, "d": 2}
    first = {"a": {"b": 1}, "c": 2}
    assert merge_dicts(first, {"a": {"d": 3}}) == {"a": {"b": 1, "d": 3}, "c": 2}
    assert first == {"a": {"b": 1}, "c": 2}


def test_deep_update_changes_the_dict_and_takes_no_misspelt_name() -> None:
    config = {"lr": 1, "model": {"type": "a", "width": 3}, "free": {}}
    assert deep_update(config, {"lr": 2, "model": {"width": 4}}) is config
    assert config == {"lr": 2, "model": {"type": "a", "width": 4}, "free": {}}
    with pytest.raises(KeyError, match="unknown key 'rl'"):
        deep_update(config, {"rl": 3})
    with pytest.raises(KeyError, match="unknown key 'depth'"):
        deep_update(config, {"model": {"depth": 3}})
    deep_update(config, {"free": {"any": 1}}, allow_new_subkey_list=["free"])
    deep_update(config, {"model": {"type": "b"}}, override_all_if_type_changes=["model"])
    assert config == {"lr": 2, "model": {"type": "b"}, "free": {"any": 1}}
    assert deep_update({}, {"x": 1}, new_keys_allowed=True) == {"x": 1}


def test_what_cannot_be_sent_to_a_worker_is_named() -> None:
    settings = {"fine": 1, "deep": {"lock": threading.Lock()}}

    class Model:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.width = 3

        def train(self, config: dict[str, Any]) -> None:
            """A method as trainable."""

    model = Model()
    assert diagnose_serialization(lambda config: config) is True
    assert diagnose_serialization(Counter) is True
    assert diagnose_serialization(lambda config: settings) == {"settings.deep.lock"}
    assert diagnose_serialization(lambda config: (model, settings["fine"])) == {"model.lock", "settings.deep.lock"}
    assert diagnose_serialization(model.train) == {"self.lock"}
    assert diagnose_serialization(lambda config, lock=LOCK: lock) == {"lock"}
    assert diagnose_serialization(lambda config, *, lock=LOCK: lock) == {"lock"}
    assert diagnose_serialization(lambda config: LOCK) == {"LOCK"}
    assert diagnose_serialization(threading.Lock()) == {"lock"}


def test_one_that_is_in_itself() -> None:
    ring: list[Any] = [threading.Lock()]
    ring.append(ring)
    assert diagnose_serialization(lambda config: ring) == {"ring.0"}


def test_a_result_as_text() -> None:
    text = pretty_print(
        {
            "loss": 0.5,
            "config": {"lr": 1},
            "hist_stats": [1],
            "gone": None,
            "net": {"layers": [1, {"width": 2, "act": "relu"}, [3]], "empty": {}, "none": []},
            "date": "2026-01-02_03-04-05",
            "name": "f_1",
            "yes": "yes",
            "odd": "a: b",
            "nan": float("nan"),
            "out": 1,
        },
        exclude=["out"],
    )
    assert text == (
        'date: "2026-01-02_03-04-05"\n'
        "loss: 0.5\n"
        "name: f_1\n"
        "nan: .nan\n"
        "net:\n"
        "  empty: {}\n"
        "  layers:\n"
        "  - 1\n"
        "  - act: relu\n"
        "    width: 2\n"
        "  - - 3\n"
        "  none: []\n"
        'odd: "a: b"\n'
        '"yes": "yes"\n'
    )
    assert pretty_print({"config": {}}) == "{}\n"
