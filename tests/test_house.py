"""The house keeps its own rules: floors, exports, light imports, no loose ends. Failures name file and line.

The floors are those of docs/architecture.md. An import inside a function counts like any other, because it is
the same dependency; one under ``TYPE_CHECKING`` does not, because it is only a name for the reader.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import rounds
from site_modules import site_module

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "fasttune"

FLOORS = {
    0: ("_core", "_rules", "_draws"),
    1: ("argument", "error", "extras", "other_words", "folder", "plain_files", "result", "trial", "space", "devices",
        "identity", "metric_values", "nesting", "rule", "config", "experiment", "scope", "failure", "result_keys",
        "code_places", "out_of_band", "script", "json_kinds", "html_table", "trial_lines", "whole_lines", "once", "checkpoint",
        "working_directory", "constraints", "pareto", "agreement", "processes"),
    2: ("trial_context", "trial_checkpoints", "trial_functions", "session", "trainable", "callback", "hook_times", "stopper",
        "registry", "totals", "user_attrs", "row_trees", "vectors"),
    3: ("schedulers", "search", "executors", "storage", "logger", "reporter"),
    4: ("engine", "tables", "search_history", "follower"),
    5: ("resolve", "tuner", "ask_tell", "analysis", "bench", "cli", "dashboard", "plot", "sklearn", "testing", "__init__", "__main__",
        "unpicklable", "utils", "resources", "warm_start", "integration"),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}

# Upward imports that stay, each with its reason.
ALLOWED_UPWARDS = {
    ("search", "search_history"): "Searcher.restore_from_dir goes on from an experiment's folder",
}

# Imports that close a circle of modules and stay, each with its reason. All of them are inside a function: a method of a public
# class hands out what is made of its object.
ALLOWED_BACKWARDS = {
    ("analysis.experiment_analysis", "analysis.what_if"): "analysis.what_if() gives another analysis, of a simulated run",
    ("analysis.experiment_analysis", "plot"): "analysis.plot are pictures, which take an analysis or the folder of one",
}

# What the table of rooms in docs/architecture.md forbids and floors do not: these modules, and those below them, import none of
# those. Where no room of ours has a name, it is another package's.
ON_ITS_OWN = ("time", "datetime", "threading", "multiprocessing", "subprocess", "concurrent", "asyncio")
MAY_NOT = (
    (("schedulers", "search"), ON_ITS_OWN, "they return decisions, and ask for no clock"),
    (("schedulers", "search"), ("secrets", "uuid"), "their randomness is what they were given"),
    (("storage",), ("trial", "result", "metric_values", "scope", "config", "space"), "it keeps bytes, whatever they mean"),
    (("executors",), ("result", "scope", "config"), "it does not know what a metric means, or who is best"),
    (("tables",), ("engine", "search_history", "follower"), "tables are made of any source of trials, also for the loop"),
    (("engine",), ("search_history", "follower"), "the machine does not know who reads its journal"),
    (("engine.records", "engine.state", "engine.orders", "engine.phases", "engine.meta", "engine.judgements"),
     (*ON_ITS_OWN, "executors"), "what is known of trials is folded from records, which say when"),
    (("engine.virtual",), (*ON_ITS_OWN, "os", "socket", "random", "executors.process", "executors.inline",
      "executors.thread"),
     "virtual time is the same on every machine"),
    (("engine.loop",), ("schedulers", "search", "executors.process", "executors.inline", "executors.thread", "executors.manual"),
     "the loop knows contracts and no kinds"),
    (("dashboard",), ("executors", "resolve", "tuner", "schedulers", "search", "storage.sqlite", "engine.loop"),
     "it reads, and asks for a stop"),
)  # fmt: skip

# Not at module level on floors 0-4: `import fasttune` and the way to the first trial stay light.
# fmt: off
HEAVY = frozenset([
    "numpy", "pandas", "scipy", "sklearn", "matplotlib", "rich", "psutil", "pynvml", "cloudpickle", "sqlite3",
    "asyncio", "multiprocessing", "concurrent", "inspect", "torch", "ray", "optuna",
])
# fmt: on

VAGUE_WORDS = frozenset(["manager", "handler", "helper", "helpers", "util", "utils", "wrapper", "info"])
NAMES_OF_RAY_TUNE = frozenset(["utils"])  # modules that programs import by this name


class Import(NamedTuple):
    target: str  # absolute name of the module, or of the name in it
    line: int
    at_module_level: bool
    only_for_types: bool


def module_files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = ("fasttune", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    """The first name below the package: `schedulers` for schedulers/asha.py, `__init__` for itself."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, with relative ones made absolute."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def walk(node: ast.AST, module_level: bool, types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, module_level, types)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    above = package.split(".")[: len(package.split(".")) - child.level + 1]
                    base = ".".join([*above, base] if base else above)
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}", child.lineno, module_level, types)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child, False, types)
            elif isinstance(child, ast.If) and is_type_checking(child):
                yield from walk(ast.Module(child.body, []), module_level, True)
                yield from walk(ast.Module(child.orelse, []), module_level, types)
            else:
                yield from walk(child, module_level, types)

    return walk(tree_of(path), True, False)


