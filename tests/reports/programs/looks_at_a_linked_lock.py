"""An experiment of somebody else has a link where its lock should be: looking changes no byte of what it points to."""

import os
import pathlib

import fasttune as tune


def train(config):
    tune.report(loss=1.0)


if __name__ == "__main__":
    precious = pathlib.Path("results/precious.txt")
    tune.run(train, name="theirs", storage_path="results", executor="inline", verbose=0)
    precious.write_text("a year of notes\n" * 900)
    before = precious.read_bytes()
    lock = pathlib.Path("results/theirs/.lock")
    lock.unlink(missing_ok=True)
    os.symlink("../precious.txt", lock)
    assert tune.ExperimentAnalysis("results/theirs").trials[0].last_result["loss"] == 1.0
    assert precious.read_bytes() == before
