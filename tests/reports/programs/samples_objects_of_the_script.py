"""Classes and enums that the script defines are values of a space, whichever way they come into a config."""

import dataclasses
import enum

import fasttune as tune


class Layer(enum.Enum):
    RELU = "relu"
    TANH = "tanh"


@dataclasses.dataclass
class Block:
    width: int


def train(config):
    tune.report(width=config["block"].width, layer=config["layer"].value)


SPACES = (
    {"layer": tune.choice([Layer.RELU]), "block": tune.choice([Block(4)])},
    {"layer": tune.sample_from(lambda config: Layer.RELU), "block": tune.sample_from(lambda config: Block(4))},
    {"layer": tune.grid_search([Layer.RELU]), "block": Block(4)},
)

if __name__ == "__main__":
    for space in SPACES:
        (trial,) = tune.run(train, config=space, storage_path="results", verbose=0, raise_on_failed_trial=False).trials
        assert (trial.status, trial.last_result["width"], trial.last_result["layer"]) == ("TERMINATED", 4, "relu"), trial