def imported_room(found: Import) -> str | None:
    """The room of ours that an import reaches, or None. `from fasttune import run` reaches the front door."""
    parts = found.target.split(".")
    if parts[0] != "fasttune":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else "__init__"


def test_every_module_has_a_floor() -> None:
    homeless = sorted({room_of(path) for path in module_files()} - set(FLOOR_OF))
    assert not homeless, f"no floor for {homeless}: add it to docs/architecture.md and to FLOORS in this file"


def test_floors_are_those_of_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = {
        int(n): set(re.findall(r"\w+", rest))
        for n, rest in re.findall(r"^floor (\d)(.*)$", page, re.MULTILINE)
    }
    rooms = {room_of(path) for path in module_files()} & set(FLOOR_OF) - {"__init__", "__main__"}
    missing = [
        f"{room} (floor {FLOOR_OF[room]})" for room in sorted(rooms) if room not in listed[FLOOR_OF[room]]
    ]
    assert not missing, f"docs/architecture.md does not list {missing}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page: str) -> None:
    """With the folder that it gives, if it gives one."""
    there = [f"/{path.relative_to(ROOT)}" for path in text_files()]
    named = set(re.findall(r"`([\w/.]+\.(?:py|pxi|pyx|pxd|pyi))`", (ROOT / page).read_text(encoding="utf-8")))
    gone = sorted(name for name in named if not any(path.endswith(f"/{name}") for path in there))
    assert not gone, f"{page} names {gone}"


def test_imports_point_down() -> None:
    broken = []
    for path in module_files():
        here = room_of(path)
        for found in imports_of(path):
            there = imported_room(found)
            if there is None or there == here or found.only_for_types or (here, there) in ALLOWED_UPWARDS:
                continue
            if FLOOR_OF[there] > FLOOR_OF.get(here, 5):  # one without a floor fails its own test
                broken.append(
                    f"{where(path, found.line)}: {here} (floor {FLOOR_OF.get(here)}) imports"
                    f" {found.target} (floor {FLOOR_OF[there]})"
                )
    assert not broken, "imports must point down:\n" + "\n".join(broken)


def test_rooms_do_not_see_each_other() -> None:
    broken = []
    for path in module_files():
        here = room_of(path)
        for found in imports_of(path):
            there = imported_room(found)
            if here in FLOORS[3] and there in FLOORS[3] and here != there and not found.only_for_types:
                broken.append(f"{where(path, found.line)}: {here}/ imports {found.target}")
    assert not broken, (
        "a value is missing that loop.py could carry from one room to the other:\n" + "\n".join(broken)
    )


@functools.cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in module_files()}


@functools.cache
def imported_modules(name: str) -> dict[str, int]:
    """The modules of ours that one imports, anywhere in it but for types alone, and the line in which it first does."""
    found: dict[str, int] = {}
    for one in imports_of(modules()[name]):
        target = one.target if one.target in modules() else one.target.rpartition(".")[0]  # a name in a module
        if not one.only_for_types and target in modules() and target != name:
            found.setdefault(target, one.line)
    return found


