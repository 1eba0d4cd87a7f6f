"""What is large in a trainable lies in memory once, for all workers; nothing of it is left, however a run ends."""

from __future__ import annotations

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fasttune as tune
import forks
from fasttune.error import TuneError
from fasttune.executors import program_file
from fasttune.executors.program_file import ProgramFile, nameless_file
from fasttune.out_of_band import SMALLEST, Buffers, load
from fasttune.script import by_value

N = 2 * SMALLEST // 8  # numbers of an array that is shared
SOURCE = Path(tune.__file__).resolve().parent.parent
PATIENCE_S = 60.0
GLOBAL = np.arange(N, dtype=float)


def owner(array: Any) -> str:
    """What kind of object an array's values lie in."""
    array = np.asarray(array)
    while isinstance(array, np.ndarray):
        array = array.base
    return type(array.obj if isinstance(array, memoryview) else array).__name__


def travelled(value: Any, **more: Any) -> tuple[Any, ProgramFile]:
    """The value as a worker gets it."""
    buffers = Buffers(**more)
    file = ProgramFile(by_value(value, buffers=buffers), buffers.kept)
    return load(file.places, pickle.loads), file


# -- values ---------------------------------------------------------------------------------------------------------------


def an_array(rng: random.Random, folder: Path) -> np.ndarray:
    """Of a random kind: type, shape, order, whether it is in one piece, writable, mapped."""
    dtype = rng.choice(["f8", "f4", "i2", "?", "M8[s]", "c16", "S5", "U3", [("a", "i4"), ("b", "f8")]])
    shape = tuple(rng.randint(0, 40) for _ in range(rng.randint(0, 3)))
    count = int(np.prod(shape))
    drawn = np.frombuffer(rng.randbytes(16 * count), dtype="u1").reshape(count, 16)
    numbers = np.array([int(row[0]) for row in drawn], dtype="i8")
    array = (numbers.astype("i4").astype(dtype) if isinstance(dtype, list) else numbers.astype(dtype)).reshape(shape)
    how = rng.randrange(6)
    if how == 1:
        array = np.asfortranarray(array)
    elif how == 2 and array.ndim:
        array = array[::2]
    elif how == 3 and array.ndim > 1:
        array = array[:, 1::3]
    elif how == 4:
        array.flags.writeable = False
    elif how == 5 and array.nbytes:
        path = folder / f"{rng.random()}.npy"
        np.save(path, array)
        array = np.load(path, mmap_mode=rng.choice(["r", "r+", "c"]))
    return array


