"""Runs an experiment in a process of its own, so that a test can kill it. The argument is JSON: see :func:`run`.

A trial notes each report that ``report()`` has returned from in an append-only file beside the experiment, by a number
that no other report bears: what is in that file was acknowledged.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import fasttune as tune


class Acks:
    """The file of acknowledged reports."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._fd = os.open(config["acks"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._next = int.from_bytes(os.urandom(5), "little") << 12

    def report(self, checkpoint: tune.Checkpoint | None = None, /, **metrics: float) -> None:
        number = self._next
        self._next += 1
        tune.report({**metrics, "number": number}, checkpoint=checkpoint)
        os.write(self._fd, f"{number}\n".encode())

    def close(self) -> None:
        os.close(self._fd)


def steady(config: dict[str, Any]) -> None:
    """A few quick reports."""
    acks = Acks(config)
    try:
        for step in range(config["reports"]):
            time.sleep(0.0004)
            acks.report(loss=config["x"] + step)
    finally:
        acks.close()


def storm(config: dict[str, Any]) -> None:
    """Many reports of some size, as fast as can be."""
    acks = Acks(config)
    for _ in range(config["reports"]):
        more = {f"m{i}": float(i) for i in range(20)}
        acks.report(loss=config["x"], **more)
    acks.close()


def endless(config: dict[str, Any]) -> None:
    """Reports for ever."""
    acks = Acks(config)
    while True:
        time.sleep(0.0004)
        acks.report(loss=config["x"])


def stubborn(config: dict[str, Any]) -> None:
    """Swallows every exception there is, SystemExit and KeyboardInterrupt among them."""
    acks = Acks(config)
    while True:
        try:
            time.sleep(0.0004)
            acks.report(loss=config["x"])
        except BaseException:
            continue


def brood(config: dict[str, Any]) -> None:
    """Has children that live long: one in its process group, one that has left it."""
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    endless(config)


def saving(config: dict[str, Any]) -> None:
    """Saves a checkpoint with every fifth report and goes on from it."""
    import tempfile

    acks = Acks(config)
    found = tune.get_checkpoint()
    start = 0
    if found is not None:
        with found.as_directory() as folder, open(os.path.join(folder, "step")) as file:
            start = int(file.read()) + 1
    for step in range(start, config["reports"]):
        time.sleep(0.0004)
        if step % 5 == 4:
            with tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "step"), "w") as file:
                    file.write(str(step))
                acks.report(tune.Checkpoint.from_directory(folder), loss=config["x"], step=step)
        else:
            acks.report(loss=config["x"], step=step)
    acks.close()


TRAINABLES = {one.__name__: one for one in (steady, storm, endless, stubborn, brood, saving)}


class Never(tune.Callback):
    """A hook that does not come back."""

    def on_step_end(self, **_: Any) -> None:
        if os.path.exists(self.flag):
            while True:
                time.sleep(0.01)

    def __init__(self, flag: str) -> None:
        self.flag = flag


def run(told: dict[str, Any]) -> tune.ExperimentAnalysis:
    """tune.run as a test has asked for it."""
    return tune.run(
        TRAINABLES[told["trainable"]],
        name=told.get("name", "crash"),
        storage_path=told["folder"],
        config={
            "x": tune.uniform(0, 1),
            "reports": told.get("reports", 4),
            "acks": told["acks"],
        },
        metric="loss",
        mode="min",
        num_samples=told.get("samples", 1),
        executor=told["executor"],
        max_concurrent_trials=told.get("workers"),
        max_failures=told.get("max_failures", 0),
        resources_per_trial={"cpu": told.get("cpu", 0.25)},
        resume=told.get("resume"),
        seed=told.get("seed", 0),
        verbose=0,
        raise_on_failed_trial=False,
        time_budget_s=told.get("budget"),
        scheduler=told.get("scheduler"),
        durability=told.get("durability", "process"),
        callbacks=[Never(told["stuck"])] if "stuck" in told else None,
    )


def main() -> None:
    told = json.loads(sys.argv[1])
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    if told.get("thread"):
        import threading

        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(run(told)))
        thread.start()
        thread.join()
        analysis = found[0]
    else:
        analysis = run(told)
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    print(
        json.dumps(
            {
                "statuses": [trial.status for trial in analysis.trials],
                "configs": [trial.config["x"] for trial in analysis.trials],
                # pandas costs more to load than all the rest
                "rows": len(analysis.results_df) if told.get("frame") else None,
                "handlers_restored": before == after,
                "path": analysis.experiment_path,
            }
        )
    )


if __name__ == "__main__":
    main()
