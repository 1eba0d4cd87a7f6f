"""What a page of the dashboard costs: seconds of each answer, for an experiment of many trials.

    python -m benchmarks.bench_dashboard                     100,000 trials of 10 reports: a table
    python -m benchmarks.bench_dashboard --trials 1000000    ten times as many
    python -m pytest benchmarks/bench_dashboard.py           10,000 trials; the first page, and a look at what has not changed

Answers are asked for as a browser asks for them, of the application in this process. "first" opens the experiment for it or makes the
answer for the first time; "again" is the median of five more; "unchanged" is that of a browser that has the answer.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from statistics import median
from typing import Any

from starlette.testclient import TestClient

import fasttune as tune
from fasttune.dashboard.app import application

TOKEN = "bench-" * 5
NAME = "many"
FIRST_PAGE = (("/api/experiments", {}), ("/api/experiment", {"experiment": NAME}), ("/api/trials", {"experiment": NAME}))
MORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/api/trials", {"experiment": NAME, "sort": "lr", "desc": 1}),
    ("/api/trials", {"experiment": NAME, "filter": "loss < 0.5 and kind = b", "sort": "loss"}),
    ("/api/trial", {"experiment": NAME, "trial": 7}),
    ("/api/trial_figures", {"experiment": NAME, "trial": 7}),
    ("/api/picture", {"experiment": NAME, "name": "history"}),
    ("/api/picture", {"experiment": NAME, "name": "curves"}),
    ("/api/picture", {"experiment": NAME, "name": "parallel"}),
    ("/api/picture", {"experiment": NAME, "name": "importances"}),
    ("/api/picture", {"experiment": NAME, "name": "timeline"}),
    ("/api/facts", {"experiment": NAME}),
)


def reports_ten(config: dict[str, Any]) -> None:
    for step in range(1, 11):
        tune.report(loss=(config["lr"] - 0.3) ** 2 + config["width"] / (100 * step))


def make(folder: str, trials: int) -> None:
    """The experiment, inline."""
    space = {"lr": tune.uniform(0, 1), "width": tune.randint(8, 512), "kind": tune.choice(["a", "b", "c"])}
    given: dict[str, Any] = {"metric": "loss", "mode": "min", "executor": "inline", "verbose": 0, "seed": 1}
    tune.run(reports_ten, name=NAME, config=space, num_samples=trials, storage_path=folder, **given)


def client_of(folder: str) -> TestClient:
    """A browser that has opened the address."""
    made = TestClient(application(folder, TOKEN), base_url="http://127.0.0.1")
    made.get(f"/?token={TOKEN}")
    return made


def seconds_of(client: TestClient, path: str, params: dict[str, Any], tag: str = "") -> tuple[float, str, int]:
    """(seconds, ETag, bytes) of one answer."""
    began = time.perf_counter()
    answer = client.get(path, params=params, headers={"if-none-match": tag} if tag else {})
    took = time.perf_counter() - began
    assert answer.status_code == (304 if tag else 200), answer.text
    return took, answer.headers["etag"], len(answer.content)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What answers of the dashboard cost")
    parser.add_argument("--trials", type=int, default=100_000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory(prefix="fasttune-bench-") as folder:
        make(folder, trials)
        print(f"{trials:,} trials of 10 reports; load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
        print(f"{'':<72}{'first':>9}{'again':>9}{'unchanged':>11}{'bytes':>12}")
        with client_of(folder) as client:
            whole = 0.0
            for path, params in (*FIRST_PAGE, *MORE):
                first, tag, size = seconds_of(client, path, params)
                again = median(seconds_of(client, path, params)[0] for _ in range(5))
                unchanged = median(seconds_of(client, path, params, tag)[0] for _ in range(5))
                asked = ", ".join(f"{key}={value}" for key, value in params.items() if key != "experiment")
                print(f"{path + ' ' + asked:<72}{first:>8.3f}s{again:>8.3f}s{unchanged:>10.4f}s{size:>12,}")
                whole += first if (path, params) in FIRST_PAGE else 0.0
        print(f"the first page, all of it: {whole:.2f} s")


def bench_first_page(benchmark: Any, results_dir: Any) -> None:
    make(str(results_dir), 10_000)

    def first_page() -> None:
        with client_of(str(results_dir)) as client:
            for path, params in FIRST_PAGE:
                seconds_of(client, path, params)

    benchmark.pedantic(first_page, rounds=5)


def bench_unchanged(benchmark: Any, results_dir: Any) -> None:
    make(str(results_dir), 10_000)
    with client_of(str(results_dir)) as client:
        _, tag, _ = seconds_of(client, "/api/experiment", {"experiment": NAME})
        benchmark(seconds_of, client, "/api/experiment", {"experiment": NAME}, tag)


if __name__ == "__main__":
    main()