def a_value(rng: random.Random, folder: Path, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 3 else 4)
    if kind < 3:
        return an_array(rng, folder)
    if kind == 3:
        return rng.choice([None, 3, "text", b"bytes", 2.5])
    parts = [a_value(rng, folder, depth + 1) for _ in range(rng.randint(0, 4))]
    if kind == 4:
        return parts
    if kind == 5:
        return tuple(parts)
    if kind == 6:
        return {f"k{i}": part for i, part in enumerate(parts)}
    return SimpleNamespace(parts=parts, again=parts[:1])


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.flags.writeable or not expected.flags.writeable  # a copy may be writable where what is copied is not
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    elif isinstance(expected, SimpleNamespace):
        assert_same(found.parts, expected.parts)
        assert len(found.again) == len(expected.again)
        if expected.again and isinstance(expected.again[0], np.ndarray):
            assert found.again[0] is found.parts[0]
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        assert_same(list(found.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("smallest", [0, 500, SMALLEST])
@pytest.mark.parametrize("seed", range(30))
def test_values_are_what_they_were(tmp_path: Path, seed: int, smallest: int) -> None:
    value = a_value(random.Random(seed), tmp_path)
    found, file = travelled(value, smallest=smallest)
    assert_same(found, value)
    file.close()
    file.close()
    assert_same(found, value)  # what is mapped stays


def test_a_frame_is_mapped_but_for_its_objects() -> None:
    frame = pd.DataFrame({
        "a": GLOBAL, "b": GLOBAL + 1, "when": pd.date_range("2020", periods=N, freq="s"),
        "kind": pd.Categorical.from_codes(np.arange(N) % 300, [f"k{i}" for i in range(300)]), "text": ["x"] * N,
    })  # fmt: skip
    (found, part, column), file = travelled((frame, frame.iloc[100 : N - 100], frame["a"]))
    pd.testing.assert_frame_equal(found, frame)
    pd.testing.assert_frame_equal(part, frame.iloc[100 : N - 100])
    for one in (found["a"], found["b"], found["when"], part["b"], column):
        assert owner(one.to_numpy()) == "mmap"
    assert owner(found["kind"].cat.codes.to_numpy()) != "ndarray"
    file.close()


def test_what_is_small_stays_in_the_pickle() -> None:
    found, file = travelled([np.zeros(SMALLEST // 8 - 1), np.zeros(SMALLEST // 8)])
    assert [owner(one) for one in found] == ["bytearray", "mmap"]
    assert len(file.places) == 2
    file.close()


def test_who_writes_writes_into_a_copy() -> None:
    array = np.zeros(N)
    buffers = Buffers()
    file = ProgramFile(by_value(array, buffers=buffers), buffers.kept)
    one, other = (load(file.places, pickle.loads) for _ in range(2))
    one[0] = 1.0
    assert (array[0], other[0], load(file.places, pickle.loads)[0]) == (0.0, 0.0, 0.0)
    fixed = load(file.places, pickle.loads, writable=False)
    with pytest.raises(ValueError, match="read-only"):
        fixed[0] = 1.0
    file.close()


# -- where it lies --------------------------------------------------------------------------------------------------------


def place(file: ProgramFile) -> str:
    """What the system calls the file that the buffers lie in."""
    return os.readlink(f"/proc/self/fd/{file._fd}")


def test_it_lies_in_memory_or_on_the_disk_if_that_is_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = memoryview(GLOBAL)
    for free, expected in ((2 * array.nbytes + 10**6, "/memfd:"), (array.nbytes, str(tmp_path))):
        monkeypatch.setattr(program_file, "free_memory", lambda free=free: free)
        file = ProgramFile(b"head", [array], str(tmp_path))
        assert place(file).startswith(expected)
        assert place(file).endswith(" (deleted)")
        assert os.listdir(tmp_path) == []
        file.close()


def test_a_pickle_alone_asks_for_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_file, "free_memory", lambda: pytest.fail("it was asked for"))
    ProgramFile(b"head").close()


def full(name: str = "") -> int:
    """A file that has no room for anything."""
    return os.open("/dev/full", os.O_RDWR)


def test_without_room_in_memory_it_lies_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_file, "anonymous_file", full)
    file = ProgramFile(pickle.dumps(1), [memoryview(GLOBAL)], str(tmp_path))
    assert place(file).startswith(str(tmp_path))
    file.close()


def test_without_any_room_the_run_is_refused_and_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_file, "anonymous_file", full)
    monkeypatch.setattr(program_file, "nameless_file", full)
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TuneError, match=r"no room for the 2 MiB that the workers share .* nor in .*No space left.*storage_path="):
        ProgramFile(b"head", [memoryview(GLOBAL)], str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == opened


def test_another_failure_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_file, "free_memory", lambda: 0)
    with pytest.raises(OSError, match="gone") as caught:
        ProgramFile(b"head", [memoryview(GLOBAL)], str(tmp_path / "gone"))
    assert caught.value.errno == errno.ENOENT


def test_where_files_cannot_be_nameless_from_the_start_they_lose_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    fd = nameless_file(str(tmp_path))
    assert os.fstat(fd).st_nlink == 0
    assert os.listdir(tmp_path) == []
    os.close(fd)


def test_without_room_for_copies_it_can_only_be_read(tmp_path: Path) -> None:
    """In a process of its own, whose data may not be large: a private mapping counts, one that is only read does not."""
    array = np.zeros(64 * SMALLEST // 8)
    buffers = Buffers()
    file = ProgramFile(by_value(array, buffers=buffers), buffers.kept)
    code = f"""
        import pickle, resource
        import numpy as np
        from fasttune.out_of_band import Place, load
        with open("/proc/self/status") as status:
            data = next(int(line.split()[1]) for line in status if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (data * 1024 + 2**25,) * 2)
        array = load([Place(*place) for place in {[tuple(place) for place in file.places]!r}], pickle.loads)
        print(array.nbytes, array.flags.writeable)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    file.close()
    assert done.stdout.split() == [str(array.nbytes), "False"], done.stderr


# -- files that are mapped already ----------------------------------------------------------------------------------------


def test_what_is_mapped_from_a_file_stays_there(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", GLOBAL)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    (whole, rows, plain), file = travelled((mapped, mapped[1000:], np.asarray(mapped)))
    assert not [one for one in file.places[1:] if one.path == file.path]
    os.unlink(tmp_path / "x.npy")  # it is held open
    again = load(file.places, pickle.loads)
    for one, expected in zip((whole, rows, plain, *again), 2 * (GLOBAL, GLOBAL[1000:], GLOBAL), strict=True):
        np.testing.assert_array_equal(one, expected)
        assert not one.flags.writeable
    assert isinstance(whole, np.memmap)
    file.close()


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_what_can_be_written_to_through_its_mapping_is_taken_as_it_is_now(tmp_path: Path, mode: Any) -> None:
    np.save(tmp_path / "x.npy", GLOBAL)
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    found, file = travelled(mapped)
    mapped[:] = -1.0
    np.testing.assert_array_equal(found, GLOBAL)
    np.testing.assert_array_equal(load(file.places, pickle.loads), GLOBAL)
    file.close()


def test_a_file_whose_name_another_one_has_is_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", GLOBAL)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.save(tmp_path / "y.npy", GLOBAL + 1)
    os.replace(tmp_path / "y.npy", tmp_path / "x.npy")
    found, file = travelled(mapped)
    np.testing.assert_array_equal(found, GLOBAL)
    assert file.places[1].path == file.path
    file.close()


# -- runs -----------------------------------------------------------------------------------------------------------------


def with_argument() -> Any:
    def train(config: dict[str, Any], data: Any) -> None:
        tune.report(mapped=owner(data["x"][0]), total=float(data["x"][0].sum()), pid=os.getpid())

    return tune.with_parameters(train, data={"x": [GLOBAL.copy()]})


def with_closure() -> Any:
    array = GLOBAL.copy()

    def train(config: dict[str, Any]) -> None:
        tune.report(mapped=owner(array), total=float(array.sum()), pid=os.getpid())

    return train


def with_class() -> Any:
    class Steps(tune.Trainable):
        def setup(self, config: dict[str, Any], data: Any = None) -> None:
            self.data = data

        def step(self) -> dict[str, Any]:
            return {"mapped": owner(self.data), "total": float(self.data.sum()), "pid": os.getpid(), "done": True}

    return tune.with_parameters(Steps, data=GLOBAL.copy())


def with_partial() -> Any:
    def train(config: dict[str, Any], data: Any) -> None:
        tune.report(mapped=owner(data), total=float(data.sum()), pid=os.getpid())

    return partial(train, data=GLOBAL.copy())


def with_columns() -> Any:
    @tune.vectorized(size=1)
    def train(configs: Any, data: Any) -> Any:
        return {"mapped": np.array([owner(data) == "mmap"]), "total": np.array([data.sum()]), "pid": np.array([os.getpid()])}

    return tune.with_parameters(train, data=GLOBAL.copy())


FORMS = [with_argument, with_closure, with_class, with_partial]


def run(trainable: Any, folder: Path, **more: Any) -> Any:
    told = {"config": {"x": tune.uniform(0, 1)}, "num_samples": 4, "storage_path": str(folder), "verbose": 0, "executor": "process"}
    return tune.run(trainable, **{**told, **more})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("on_disk", [False, True])
def test_workers_map_what_the_trainable_holds(
    tmp_path: Path, form: Callable[[], Any], on_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_disk:
        monkeypatch.setattr(program_file, "free_memory", lambda: 0)
    analysis = run(form(), tmp_path, worker_max_trials=1)  # each trial has a worker that begins anew
    results = [trial.last_result for trial in analysis.trials]
    assert {(one["mapped"], one["total"]) for one in results} == {("mmap", float(GLOBAL.sum()))}
    assert len({one["pid"] for one in results}) == 4


def test_vectors_in_workers_map_it_too(tmp_path: Path) -> None:
    analysis = run(with_columns(), tmp_path)
    results = [trial.last_result for trial in analysis.trials]
    assert {(one["mapped"], one["total"]) for one in results} == {(1.0, float(GLOBAL.sum()))}
    assert os.getpid() not in {one["pid"] for one in results}


def test_trials_in_this_process_get_the_objects_themselves(tmp_path: Path) -> None:
    array = GLOBAL.copy()

    def train(config: dict[str, Any], data: Any) -> None:
        tune.report(same=float(data is array))

    analysis = run(tune.with_parameters(train, data=array), tmp_path, executor="inline")
    assert {trial.last_result["same"] for trial in analysis.trials} == {1.0}


def test_a_trial_may_write_into_its_array(tmp_path: Path) -> None:
    array = np.zeros(N)

    def train(config: dict[str, Any], data: Any) -> None:
        before = float(data[0])
        data[0] = 1.0
        tune.report(before=before)

    analysis = run(tune.with_parameters(train, data=array), tmp_path, worker_max_trials=1)
    assert {trial.last_result["before"] for trial in analysis.trials} == {0.0}
    assert array[0] == 0.0


def test_workers_of_another_server_map_it_too(tmp_path: Path) -> None:
    here = str(tmp_path / "killed")

    def train(config: dict[str, Any], data: Any) -> None:
        if not os.path.exists(here):
            open(here, "w").close()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(PATIENCE_S)
        tune.report(mapped=owner(data), total=float(data.sum()))

    with pytest.warns(RuntimeWarning, match="was killed by SIGKILL"):
        analysis = run(tune.with_parameters(train, data=GLOBAL.copy()), tmp_path, max_failures=1)
    assert {trial.last_result["total"] for trial in analysis.trials} == {float(GLOBAL.sum())}
    assert {trial.last_result["mapped"] for trial in analysis.trials} == {"mmap"}


KILLED = """
    import os, sys, time
    import numpy as np
    import fasttune as tune
    from fasttune.executors import program_file

    folder, on_disk, waits = sys.argv[1], sys.argv[2] == "disk", sys.argv[3] == "waits"
    if on_disk:
        program_file.free_memory = lambda: 0

    def train(config, data):
        tune.report(total=float(data.sum()))
        if waits:
            open(f"{folder}/pid{os.getpid()}", "w").close()
            time.sleep(600)

    if __name__ == "__main__":
        analysis = tune.run(
            tune.with_parameters(train, data=np.arange(1e6)), name="killed", num_samples=2, storage_path=folder, verbose=0,
            resume="AUTO", executor="process", max_concurrent_trials=2, resources_per_trial={"cpu": 0.5},
        )
        print(sorted(trial.last_result["total"] for trial in analysis.trials), {trial.status for trial in analysis.trials})
"""


def open_files(folder: Path) -> list[str]:
    """Files without a name, of programs in memory or in this folder, that some process has open or mapped."""
    found = []
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(fd)
        except OSError:  # gone meanwhile
            continue
        if target.startswith(str(folder)):
            found.append(f"{fd} {target}")
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            found += [f"{maps} {line}" for line in maps.read_text().splitlines() if str(folder) in line]
        except OSError:
            continue
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_nothing_is_left_of_it_when_the_driver_is_killed(tmp_path: Path, where: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    environ = {**os.environ, "PYTHONPATH": str(SOURCE)}

    def command(waits: str) -> list[str]:
        return [sys.executable, str(script), str(tmp_path), where, waits]

    driver = forks.Popen(command("waits"), env=environ)
    until(lambda: len(list(tmp_path.glob("pid*"))) == 2 or driver.poll() is not None)
    workers = [path.name.removeprefix("pid") for path in tmp_path.glob("pid*")]
    mapped = Path(f"/proc/{workers[0]}/maps").read_text()
    assert ("/memfd:fasttune-program" if where == "memory" else f"{tmp_path}/killed/") in mapped
    driver.kill()
    driver.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    until(lambda: not open_files(tmp_path))
    names = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not {name for name in names if name.startswith((".shared", "#", "tmp"))}, names
    done = forks.run(command("goes on"), env=environ, capture_output=True, text=True, check=True)  # which is given it again
    assert done.stdout.strip() == f"{[float(np.arange(1e6).sum())] * 2} {{'TERMINATED'}}"


