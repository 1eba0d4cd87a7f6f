"""A population changes numbers that are whole, or go in steps: each stays in its domain. Names may be of two kinds."""

import fasttune as tune
from fasttune.schedulers import PopulationBasedTraining

SPACE = {"depth": tune.randint(2, 5), "batch": tune.qrandint(8, 32, 8), "rate": tune.quniform(0.1, 0.5, 0.1)}


class Train(tune.Trainable):
    def setup(self, config):
        self.done = 0

    def step(self):
        self.done += 1
        return {"score": self.done * self.config["batch"] * self.config["depth"]}

    def save_checkpoint(self, checkpoint_dir):
        return {"done": self.done}

    def load_checkpoint(self, checkpoint):
        self.done = checkpoint["done"]

    def reset_config(self, new_config):
        return True


if __name__ == "__main__":
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="score",
        mode="max",
        perturbation_interval=2,
        hyperparam_mutations=dict(SPACE),
        clip=True,
        seed=3,
    )
    more = {"storage_path": "results", "executor": "inline", "verbose": 0}
    found = tune.run(Train, config=SPACE, scheduler=scheduler, num_samples=8, stop={"training_iteration": 24}, seed=3, **more)
    inside = tune.SearchSpace(SPACE)
    assert [trial.config for trial in found.trials if not inside.contains(trial.config)] == []

    (trial,) = tune.run(lambda config: {"sum": config[1] + config["b"]}, config={1: 10, "b": 3}, **more).trials
    assert trial.last_result["sum"] == 13
