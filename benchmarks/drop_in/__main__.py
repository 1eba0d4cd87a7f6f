"""Run Ray Tune's own examples on fasttune, with nothing but their imports changed, and count them.

    python -m benchmarks.drop_in                   all of them, some minutes
    python -m benchmarks.drop_in --only pbt        those with this in their names

The examples come out of the wheel of Ray, which lies in a folder of its own and is never imported. What an example cannot do
here is explained in ``EXPLAINED``; one that fails without an explanation, or runs in spite of one, ends this with 1.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.drop_in.convert import converted
from benchmarks.peers.environments import environ_of

ROOT = Path(__file__).resolve().parents[2]
RAY = "ray==2.60.0"
NO_EXAMPLES = frozenset(["__init__", "utils"])  # what the examples share

RLLIB = "an RLlib algorithm is the trainable: there is no reinforcement learning library here"
CONTROLLER = "it names the controller's class, to say of what type an argument is: schedulers are handed an ExperimentView here"
# Example -> (what its error says, or which name is not here; why).
EXPLAINED = {
    "pb2_ppo_example": ("Unknown trainable 'PPO'", RLLIB),
    "pbt_ppo_example": ("ray.rllib", RLLIB),
    "xgboost_dynamic_resources_example": ("fasttune.execution", CONTROLLER),
}


class Outcome(NamedTuple):
    """How one example went."""

    name: str
    kind: str  # "runs", "needs", "explained", "FAILS", "RUNS NOW"
    words: str
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drop_in", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="a part of the names of those to run")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one example (default 300)")
    parser.add_argument("--wheel", type=Path, default=ROOT / ".venv-peers" / "ray-wheel", help="where Ray is unpacked")
    args = parser.parse_args()
    sources = unpacked(args.wheel) / "tune"
    with tempfile.TemporaryDirectory(prefix="drop_in_") as folder:
        examples = convert_all(sources, Path(folder))
        outcomes = [run(path, args.limit) for path in examples if args.only in path.stem]
    print(report(outcomes))
    if any(one.kind in ("FAILS", "RUNS NOW") for one in outcomes):
        raise SystemExit(1)


def unpacked(folder: Path) -> Path:
    """Ray's package, unpacked on first use, without what it needs to run."""
    package = folder / "ray"
    if not package.exists():
        print(f"unpacking {RAY} into {folder} ...", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), RAY], check=True)
    return package


def convert_all(sources: Path, folder: Path) -> list[Path]:
    """The examples with their imports changed, and what they share, in a folder of their own."""
    shared = sources / "utils" / "mock_trainable.py"
    (folder / shared.name).write_text(converted(shared.read_text(encoding="utf-8")), encoding="utf-8")
    made = []
    for source in sorted((sources / "examples").glob("*.py")):
        path = folder / source.name
        path.write_text(converted(source.read_text(encoding="utf-8")), encoding="utf-8")
        if source.stem not in NO_EXAMPLES:
            made.append(path)
    return made


def run(example: Path, limit: float) -> Outcome:
    """One example as a program, in its short form if it has one."""
    results = tempfile.mkdtemp(prefix="drop_in_results_")
    source = example.read_text(encoding="utf-8")
    smoke = ["--smoke-test"] if "--smoke-test" in source else []
    environ = {**environ_of("fasttune"), "FASTTUNE_RESULTS_DIR": results}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(example), *smoke],
            cwd=results,
            env=environ,
            capture_output=True,
            text=True,
            timeout=limit,
        )
        code, said = done.returncode, done.stderr.strip()
    except subprocess.TimeoutExpired:
        code, said = 1, f"TimeoutExpired: it ran for more than {limit:g} s"
    finally:
        shutil.rmtree(results, ignore_errors=True)
    seconds = time.monotonic() - began
    return judged(example.stem, code, said, names_not_here(source), seconds)


def judged(name: str, code: int, said: str, absent: list[str], seconds: float) -> Outcome:
    """What is to be thought of how an example ended. One that stopped for want of a library counts only if every name of
    fasttune that it asks for is here."""
    errors = [line for line in said.splitlines() if re.match(r"\w[\w.]*(Error|Exception|Expired)\b", line)]
    last = errors[-1] if errors else said[-300:]
    words, why = EXPLAINED.get(name, ("", ""))
    if code == 0:
        return Outcome(name, "RUNS NOW" if why else "runs", f"(explained as: {why})" if why else "", seconds)
    if why and words in "\n".join([last, *absent]):
        return Outcome(name, "explained", why, seconds)
    missing = re.search(r"No module named '([\w.]+)'|needs the library '(\w+)'", last)
    library = (missing.group(1) or missing.group(2)) if missing else ""
    if library and library.split(".")[0] not in ("fasttune", "ray") and not absent:
        return Outcome(name, "needs", f"{library}, which is not installed", seconds)
    return Outcome(name, "FAILS", f"not here: {', '.join(absent)}" if absent else last, seconds)


def names_not_here(source: str) -> list[str]:
    """What a converted program imports from fasttune, or from Ray all the same, that is not to be had."""
    absent = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        top = node.module.split(".")[0]
        if top == "ray":
            absent.append(node.module)
        elif top == "fasttune":
            absent += [f"{node.module}.{one.name}" for one in node.names if not is_here(node.module, one.name)]
    return absent


def is_here(module: str, name: str) -> bool:
    """Whether ``from module import name`` works, or wants only a library of its own."""
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError as error:
        return not str(error.name).startswith("fasttune")


def report(outcomes: list[Outcome]) -> str:
    """A line for each example, and how many went how."""
    lines = [f"{one.name:45} {one.kind:10} {one.seconds:6.1f} s  {one.words}" for one in outcomes]
    kinds = sorted({one.kind for one in outcomes})
    counts = ", ".join(f"{sum(one.kind == kind for one in outcomes)} {kind}" for kind in kinds)
    return "\n".join([*lines, "", f"{len(outcomes)} examples of {RAY}: {counts}"])


if __name__ == "__main__":
    main()
