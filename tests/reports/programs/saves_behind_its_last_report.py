"""A model is saved when the training is over, behind the last report: it is the trial's checkpoint."""

import pathlib

import fasttune as tune


def train(config, checkpoint_dir=None):
    tune.report(accuracy=config["a"])
    with tune.checkpoint_dir(step=1) as folder:
        pathlib.Path(folder, "weights").write_text(str(config["a"]))


if __name__ == "__main__":
    found = tune.run(train, config={"a": tune.grid_search([1, 2])}, storage_path="results", verbose=0)
    assert [(pathlib.Path(trial.checkpoint.path) / "weights").read_text() for trial in found.trials] == ["1", "2"]
