"""A function says how many steps each report stands for: their sum is there, and may be what ends the trial."""

import fasttune as tune


def train(config):
    for _ in range(5):
        tune.report(timesteps_this_iter=20, episodes_this_iter=2)


if __name__ == "__main__":
    for executor in ("process", "inline"):
        more = {"storage_path": "results", "executor": executor, "verbose": 0}
        last = tune.run(train, stop={"timesteps_total": 50}, **more).trials[0].last_result
        assert (last["training_iteration"], last["timesteps_total"], last["episodes_total"]) == (3, 60, 6), last
        last = tune.run(train, stop={"episodes_total": 4}, **more).trials[0].last_result
        assert last["training_iteration"] == 2, last
