"""A trial forks, as loaders of data do, and the child reports and returns: it touches nothing of the run."""

import os
import warnings

import fasttune as tune


def train(config):
    tune.report(loss=1.0)
    child = os.fork()
    if child == 0:
        warnings.simplefilter("ignore")
        tune.report(loss=-1e9)
        return
    os.waitpid(child, 0)


if __name__ == "__main__":
    for executor in ("process", "inline"):
        tune.run(train, num_samples=8, name=executor, storage_path="results", executor=executor, verbose=0)
        found = tune.ExperimentAnalysis(f"results/{executor}")
        assert [(trial.status, trial.last_result["loss"]) for trial in found.trials] == [("TERMINATED", 1.0)] * 8
