"""A run begins in a process that was spawned, with a function of the script, as launchers of jobs do it."""

import multiprocessing
import pathlib

import fasttune as tune


def train(config):
    tune.report(loss=config["x"])


def job(method, executor):
    found = tune.run(
        train, config={"x": tune.uniform(0, 1)}, num_samples=3, executor=executor, storage_path="results", verbose=0
    )
    pathlib.Path(f"{method}-{executor}").write_text(str(len(found.trials)))


if __name__ == "__main__":
    for method in ("spawn", "forkserver", "fork"):
        for executor in ("process", "inline"):
            process = multiprocessing.get_context(method).Process(target=job, args=(method, executor))
            process.start()
            process.join()
            assert process.exitcode == 0, (method, executor, process.exitcode)
            assert pathlib.Path(f"{method}-{executor}").read_text() == "3"
