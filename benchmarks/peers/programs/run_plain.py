"""No tuner at all: a bare loop, and the standard library's ways to two processes."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import threading
import time
from bisect import insort
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from shared import (
    AT_ONCE,
    ETA,
    MAX_T,
    RUNGS,
    beside_one_process,
    boosted,
    boosting_data,
    computed,
    draw,
    loss_at,
    main,
    note_first_result,
    objective,
    paced,
    run_again_and_again,
)


def bare(args: argparse.Namespace) -> dict[str, Any]:
    results = []
    for _ in range(args.n):
        results.append(objective(**draw()))
    return {"trials": len(results)}


def json_lines(args: argparse.Namespace) -> dict[str, Any]:
    with open(os.path.join(args.folder, "results.jsonl"), "w") as file:
        for index in range(args.n):
            config = draw()
            file.write(json.dumps({"trial": index, "config": config, "score": objective(**config)}) + "\n")
    return {"trials": args.n}


def called(config: dict[str, float]) -> float:
    return objective(**config)


def pool(args: argparse.Namespace, chunk: int) -> dict[str, Any]:
    with multiprocessing.Pool(2) as workers:
        results = list(workers.imap_unordered(called, (draw() for _ in range(args.n)), chunksize=chunk))
    return {"trials": len(results)}


def by_joblib(args: argparse.Namespace, call: Any, given: Any, workers: int = 2) -> dict[str, Any]:
    from joblib import Parallel, delayed

    return {"trials": len(Parallel(n_jobs=workers)(delayed(call)(one) for one in given))}


def computing_pool(args: argparse.Namespace) -> dict[str, Any]:
    def run() -> None:
        with multiprocessing.Pool(2) as workers:
            list(workers.imap_unordered(computed, range(args.n)))

    return beside_one_process(args.n, run)


def computing_submitted(args: argparse.Namespace) -> dict[str, Any]:
    def run() -> None:
        with ProcessPoolExecutor(2) as workers:
            list(workers.map(computed, range(args.n)))

    return beside_one_process(args.n, run)


def paced_process(queue: Any, n: int) -> None:
    paced(n, lambda step: queue.put(1.0 / (step + 1)))
    queue.put(None)


def paced_processes(args: argparse.Namespace) -> dict[str, Any]:
    queue: Any = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=paced_process, args=(queue, args.n)) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    return counted(queue, workers)


def paced_threads(args: argparse.Namespace) -> dict[str, Any]:
    queue: SimpleQueue[float | None] = SimpleQueue()
    workers = [threading.Thread(target=paced_process, args=(queue, args.n)) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    return counted(queue, workers)


def counted(queue: Any, workers: list[Any]) -> dict[str, Any]:
    """How many reports came, until each of the workers has said that it is done."""
    count, running = 0, len(workers)
    while running:
        if queue.get() is None:
            running -= 1
        else:
            count += 1
    for worker in workers:
        worker.join()
    return {"reports": count}


def pool_again(args: argparse.Namespace) -> dict[str, Any]:
    def run() -> None:
        with multiprocessing.Pool(2) as workers:
            workers.map(called, [draw()])

    return run_again_and_again(run)


def pool_kept(args: argparse.Namespace) -> dict[str, Any]:
    with multiprocessing.Pool(2) as workers:
        return run_again_and_again(lambda: workers.map(called, [draw()]))


def joblib_again(args: argparse.Namespace) -> dict[str, Any]:
    return run_again_and_again(lambda: by_joblib(args, called, [draw(), draw()]))


def submitted(args: argparse.Namespace) -> dict[str, Any]:
    with ProcessPoolExecutor(2) as workers:
        futures = [workers.submit(called, draw()) for _ in range(args.n)]
        return {"trials": len([future.result() for future in futures])}


def batches(n: int) -> Any:
    """Configs as columns, 4,096 at a time."""
    import numpy as np

    rng = np.random.default_rng(0)
    for begin in range(0, n, 4096):
        m = min(4096, n - begin)
        yield {"a": rng.uniform(0.0, 1.0, m), "b": rng.uniform(0.0, 1.0, m), "x": rng.uniform(-10.0, 10.0, m)}


def numpy_null(args: argparse.Namespace) -> dict[str, Any]:
    best = float("inf")
    for columns in batches(args.n):
        best = min(best, float(objective(**columns).min()))
    return {"trials": args.n}


def numpy_asha(args: argparse.Namespace) -> dict[str, Any]:
    """Rungs judged a column at a time: the best third of the batch, among all that the rung has seen, goes on."""
    import numpy as np

    seen: dict[int, list[Any]] = {rung: [] for rung in RUNGS}
    reports = 0
    for columns in batches(args.n):
        alive = objective(**columns)
        for epoch in range(1, MAX_T + 1):
            loss = alive * (1.0 + 1.0 / epoch)
            reports += len(loss)
            if epoch in seen:
                seen[epoch].append(loss)
                alive = alive[loss <= np.quantile(np.concatenate(seen[epoch][-8:]), 1 / ETA)]
    return {"trials": args.n, "reports": reports}


def bare_reports(args: argparse.Namespace) -> dict[str, Any]:
    results = []
    for _ in range(2):
        for step in range(args.n):
            results.append({"loss": 1.0 / (step + 1), "accuracy": step * 1e-7})
    return {"reports": len(results)}


def put_reports(queue: Any, n: int) -> None:
    for step in range(n):
        queue.put({"loss": 1.0 / (step + 1), "accuracy": step * 1e-7})
    queue.put(None)


def queue_reports(args: argparse.Namespace) -> dict[str, Any]:
    queue: Any = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=put_reports, args=(queue, args.n)) for _ in range(2)]
    for worker in workers:
        worker.start()
    return counted(queue, workers)


def ask_reports(pipe: Any, n: int) -> None:
    for step in range(n):
        pipe.send({"loss": 1.0 / (step + 1), "accuracy": step * 1e-7})
        pipe.recv()
    pipe.close()


def pipe_reports(args: argparse.Namespace) -> dict[str, Any]:
    count = 0
    for pipe, _message in served(ask_reports, args.n):
        count += 1
        pipe.send("CONTINUE")
    return {"reports": count}


def served(target: Any, n: int) -> Any:
    """Two processes that ask through pipes: gives (pipe, message) until both have ended."""
    from multiprocessing.connection import wait

    pipes, workers = [], []
    for _ in range(2):
        here, there = multiprocessing.Pipe()
        worker = multiprocessing.Process(target=target, args=(there, n))
        worker.start()
        there.close()
        pipes.append(here)
        workers.append(worker)
    while pipes:
        for pipe in wait(pipes):
            try:
                message = pipe.recv()  # type: ignore[union-attr]
            except EOFError:
                pipes.remove(pipe)  # type: ignore[arg-type]
                continue
            yield pipe, message
    for worker in workers:
        worker.join()


class SortedRungs:
    """ASHA's stopping rule as one would write it by hand: one sorted list for each rung."""

    def __init__(self) -> None:
        self.rungs: dict[int, list[float]] = {rung: [] for rung in RUNGS}

    def goes_on(self, epoch: int, loss: float) -> bool:
        rung = self.rungs.get(epoch)
        if rung is None:
            return epoch < MAX_T
        keep = not rung or loss <= rung[max(0, len(rung) // ETA - 1)]
        insort(rung, loss)
        return keep


def asha_loop(args: argparse.Namespace) -> dict[str, Any]:
    rungs = SortedRungs()
    reports = 0
    for _ in range(args.n):
        config = draw()
        for epoch in range(1, MAX_T + 1):
            reports += 1
            if not rungs.goes_on(epoch, loss_at(epoch=epoch, **config)):
                break
    return {"trials": args.n, "reports": reports}


def asking_curves(pipe: Any, n: int) -> None:
    for _ in range(n // 2):
        config = draw()
        for epoch in range(1, MAX_T + 1):
            pipe.send((epoch, loss_at(epoch=epoch, **config)))
            if not pipe.recv():
                break
    pipe.close()


def asha_pipe(args: argparse.Namespace) -> dict[str, Any]:
    rungs = SortedRungs()
    reports = 0
    for pipe, (epoch, loss) in served(asking_curves, args.n):
        reports += 1
        pipe.send(rungs.goes_on(epoch, loss))
    return {"trials": args.n // 2 * 2, "reports": reports}


def first_pool(args: argparse.Namespace) -> dict[str, Any]:
    with multiprocessing.Pool(2) as workers:
        for _ in workers.imap_unordered(called, [draw() for _ in range(args.n)]):
            note_first_result()
    return {"trials": args.n}


def first_bare(args: argparse.Namespace) -> dict[str, Any]:
    for _ in range(args.n):
        called(draw())
        note_first_result()
    return {"trials": args.n}


def sleep_threads(args: argparse.Namespace) -> dict[str, Any]:
    with ThreadPoolExecutor(16) as workers:
        return {"trials": len(list(workers.map(time.sleep, [0.1] * args.n)))}


def gather(args: argparse.Namespace) -> dict[str, Any]:
    import asyncio

    async def trial() -> float:
        await asyncio.sleep(1.0)
        return 1.0

    async def main() -> list[float]:
        return await asyncio.gather(*(trial() for _ in range(args.n)))

    return {"trials": len(asyncio.run(main()))}


def second_threads(args: argparse.Namespace) -> dict[str, Any]:
    with ThreadPoolExecutor(args.n) as workers:
        return {"trials": len(list(workers.map(time.sleep, [1.0] * args.n)))}


def sleep_processes(args: argparse.Namespace) -> dict[str, Any]:
    with ProcessPoolExecutor(16) as workers:
        return {"trials": len(list(workers.map(time.sleep, [0.1] * args.n)))}


def sleep_pool(args: argparse.Namespace) -> dict[str, Any]:
    with multiprocessing.Pool(16) as workers:
        return {"trials": len(list(workers.imap_unordered(time.sleep, [0.1] * args.n)))}


def boost(args: argparse.Namespace, threads: int) -> dict[str, Any]:
    import random

    data = boosting_data()
    given = [(random.randint(8, 64), random.uniform(0.02, 0.3)) for _ in range(args.n)]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as workers:
        wrong = list(workers.map(lambda one: boosted(data, *one), given))
    return {"trials": len(wrong), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    main(
        {
            "bare": bare,
            "numpy-null": numpy_null,
            "numpy-asha": numpy_asha,
            "json-lines": json_lines,
            "pool-1": lambda args: pool(args, 1),
            "pool-64": lambda args: pool(args, 64),
            "submit": submitted,
            "joblib": lambda args: by_joblib(args, called, (draw() for _ in range(args.n))),
            "computing-pool": computing_pool,
            "computing-submit": computing_submitted,
            "computing-joblib": lambda args: beside_one_process(args.n, lambda: by_joblib(args, computed, range(args.n))),
            "paced-processes": paced_processes,
            "paced-threads": paced_threads,
            "pool-again": pool_again,
            "pool-kept": pool_kept,
            "joblib-again": joblib_again,
            "bare-reports": bare_reports,
            "queue-reports": queue_reports,
            "pipe-reports": pipe_reports,
            "asha-loop": asha_loop,
            "asha-pipe": asha_pipe,
            "first-bare": first_bare,
            "first-pool": first_pool,
            "sleep-threads": sleep_threads,
            "sleep-processes": sleep_processes,
            "sleep-pool": sleep_pool,
            "sleep-joblib": lambda args: by_joblib(args, time.sleep, [0.1] * args.n, 16),
            "boost": lambda args: boost(args, 1),
            "boost-threads": lambda args: boost(args, 2),
            "gather": gather,
            "second-threads": second_threads,
        }
    )
