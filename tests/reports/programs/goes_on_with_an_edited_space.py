"""A space is edited between two sessions: finished trials show what they were trained with, now and when opened anew."""

import fasttune as tune


def train(config):
    tune.report(loss=config["x"], seen=config["x"], kind=config["kind"])


def go(space, n, resume):
    more = {"metric": "loss", "mode": "min", "name": "edited", "storage_path": "results", "verbose": 0, "seed": 1}
    return tune.run(train, config=space, num_samples=n, resume=resume, **more)


def wrong(found):
    return [trial for trial in found.trials if trial.config["x"] != trial.last_result["seen"]]


if __name__ == "__main__":
    other = {"x": tune.uniform(0, 10), "kind": tune.choice(["c", "d"])}
    go({"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"])}, 5, None)
    refused = ""
    try:
        go(other, 8, True)
    except ValueError as error:
        refused = str(error)
    assert "uniform" in refused, refused
    found = go(other, 3, "AUTO+NEW_SPACE")
    assert len(found.trials) == 8
    assert not wrong(found)
    assert not wrong(tune.ExperimentAnalysis("results/edited"))
