"""Reports hold whatever the training has at hand: no trial fails for a value that nobody steers by."""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import warnings

import fasttune as tune


class Phase(enum.Enum):
    WARM = 1


@dataclasses.dataclass
class Split:
    train: int = 8
    test: int = 2


VALUES = {
    "a duration": datetime.timedelta(hours=1),
    "a set": {1, 2},
    "an enum": Phase.WARM,
    "a dataclass": Split(),
    "a complex number": 2j,
    "a decimal": decimal.Decimal("0.1"),
    "a tuple": (1, 2),
    "a dict by numbers": {1: 2},
    "a path": pathlib.Path("weights"),
    "an object": object(),
}


def train(config):
    tune.report({"loss": 1.0, "value": VALUES[config["what"]]})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    config = {"what": tune.grid_search(list(VALUES))}
    found = tune.run(train, config=config, storage_path="results", verbose=0, raise_on_failed_trial=False)
    assert {trial.status for trial in found.trials} == {"TERMINATED"}
    assert len(found.dataframe()) == len(VALUES)
