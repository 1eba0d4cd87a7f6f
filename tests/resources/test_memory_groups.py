"""Control groups for workers, against a pretended kernel that has the rules of cgroup v2 (admin-guide/cgroup-v2)."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fasttune.devices import memory_groups
from fasttune.devices.memory_groups import OURS, MemoryGroups, open_groups

MIB = 1 << 20
HOME = "sys/fs/cgroup/user/scope"


class Kernel:
    """Groups by their folders: who lives there, what is written, which controllers those below have.

    A folder of the real file system stands for each, so that ``os.access`` and ``os.path.isdir`` answer.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.procs, self.files = root, dict[str, list[int]](), dict[tuple[str, str], str]()
        self.kills: dict[str, int] = {}
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text("0::/user/scope\n")
        self.home = self.folder(HOME, "cpu memory pids")
        real_mkdir, real_rmdir = os.mkdir, os.rmdir
        monkeypatch.setattr(memory_groups, "_write", self.write)
        monkeypatch.setattr(memory_groups, "read", self.read)
        monkeypatch.setattr(memory_groups, "descends_from", lambda pid, ancestors: pid < 1000)
        self.delegated = True
        monkeypatch.setattr(memory_groups, "_is_delegated", lambda folder: self.delegated and folder == self.home)

        def mkdir(path: str, mode: int = 0o777) -> None:
            real_mkdir(path, mode)
            if path.startswith(self.home):
                self.folder(os.path.relpath(path, root), self.files[self.home, "cgroup.subtree_control"])

        def rmdir(path: str) -> None:
            if path in self.procs:
                if self.procs[path] or self.children(path):
                    raise OSError(errno.EBUSY, "populated", path)
                for one in Path(path).iterdir():
                    one.unlink()
                del self.procs[path]
            real_rmdir(path)

        monkeypatch.setattr(os, "mkdir", mkdir)
        monkeypatch.setattr(os, "rmdir", rmdir)

    def folder(self, name: str, controllers: str) -> str:
        path = str(self.root / name)
        os.makedirs(path, exist_ok=True)
        self.procs[path] = []
        self.files[path, "cgroup.controllers"] = controllers
        self.files[path, "cgroup.subtree_control"] = ""
        for file in ("cgroup.procs", "cgroup.subtree_control"):
            Path(path, file).touch()
        return path

    def children(self, path: str) -> list[str]:
        return [one for one in self.procs if os.path.dirname(one) == path]

    def read(self, folder: str, name: str) -> str:
        if name == "cgroup.procs":
            return "\n".join(map(str, self.procs.get(folder, [])))
        if name == "memory.events":
            return f"low 0\nmax 9\noom 1\noom_kill {self.kills.get(folder, 0)}\noom_group_kill 0"
        return self.files.get((folder, name), "")

    def write(self, folder: str, name: str, text: str) -> None:
        if folder not in self.procs:
            raise FileNotFoundError(errno.ENOENT, "no group", folder)
        if name == "cgroup.procs":
            if self.files[folder, "cgroup.subtree_control"]:
                raise OSError(errno.EBUSY, "no internal processes", folder)
            for held in self.procs.values():
                if int(text) in held:
                    held.remove(int(text))
                    self.procs[folder].append(int(text))
                    return
            raise ProcessLookupError(errno.ESRCH, "no process", text)
        if name == "cgroup.subtree_control":
            if text[0] == "+" and self.procs[folder]:
                raise OSError(errno.EBUSY, "no internal processes", folder)
            self.files[folder, name] = text[1:] if text[0] == "+" else ""
            return
        if name.startswith("memory.") and "memory" not in self.files[folder, "cgroup.controllers"].split():
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        self.files[folder, name] = text

    def group_of(self, pid: int) -> str | None:
        return next((os.path.basename(path) for path, held in self.procs.items() if pid in held), None)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path, monkeypatch)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    made.procs[made.home] = [7, 8]  # this process, and the server of workers
    return made


def opened(kernel: Kernel) -> MemoryGroups:
    groups = open_groups(str(kernel.root))
    assert groups is not None
    return groups


