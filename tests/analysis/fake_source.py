"""A TrialSource made of lists of dicts: slow and obvious."""

from __future__ import annotations

import array
from dataclasses import dataclass, field
from typing import Any

from fasttune.result import ReportBlock, effective, flatten, make_result
from fasttune.trial import TERMINATED, TrialFailure

STARTED = 1_700_000_000.0


@dataclass
class FakeTrial:
    """``reports`` as the user gave them; ``steps`` where they are not 1, 2, 3, ..."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    status: str = TERMINATED
    steps: list[int] | None = None
    failure: TrialFailure | None = None
    checkpoints: list[tuple[str, int]] = field(default_factory=list)  # (directory, position of its report)

    def step(self, position: int) -> int:
        return position + 1 if self.steps is None else self.steps[position]


@dataclass
class FakeSource:
    """Report k of trial i is written at STARTED + 10 k + i/1000 + 1: trials take turns, as in a real run.

    Blocks hold reports of equal keys and kinds, few rows each, so that histories are spread over many.
    """

    trials: list[FakeTrial]
    path: str = "/nowhere/experiment"
    name: str = "experiment"
    metric: str | None = None
    mode: str | None = None
    rows_per_block: int = 3

    def __len__(self) -> int:
        return len(self.trials)

    def trial_id(self, i: int) -> str:
        return f"ab12c_{i:05d}"

    def trainable_name(self, i: int) -> str:
        return "train"

    def config(self, i: int) -> dict[str, Any]:
        return {k: dict(v) if isinstance(v, dict) else v for k, v in self.trials[i].config.items()}

    def evaluated_params(self, i: int) -> dict[str, Any]:
        return flatten(self.trials[i].config)

    def experiment_tag(self, i: int) -> str:
        return f"{i}_" + ",".join(f"{k}={v}" for k, v in self.evaluated_params(i).items())

    def status(self, i: int) -> str:
        return self.trials[i].status

    def failure(self, i: int) -> TrialFailure | None:
        return self.trials[i].failure

    def num_failures(self, i: int) -> int:
        failure = self.trials[i].failure
        return failure.count if failure else 0

    def resources(self, i: int) -> Any:
        return {"cpu": 1}

    def checkpoints(self, i: int) -> list[tuple[str, dict[str, Any]]]:
        return [(path, self._result(i, position)) for path, position in self.trials[i].checkpoints]

    def time(self, i: int, k: int) -> float:
        return STARTED + 10 * k + i / 1000 + 1

    def _result(self, i: int, k: int) -> dict[str, Any]:
        return make_result(
            flatten(self.trials[i].reports[k]),
            step=self.trials[i].step(k),
            time=self.time(i, k),
            started=STARTED,
            previous=self.time(i, k - 1) if k else STARTED,
            trial_id=self.trial_id(i),
            pid=4242,
            hostname="box",
            node_ip="127.0.0.1",
            config=self.config(i),
            experiment_tag=self.experiment_tag(i),
            done=k == len(self.trials[i].reports) - 1 and self.status(i) == TERMINATED,
        )

    def results(self, i: int) -> list[dict[str, Any]]:
        trial = self.trials[i]
        steps = [trial.step(k) for k in range(len(trial.reports))]
        return [self._result(i, k) for k in effective(steps)]

    def last_result(self, i: int) -> dict[str, Any]:
        results = self.results(i)
        return results[-1] if results else {}

    def report_blocks(self) -> list[ReportBlock]:
        every = sorted(
            (self.time(i, k), i, k) for i, trial in enumerate(self.trials) for k in range(len(trial.reports))
        )
        schemas: dict[tuple[tuple[str, ...], str], list[tuple[int, int]]] = {}
        for _, i, k in every:
            plain = {n: v for n, v in flatten(self.trials[i].reports[k]).items() if _is_plain(v)}
            kinds = "".join(_kind(v) for v in plain.values())
            schemas.setdefault((tuple(plain), kinds), []).append((i, k))
        blocks = []
        for (keys, kinds), rows in schemas.items():
            for first in range(0, len(rows), self.rows_per_block):
                blocks.append(self._block(keys, kinds, rows[first : first + self.rows_per_block]))
        return blocks

    def _block(self, keys: tuple[str, ...], kinds: str, rows: list[tuple[int, int]]) -> ReportBlock:
        flat = [flatten(self.trials[i].reports[k]) for i, k in rows]
        extras = {
            row: {n: v for n, v in metrics.items() if not _is_plain(v)} for row, metrics in enumerate(flat)
        }
        return ReportBlock(
            keys,
            kinds,
            array.array("i", [i for i, _ in rows]),
            array.array("i", [self.trials[i].step(k) for i, k in rows]),
            array.array("d", [self.time(i, k) for i, k in rows]),
            [array.array("d", [metrics[key] for metrics in flat]) for key in keys],
            {row: extra for row, extra in extras.items() if extra},
        )


def _is_plain(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53)


def _kind(value: Any) -> str:
    return "b" if isinstance(value, bool) else "i" if isinstance(value, int) else "f"


def of_scores(*scores: list[Any], metric: str = "score", **options: Any) -> FakeSource:
    """A source of trials that reported these values, config {"id": 0}, {"id": 1}, ..."""
    trials = [FakeTrial([{metric: value} for value in row], {"id": i}) for i, row in enumerate(scores)]
    return FakeSource(trials, **options)