def full_name(name: str) -> str:
    """What MAY_NOT and ALLOWED_BACKWARDS call a module: of ours without the name of the package."""
    return f"fasttune.{name}" if name.partition(".")[0] in FLOOR_OF else name


def way(start: str, end: str, without: set[tuple[str, str]]) -> list[str] | None:
    """The shortest way of imports from a module to another one."""
    before: dict[str, str] = {}
    waiting = [start]
    for here in waiting:
        for there in imported_modules(here):
            if there not in before and (here, there) not in without:
                before[there] = here
                waiting.append(there)
    if end not in before:
        return None
    steps = [end]
    while before[steps[-1]] != start:
        steps.append(before[steps[-1]])
    return [start, *reversed(steps)]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not inside functions either: what needs each other is one thing, or a value is missing between the two."""
    allowed = {(full_name(here), full_name(there)) for here, there in ALLOWED_BACKWARDS}
    circles = {frozenset(found): found for name in modules() if (found := way(name, name, allowed))}
    said = [" -> ".join(found) for found in circles.values()]
    assert not said, "these import each other:\n" + "\n".join(said)
    stale = [(here, there) for here, there in allowed if there not in imported_modules(here) or not way(there, here, set())]
    assert not stale, f"no circle is closed by {stale} any more: take it out of ALLOWED_BACKWARDS"


def test_rooms_keep_to_what_they_may_touch() -> None:
    def is_below(name: str, rooms: tuple[str, ...]) -> bool:
        return any(name == room or name.startswith(f"{room}.") for room in map(full_name, rooms))

    broken = []
    for whose, forbidden, reason in MAY_NOT:
        here = [name for name in modules() if is_below(name, whose)]
        assert all(any(is_below(name, (one,)) for name in here) for one in whose), f"no such room: one of {whose}"
        broken += [
            f"{where(modules()[name], found.line)}: {name} imports {found.target}: {reason}"
            for name in here
            for found in imports_of(modules()[name])
            if not found.only_for_types and is_below(found.target, forbidden)
        ]
    assert not broken, "\n".join(broken)


# A model that is made of numpy and scipy throughout may have them at its top; it is imported inside functions then.
MODELS = {"gaussian_process"}


def test_heavy_modules_are_imported_where_they_are_used() -> None:
    broken = []
    for path in module_files():
        if path.stem in MODELS:
            continue
        if FLOOR_OF.get(room_of(path), 5) > 4 and room_of(path) != "__init__":
            continue
        for found in imports_of(path):
            top = found.target.split(".")[0]
            # An adapter is a module named after its library, imported by path only.
            heavy = (top in HEAVY and path.stem != top) or not MODELS.isdisjoint(found.target.split("."))
            if found.at_module_level and not found.only_for_types and heavy:
                broken.append(f"{where(path, found.line)}: {top}: import it inside the function that uses it")
    assert not broken, "\n".join(broken)


def test_import_fasttune_is_light() -> None:
    code = "import sys, fasttune; print(*{name.split('.')[0] for name in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    heavy = (set(out.split()) - set(bare.split())) & HEAVY
    assert not heavy, (
        f"`import fasttune` imports {sorted(heavy)}; python -X importtime -c 'import fasttune' says where"
    )


@functools.cache
def loads(name: str) -> frozenset[str]:
    """The modules of ours that one imports as it is loaded, and the packages that it is in."""
    imports = [one for one in imports_of(modules()[name]) if one.at_module_level and not one.only_for_types]
    parts = name.split(".")
    found = {one.target if one.target in modules() else one.target.rpartition(".")[0] for one in imports}
    return frozenset(found.union(".".join(parts[:n]) for n in range(1, len(parts))) & modules().keys() - {name})


@functools.cache
def loaded_by(name: str) -> frozenset[str]:
    """All of ours that is loaded with a module, without itself."""
    found: set[str] = set()
    waiting = [name]
    for here in waiting:
        new = loads(here) - found
        found |= new
        waiting += new
    return frozenset(found - {name})


def is_loaded_by_its_package(name: str) -> bool:
    """To import it is to import that."""
    parts = name.split(".")
    return any(name in loaded_by(".".join(parts[:n])) for n in range(1, len(parts)))


def loaded_before(name: str) -> str:
    """The module that loads most of what one needs, and not that itself; none: an empty name."""
    candidates = [one for one in loaded_by(name) if name not in loaded_by(one)]
    alone = [one for one in candidates if not is_loaded_by_its_package(one)]
    return max(alone, key=lambda one: (len(loaded_by(one)), one), default="")


ALONE = """
import ast, dataclasses, datetime, enum, importlib, inspect, json, os, pickle, random, socket, sys, tempfile, threading, traceback
import typing
import fasttune._core, fasttune._rules, fasttune._draws
import numpy, pandas, scipy, sklearn, sklearn.base

