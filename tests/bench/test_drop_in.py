"""How Ray Tune's examples are changed and judged, without Ray: ``python -m benchmarks.drop_in`` runs them."""

from __future__ import annotations

import pytest
from benchmarks.drop_in.__main__ import EXPLAINED, Outcome, judged, names_not_here, report
from benchmarks.drop_in.convert import converted

PROGRAM = """
import numpy as np
import ray
from ray import train, tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.examples.utils import load

def objective(config):
    ray.tune.report({'x': 1})
if __name__ == '__main__':
    ray.init(num_cpus=2)
    tune.run(objective)
    ray.shutdown()
"""


def test_imports_and_nothing_else_are_changed() -> None:
    assert converted(PROGRAM).splitlines() == [
        "import numpy as np",
        "import fasttune",
        "import fasttune as tune",
        "from ray import train",
        "from fasttune.schedulers import ASHAScheduler",
        "from fasttune import PlacementGroupFactory",
        "from utils import load",
        "",
        "def objective(config):",
        "    fasttune.report({'x': 1})",
        "if __name__ == '__main__':",
        "    pass",
        "    tune.run(objective)",
        "    pass",
    ]


def test_names_that_are_not_here_are_found() -> None:
    source = converted(
        "from ray.tune.schedulers import ASHAScheduler, NoSuch\n"
        "from ray.tune.integration.xgboost import NoSuchCallback, TuneReportCallback\n"
        "from ray.rllib import PPO\n"
    )
    assert names_not_here(source) == [
        "fasttune.schedulers.NoSuch",
        "fasttune.integration.xgboost.NoSuchCallback",
        "ray.rllib",
    ]


@pytest.mark.parametrize(
    ("name", "code", "said", "absent", "kind"),
    [
        ("pbt_example", 0, "", [], "runs"),
        ("pbt_ppo_example", 0, "", [], "RUNS NOW"),
        (
            "pbt_ppo_example",
            1,
            "ModuleNotFoundError: No module named 'gymnasium'",
            ["ray.rllib"],
            "explained",
        ),
        ("pbt_ppo_example", 1, "ValueError: another fault", [], "FAILS"),
        ("mnist", 1, "ModuleNotFoundError: No module named 'torch'", [], "needs"),
        ("mnist", 1, "ModuleNotFoundError: No module named 'torch'", ["fasttune.NoSuch"], "FAILS"),
        ("ax", 1, "ImportError: AxSearch needs the library 'ax', which is not installed", [], "needs"),
        ("any", 1, "ModuleNotFoundError: No module named 'fasttune.no_such'", [], "FAILS"),
        ("any", 1, "", [], "FAILS"),
    ],
)
def test_how_an_example_is_judged(name: str, code: int, said: str, absent: list[str], kind: str) -> None:
    assert judged(name, code, said, absent, 1.0).kind == kind


def test_the_report_counts_them() -> None:
    last = report(
        [Outcome("a", "runs", "", 1), Outcome("b", "runs", "", 2), Outcome("c", "FAILS", "x", 3)]
    ).splitlines()[-1]
    assert last.endswith(": 1 FAILS, 2 runs")
    assert all(words and why for words, why in EXPLAINED.values())
