"""What a script defines is found wherever the run, or a trial, brings it: by name in pools, by value elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

sys.path.insert(0, str(Path(__file__).parent.parent / "reliability"))
from box import experiments_in, run_boxed

POOLS = """
import concurrent.futures, enum, multiprocessing, pickle, sys
import fasttune as tune

OFFSET = 10

class Kind(enum.Enum):
    GOOD = 1

class Box:
    def __init__(self, value):
        self.value = value

def helper(x):
    return Box(x + OFFSET)

def twice(x):
    return 2 * x

def name_of(kind):
    assert kind is Kind.GOOD
    return kind.name

def f(config):
    context = multiprocessing.get_context(config["method"])
    with context.Pool(1) as pool:
        boxes = pool.map(helper, [1, 2, 3])
        assert all(type(box) is Box for box in boxes), boxes
        doubled = pool.map(config["function"], [1, 2])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        kind = pool.submit(name_of, config["kind"]).result()
    assert pickle.loads(pickle.dumps(Box(4))).value == 4
    result = {"total": sum(box.value for box in boxes), "doubled": sum(doubled), "kind": kind}
    tune.report(result, checkpoint=tune.Checkpoint.from_dict({"box": Box(3)}))

class Class(tune.Trainable):
    def step(self):
        with multiprocessing.get_context(self.config["method"]).Pool(1) as pool:
            return {"total": pool.map(helper, [26])[0].value, "done": True}

def main():
    method = tune.grid_search(sys.argv[2:])
    space = {"method": method, "function": tune.sample_from(lambda spec: twice), "kind": tune.choice([Kind.GOOD])}
    told = tune.run(f, config=space, verbose=0, name="function", max_concurrent_trials=1)
    assert [t.last_result["doubled"] for t in told.trials] == [6] * len(sys.argv[2:])
    assert {t.last_result["kind"] for t in told.trials} == {"GOOD"}
    also = tune.run(Class, config={"method": method}, verbose=0, max_concurrent_trials=1)
    print("totals", *[t.last_result["total"] for t in [*told.trials, *also.trials]])

if __name__ == "__main__":
    if sys.argv[1] == "here":
        main()
    else:
        process = multiprocessing.get_context(sys.argv[1]).Process(target=main)
        process.start()
        process.join()
        sys.exit(process.exitcode)
"""


@pytest.mark.parametrize(
    "how",
    [
        ("script.py", "here", "fork", "spawn"),
        pytest.param(("-m", "package.script", "here", "fork", "spawn"), marks=pytest.mark.slow),
        ("script.py", "spawn", "fork"),
        pytest.param(("script.py", "forkserver", "spawn"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_pool_in_a_trial_finds_the_functions_of_the_script(tmp_path: Path, how: tuple[str, ...]) -> None:
    """A data loader, or any pool, in a trial could not be given a function of the script: "attribute lookup on __main__
    failed"."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    for place in ("script.py", "package/script.py"):
        (tmp_path / place).write_text(POOLS)
    done = run_boxed(tmp_path, *how)
    assert done.returncode == 0, done.stderr
    methods = how[how.index("script.py") + 2 :] if "script.py" in how else how[3:]
    assert f"totals {' '.join(['36'] * 2 * len(methods))}" in done.stdout
    # a checkpoint holds what the script defines by value: another program can read it
    analysis = tune.ExperimentAnalysis(str(tmp_path / "results" / "function"))
    checkpoint = analysis.trials[0].checkpoint
    assert checkpoint is not None
    assert tune.Checkpoint.to_dict(checkpoint)["box"].value == 3


def test_a_script_without_a_guard_may_spawn_in_its_trials(tmp_path: Path) -> None:
    """Processes that a trial spawns for functions of a library would have imported the script, and begun the run again."""
    (tmp_path / "train.py").write_text(
        "import math, multiprocessing\n"
        "import fasttune as tune\n"
        "def f(config):\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        tune.report(root=pool.map(math.sqrt, [4, 9])[1])\n"
        "print('root', tune.run(f, verbose=0).trials[0].last_result['root'])\n"
    )
    done = run_boxed(tmp_path, "train.py")
    assert done.returncode == 0, done.stderr
    assert "root 3.0" in done.stdout
    assert experiments_in(tmp_path) == 1


STATE = """
import sys
import fasttune as tune

CACHE = []

def loader():
    CACHE.append(1)
    return len(CACHE)

def f(config):
    tune.report(mine=loader(), given=config["loader"]())

if __name__ == "__main__":
    told = tune.run(f, config={"loader": tune.sample_from(lambda spec: loader)}, num_samples=3, verbose=0,
                    executor=sys.argv[1], max_concurrent_trials=1)
    print("counted", *[(t.last_result["mine"], t.last_result["given"]) for t in told.trials])
"""


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_a_function_in_a_config_is_the_script_s_own(tmp_path: Path, executor: str) -> None:
    """In a worker it was a copy with globals of its own: a cache that both the trainable and the config filled was two."""
    (tmp_path / "script.py").write_text(STATE)
    done = run_boxed(tmp_path, "script.py", executor)
    assert done.returncode == 0, done.stderr
    assert "counted (1, 2) (3, 4) (5, 6)" in done.stdout


OBJECTS = """
import dataclasses, enum, sys
import fasttune as tune
from fasttune.search import Searcher

class Act(enum.Enum):
    RELU = 1

@dataclasses.dataclass
class Layer:
    width: int

class Own(Searcher):
    def suggest(self, trial_id):
        return {"v": self.value}

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass

class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not this one")

VALUES = [Act.RELU, Layer(3), lambda: 1]

def f(config):
    act, layer, function = config["v"]
    assert act is Act.RELU and layer == Layer(3) and function() == 1, config
    tune.report(fine=1)

if __name__ == "__main__":
    space = tune.sample_from(lambda spec: VALUES)
    searcher = Own()
    searcher.value = VALUES
    for more in ({"config": {"v": [tune.choice([value]) for value in VALUES]}}, {"config": {"v": space}},
                 {"config": {"v": VALUES}}, {"search_alg": searcher}):
        told = tune.run(f, verbose=0, executor=sys.argv[1], **more)
        print(told.trials[0].last_result["fine"])
    if sys.argv[1] == "process":
        flags = iter([0, 1, 0])
        space = {"v": tune.sample_from(lambda spec: Unpicklable() if next(flags) else VALUES)}
        told = tune.run(f, config=space, num_samples=3, verbose=0, raise_on_failed_trial=False)
        print("one of three:", *[trial.status for trial in told.trials])
"""


@pytest.mark.parametrize("executor", ["inline", "thread", "process"])
def test_objects_that_a_script_defines_reach_its_trials(tmp_path: Path, executor: str) -> None:
    """An enum of the script, made by sample_from or a searcher of one's own, ended the whole run."""
    (tmp_path / "script.py").write_text(OBJECTS)
    done = run_boxed(tmp_path, "script.py", executor)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1\n") == 4
    if executor == "process":
        assert "one of three: TERMINATED ERROR TERMINATED" in done.stdout


def test_a_script_is_described_by_what_leads_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A notebook has no file: nothing is to be imported in its place."""
    from fasttune import script

    main: Any = type(sys)("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert script.described() == {"name": "__main__", "file": None, "module": None}
    main.__file__ = str(tmp_path / "gone.py")
    assert script.described()["file"] is None
    (tmp_path / "gone.py").write_text("print(__name__)")
    assert script.described()["file"] is None
    (tmp_path / "gone.py").write_text("if __name__ == '__main__':\n    print()\n")
    assert script.described()["file"] == main.__file__
    assert not script.is_elsewhere()