behind = json.loads(sys.argv[1])

def load(name):
    try:
        importlib.import_module(name)
    except ImportError as error:
        if not name.startswith("fasttune.integration.") or "which is not installed: pip install 'fasttune[" not in str(error):
            raise

def fork(name):
    pid = os.fork()
    return os.waitpid(pid, 0)[1] != 0 if pid else os._exit(visit(name))

def visit(name):
    try:
        load(name)
    except BaseException:
        print(name, traceback.format_exc(), sep=": ", flush=True)
        return 1
    return all_behind(name)

def all_behind(name):  # the last one in this process, which has nothing else to do
    *others, last = behind.get(name) or [None]
    failed = max([fork(one) for one in others], default=False)
    return int(failed or last is not None and visit(last))

sys.exit(all_behind(""))
"""


def test_every_module_imports_alone_without_a_warning() -> None:
    """Each in a fork that has loaded nothing but what it needs, because an import that another module has made hides a missing
    one: it is forked where that has been loaded which loads most of it. What has no modules below it can hide none, and is
    loaded once for all; so is what takes long, of other packages."""
    behind: dict[str, list[str]] = {}
    for name, path in modules().items():
        if path.name != "__main__.py" and not is_loaded_by_its_package(name):
            behind.setdefault(loaded_before(name), []).append(name)
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE, json.dumps(behind)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def public_names(path: Path) -> set[str]:
    """What a package's __init__ offers: what it defines, constants included, and what it imports to re-export."""
    names: set[str] = set()

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names.update(target.id for target in node.targets if isinstance(target, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.ImportFrom) and (
                node.level or (node.module or "").startswith("fasttune")
            ):
                names.update(alias.asname or alias.name for alias in node.names)
            elif is_type_checking(node):
                assert isinstance(node, ast.If)
                visit(node.body)

    visit(tree_of(path).body)
    return {name for name in names if not name.startswith("_")}


def listed_in_all(path: Path) -> tuple[set[str], int] | None:
    """The names in ``__all__`` and its line; None if there is no list that can be read as it stands."""
    for node in tree_of(path).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            try:
                return set(site_module("reference").names_in(node.value, tree_of(path))), node.lineno
            except ValueError:
                return None
    return None


def test_all_lists_exactly_the_public_names_of_each_package() -> None:
    broken = []
    for path in module_files():
        if path.name != "__init__.py" or not (public := public_names(path)):
            continue
        listed = listed_in_all(path)
        if listed is None:
            broken.append(f"{where(path, 1)}: has no literal __all__, but offers {sorted(public)}")
            continue
        names, line = listed
        public -= {
            found.stem for found in path.parent.glob("*.py")
        } - names  # submodules pulled in for their names
        if names - {"__version__"} != public:
            broken.append(
                f"{where(path, line)}: __all__ lacks {sorted(public - names)},"
                f" and lists but does not import {sorted(names - public - {'__version__'})}"
            )
    assert not broken, "\n".join(broken)


def test_every_listed_name_can_be_imported() -> None:
    listed = {
        module_name(path): sorted(found[0]) for path in module_files() if (found := listed_in_all(path))
    }
    code = f"""
import importlib
for module, names in {listed!r}.items():
    there = importlib.import_module(module)
    for name in names:
        if not hasattr(there, name):
            print(f"{{module}}.__all__ lists {{name}}, which it does not have")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout, done.stdout


def test_names_say_what_a_thing_is() -> None:
    broken = []
    for path in module_files():
        names = [] if path.stem in NAMES_OF_RAY_TUNE else [(path.stem, 1)]
        names += [
            (node.name, node.lineno) for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)
        ]
        for name, line in names:
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
            if vague := words & VAGUE_WORDS:
                broken.append(f"{where(path, line)}: {name}: {sorted(vague)} says nothing (docs: Words)")
    assert not broken, "\n".join(broken)


def test_modules_say_what_they_are_for() -> None:
    silent = [
        where(path, 1)
        for path in module_files()
        if path.stat().st_size and not ast.get_docstring(tree_of(path))
    ]
    assert not silent, f"no module docstring: {silent}"


def text_files() -> list[Path]:
    folders = ("src", "tests", "examples", "benchmarks", "docs")
    kinds = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".md", ".c", ".toml"}
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    return sorted([*found, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "setup.py", ROOT / "Makefile"])


def lines_matching(pattern: str, paths: list[Path]) -> list[str]:
    wanted = re.compile(pattern)
    return [
        f"{where(path, number)}: {line.strip()}"
        for path in paths
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if wanted.search(line)
    ]


def test_no_loose_ends() -> None:
    found = lines_matching(r"\b(TODO|FIXME|XXX|HACK)\b", text_files())
    assert not found, "\n".join(found)


def test_no_test_is_skipped() -> None:
    tests = [path for path in text_files() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    found = lines_matching(
        r"pytest\.(skip|xfail|importorskip)\(|mark\.(skip|skipif|xfail)\b|unittest\.skip", tests
    )
    assert not found, "\n".join(found)


def test_C_memory_is_taken_in_one_place() -> None:
    """There a debug build counts it; what Python's own functions give is given back to Python."""
    parts = [path for path in text_files() if path.suffix in (".pxi", ".pyx") and path.name != "memory.pxi"]
    found = lines_matching(r"(?<![\w.])(PyMem_\w+|PyObject_(Malloc|Free)|[mc]alloc|realloc|free)\(", parts)
    assert [line.partition(": ")[2] for line in found] == ["PyMem_Free(text)"], "\n".join(found)


def test_make_test_draws_few_examples_and_make_test_all_many() -> None:
    """How many is said by ``rounds``, or they would be the same ones in both."""
    tests = [path for path in text_files() if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")]
    found = lines_matching(r"max_examples=(?!rounds[.(])", [path for path in tests if path != Path(__file__)])
    assert not found, "\n".join(found)
    assert max(rounds.rounds(most) for most in (1, 100, 1000, 10_000, 10**9)) <= rounds.MOST or rounds.ALL


def test_every_mark_is_run_by_a_target() -> None:
    """What `make test` leaves out for its mark is in the folders that a target of the Makefile runs with that mark."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    marks = re.findall(r"not (\w+)", next(line for line in makefile.splitlines() if line.startswith("ELSEWHERE")))
    for mark in marks:
        paths = [path for found in re.findall(rf"-m {mark} ((?:tests\S* ?)+)", makefile) for path in found.split()]
        named = re.compile(rf"mark\.{mark}\b")
        tests = [path for path in (ROOT / "tests").rglob("*.py") if named.search(path.read_text(encoding="utf-8"))]
        assert tests, mark
        assert [str(path) for path in tests if not any(path.is_relative_to(ROOT / one) for one in paths)] == []


def test_no_paths_of_one_machine() -> None:
    found = lines_matching(r"(?<![\w.}])/(work|root|home/\w+)/", text_files())
    assert not found, "\n".join(found)


def test_no_two_files_of_tests_have_one_name() -> None:
    """Workers import what a test defines by the name of its file."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("conftest.py", "__init__.py", "__main__.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_no_two_classes_have_one_name() -> None:
    """Who reads ``Table`` looks for it once. Libraries that we plug into have names for the same callback, which stay."""
    found: dict[str, list[str]] = {}
    for path in SOURCE.rglob("*.py"):
        if "integration" in path.parts:
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert not twice
