"""A run is gone on with, and asked for another kind of searcher: refused in words, and the experiment stays as it was."""

import fasttune as tune


def train(config):
    tune.report(loss=config["x"])


if __name__ == "__main__":
    for first, then in (("tpe", None), (None, "tpe"), ("tpe", "random")):
        name = f"{first}-{then}"
        more = {"config": {"x": tune.uniform(0, 1)}, "metric": "loss", "mode": "min", "name": name, "storage_path": "results"}
        before = tune.run(train, num_samples=3, search_alg=first, verbose=0, seed=1, **more)
        refused = ""
        try:
            tune.run(train, num_samples=6, search_alg=then, resume="AUTO", verbose=0, **more)
        except ValueError as error:
            refused = str(error)
        assert "search" in refused, (name, refused)
        after = tune.ExperimentAnalysis(f"results/{name}")
        assert [trial.config for trial in after.trials] == [trial.config for trial in before.trials]
