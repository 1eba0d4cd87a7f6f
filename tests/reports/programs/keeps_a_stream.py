"""A logging handler keeps sys.stdout of the first trial of a worker; the prints of each trial go to a file of its own."""

import logging
import pathlib
import sys

import fasttune as tune


def train(config):
    log = logging.getLogger("train")
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stdout))
    log.warning("trial %d", config["i"])
    tune.report(loss=1.0)


if __name__ == "__main__":
    config = {"i": tune.grid_search([0, 1, 2, 3, 4])}
    found = tune.run(train, config=config, log_to_file=True, max_concurrent_trials=1, storage_path="results", verbose=0)
    for trial in found.trials:
        assert pathlib.Path(trial.logdir, "stdout").read_text() == f"trial {trial.config['i']}\n"