def test_each_worker_has_a_limit_of_its_own_and_all_is_as_before_at_the_end(kernel: Kernel) -> None:
    groups = opened(kernel)
    assert kernel.group_of(7) == kernel.group_of(8) == f"{OURS}7"
    kernel.procs[f"{kernel.home}/{OURS}7"] += [20, 21]  # forked there
    for worker in (20, 21):
        groups.hold(worker, 512 * MIB)
        folder = f"{kernel.home}/{OURS}worker-{worker}"
        assert kernel.procs[folder] == [worker]
        assert kernel.files[folder, "memory.max"] == str(544 * MIB)
        assert kernel.files[folder, "memory.oom.group"] == "1"
    groups.hold(20, 1024 * MIB)
    assert kernel.files[f"{kernel.home}/{OURS}worker-20", "memory.max"] == str(1088 * MIB)
    kernel.procs[f"{kernel.home}/{OURS}worker-20"].clear()
    kernel.kills[f"{kernel.home}/{OURS}worker-20"] = 3
    assert groups.forget(20)
    assert not groups.forget(21)  # it lives still
    assert not groups.forget(99)
    groups.close()
    assert list(kernel.procs) == [kernel.home]
    assert sorted(kernel.procs[kernel.home]) == [7, 8, 21]
    assert kernel.files[kernel.home, "cgroup.subtree_control"] == ""


def test_runs_of_one_process_share_them(kernel: Kernel) -> None:
    first, second = opened(kernel), opened(kernel)
    assert first is second
    first.close()
    kernel.procs[f"{kernel.home}/{OURS}7"].append(20)
    second.hold(20, MIB)
    assert kernel.group_of(20) == f"{OURS}worker-20"
    second.close()
    assert sorted(kernel.procs[kernel.home]) == [7, 8, 20]


def no_controller(kernel: Kernel) -> None:
    kernel.files[kernel.home, "cgroup.controllers"] = "cpu pids"


def a_shell(kernel: Kernel) -> None:
    kernel.procs[kernel.home].append(5000)


def not_delegated(kernel: Kernel) -> None:
    """As in a container: what a killed driver leaves would be in the way of whoever comes in."""
    kernel.delegated = False


def of_version_1(kernel: Kernel) -> None:
    (kernel.root / "proc/self/cgroup").write_text("4:memory:/user/scope\n")


@pytest.mark.parametrize("how", [no_controller, a_shell, not_delegated, of_version_1])
def test_a_group_that_is_not_this_processs_alone_is_left_as_it_is(
    kernel: Kernel, how: Callable[[Kernel], None]
) -> None:
    how(kernel)
    before = {path: list(held) for path, held in kernel.procs.items()}
    assert open_groups(str(kernel.root)) is None
    assert kernel.procs == before


def test_a_group_that_this_user_may_not_write_is_left_as_it_is(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert open_groups(str(kernel.root)) is None


def test_the_groups_root_is_divided_as_it_is(kernel: Kernel) -> None:
    """The machine's own group may have processes and others below it; nobody is moved but workers."""
    kernel.delegated = False
    kernel.files[kernel.home, "cgroup.subtree_control"] = "memory"
    kernel.procs[kernel.home] = [7, 5000]
    kernel.procs[kernel.folder(f"{HOME}/other", "memory")] = [20]
    groups = opened(kernel)
    groups.hold(20, MIB)
    assert kernel.group_of(7) == "scope"
    assert kernel.group_of(20) == f"{OURS}worker-20"
    kernel.procs[f"{kernel.home}/{OURS}worker-20"].clear()
    groups.close()
    assert set(kernel.procs) == {kernel.home, f"{kernel.home}/other"}


def test_what_a_killed_driver_left_is_removed_and_who_lives_is_not(kernel: Kernel) -> None:
    kernel.folder(f"{HOME}/{OURS}worker-3", "memory")
    living = kernel.folder(f"{HOME}/{OURS}worker-4", "memory")
    kernel.procs[living] = [4]
    groups = opened(kernel)
    assert living in kernel.procs
    assert f"{kernel.home}/{OURS}worker-3" not in kernel.procs
    groups.close()
    assert kernel.procs[living] == [4]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_fails_nothing_is_lost(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The kernel refuses at random: every process still is in some group, and no call raises."""
    chance = random.Random(seed)
    real = kernel.write

    def write(folder: str, name: str, text: str) -> None:
        if chance.random() < 0.3:
            raise OSError(errno.EBUSY, "not now")
        real(folder, name, text)

    monkeypatch.setattr(memory_groups, "_write", write)
    for _ in range(30):
        groups = open_groups(str(kernel.root))
        if groups is not None:
            for worker in range(20, 24):
                next(held for held in kernel.procs.values() if 7 in held).append(worker)
                groups.hold(worker, chance.randrange(1, 9) * MIB)
                groups.forget(worker)
            groups.close()
        everybody = [pid for held in kernel.procs.values() for pid in held]
        assert {7, 8} <= set(everybody)
        assert len(everybody) == len(set(everybody))
        for held in kernel.procs.values():  # workers end with their run
            held[:] = [pid for pid in held if pid < 20]
        (kernel.root / "proc/self/cgroup").write_text(
            "0::"
            + next(path for path, held in kernel.procs.items() if 7 in held).removeprefix(
                f"{kernel.root}/sys/fs/cgroup"
            )
            + "\n"
        )
