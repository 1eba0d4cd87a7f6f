"""Threads of a trial report at once, as loggers of metrics do: no report is lost, and the experiment opens."""

import threading

import fasttune as tune


def train(config):
    def work():
        for i in range(500):
            tune.report(loss=float(i))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    for k, executor in enumerate(("process", "inline", "process", "inline")):
        tune.run(train, num_samples=2, name=f"{k}", executor=executor, storage_path="results", verbose=0)
        found = tune.ExperimentAnalysis(f"results/{k}")
        assert [trial.last_result["training_iteration"] for trial in found.trials] == [1500, 1500]
