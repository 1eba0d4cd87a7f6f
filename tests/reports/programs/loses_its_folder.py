"""Somebody cleans up, and removes the folder of a run: it ends soon, says so, and its results are there."""

import shutil
import time
import warnings

import fasttune as tune


def train(config):
    if config["i"] == 5:
        shutil.rmtree(config["folder"])
    for step in range(4):
        time.sleep(0.01)
        tune.report(loss=config["i"] + step)


if __name__ == "__main__":
    for executor in ("process", "inline"):
        config = {"i": tune.grid_search(list(range(2000))), "folder": f"results/{executor}"}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = tune.run(
                train, name=executor, storage_path="results", config=config, metric="loss", mode="min", executor=executor, verbose=0
            )
        assert any("the run was ended" in str(one.message) for one in said), [str(one.message) for one in said]
        assert found.best_config["i"] == 0
