"""A program of ``forks`` sees of its process what one of a new interpreter sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fork_server
import forks

Run = Callable[..., subprocess.CompletedProcess[Any]]

SAYS = r"""
import json, os, pathlib, re, signal, sys, threading, warnings
main = sys.modules["__main__"]
status = pathlib.Path("/proc/self/status").read_text().splitlines()
print(json.dumps({
    "argv": sys.argv,
    "orig_argv": sys.orig_argv[1:],
    "path": sys.path,
    "main": {name: re.sub("0x[0-9a-f]+", "", repr(getattr(main, name, "none")))
             for name in ("__name__", "__file__", "__spec__", "__package__", "__cached__")},
    "globals": sorted(name for name in globals() if name.startswith("__")),
    "is main": main is sys.modules[__name__] and vars(main) is globals(),
    "loader": type(__loader__).__name__ if not isinstance(__loader__, type) else __loader__.__name__,
    "environ": dict(os.environ),
    "proc environ": sorted(part for part in pathlib.Path("/proc/self/environ").read_text().split("\0") if part),
    "cwd": os.getcwd(),
    "umask": [line for line in status if line.startswith("Umask")],
    "signals": {int(n): repr(signal.getsignal(n)) for n in signal.valid_signals() if signal.getsignal(n) is not signal.SIG_DFL},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "threads": [threading.current_thread().name, threading.active_count(), len(os.listdir("/proc/self/task"))],
    "files": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "streams": [[s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.isatty(), s is getattr(sys, f"__{name}__")]
                for name in ("stdin", "stdout", "stderr") for s in [getattr(sys, name)]],
    "stdin": sys.stdin.read(),
    "parent": os.getppid(),
    "groups": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.getsid(0) == os.getsid(os.getppid())],
    "warnings": [sys.warnoptions, [f[0] for f in warnings.filters if f[0] == "error"]],
    "affinity": sorted(os.sched_getaffinity(0)),
    "here": __name__,
}))
"""


def said(run: Run, words: list[str], folder: Path, **more: Any) -> dict[str, Any]:
    environ = {**os.environ, "PYTHONPATH": f"{forks.SOURCE}{os.pathsep}{folder}", "A": "é", "EMPTY": ""}
    done = run([sys.executable, *words], cwd=folder, env=environ, capture_output=True, text=True, **more)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "words",
    [["script.py", "a", "b c"], ["-W", "error", "below/script.py"], ["-c", SAYS, "-x"], ["-m", "script", "more"]],
    ids=["script", "warnings", "-c", "-m"],
)
@pytest.mark.parametrize("more", [{}, {"start_new_session": True}, {"process_group": 0, "umask": 0o027}], ids=str)
def test_it_sees_what_a_new_interpreter_shows(words: list[str], more: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for place in ("script.py", "below/script.py"):
        (tmp_path / place).write_text(SAYS)
    new, fork = (said(run, words, tmp_path, input="of standard input\n", **more) for run in (subprocess.run, forks.run))
    for number in (*fork_server.AS_A_TERMINAL_STARTS_IT, signal.SIGINT):  # ignored where these tests run in the background
        for seen in (new, fork):
            seen["signals"].pop(str(int(number)), None)
    assert fork.pop("parent") == new.pop("parent") == os.getpid()
    assert fork == new


FAILS = """
import sys

def divided():
    return 1 / 0

%s
"""


@pytest.mark.parametrize(
    "end",
    ["divided()", "raise SystemExit(7)", "sys.exit('no more')", "sys.exit()", "raise KeyboardInterrupt",
     "import os; os.kill(os.getpid(), 9)", "sys.excepthook = lambda *a: print('hooked', a[0])\ndivided()",
     "try:\n    divided()\nexcept ArithmeticError as e:\n    raise ValueError from e",
     "import atexit, threading\natexit.register(print, 'last')\nthreading.Thread(target=print, args=('first',)).start()",
     "kept = open('file', 'w'); kept.write('written')", "print('é', end=''); sys.stderr.write('half a line')", "def (",
     "class Late:\n    def __del__(self):\n        print('taken apart')\nkept = Late()"],
)  # fmt: skip
def test_it_ends_as_a_new_interpreter_does(end: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FAILS % end)
    both = []
    for run in (subprocess.run, forks.run):
        done = run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
        file = tmp_path / "file"
        both.append((done.returncode, done.stdout, done.stderr, file.read_text() if file.exists() else None))
        file.unlink(missing_ok=True)
    assert both[0] == both[1]


def test_it_is_a_child_that_can_be_waited_for_and_killed() -> None:
    program = "import time; print('up', flush=True); time.sleep(600)"
    with forks.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM


def test_it_is_killed_where_it_takes_too_long() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run([sys.executable, "-c", "import time; time.sleep(600)"], timeout=0.01)


def test_one_that_hangs_shows_where() -> None:
    done = forks.run([sys.executable, "-c", "import time\ntime.sleep(600)"], hangs_after=0.01, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'File "<string>", line 2 in <module>' in done.stderr


def test_it_begins_when_it_has_been_placed(tmp_path: Path) -> None:
    def placed(pid: int) -> None:
        (tmp_path / "placed").write_text(str(pid))

    done = forks.run([sys.executable, "-c", "print(open('placed').read())"], cwd=tmp_path, placed=placed, capture_output=True)
    assert int(done.stdout) > 0


def test_none_draws_what_another_one_draws() -> None:
    draws = "import random, numpy; print(random.random(), numpy.random.random())"
    drawn = [forks.run([sys.executable, "-c", draws], capture_output=True, text=True).stdout.split() for _ in range(2)]
    assert len({*drawn[0], *drawn[1]}) == 4


def test_a_file_that_it_is_given_is_there() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader) as file:
        forks.run([sys.executable, "-c", f"import os; os.write({writer}, b'by its number')"], pass_fds=[writer], check=True)
        os.close(writer)
        assert file.read() == "by its number"


@pytest.mark.parametrize(
    ("words", "more"),
    [(["-X", "dev", "-c", ""], {}), (["-c", ""], {"env": {"PYTHONHASHSEED": "1"}}), (["-c", ""], {"env": {"LD_PRELOAD": "x"}}),
     (["-c", ""], {"preexec_fn": time.time})],
)  # fmt: skip
def test_what_needs_a_new_interpreter_is_refused(words: list[str], more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="use subprocess"):
        forks.run([sys.executable, *words], **more)


def test_a_server_that_has_died_is_told_and_replaced() -> None:
    process = forks.server().process
    process.kill()
    process.wait()
    with pytest.raises(RuntimeError, match="the fork server has died: -9"):
        forks.run([sys.executable, "-c", ""])
    assert forks.run([sys.executable, "-c", ""]).returncode == 0


def test_it_has_its_environment_when_it_is_there() -> None:
    """Who kills all that have a mark finds it."""
    for k in range(20):
        process = forks.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, "MARKED": f"by {k}"})
        assert f"MARKED=by {k}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        process.kill()
        process.wait()


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["lines", "unbuffered"])
@pytest.mark.parametrize("popen", [subprocess.Popen, forks.Popen])
def test_what_it_says_is_there_at_once(popen: Any, variables: dict[str, str]) -> None:
    """A line of standard error, and without a buffer all else; it waits behind it for an answer."""
    program = "import sys; print('out', flush=True); print('error', file=sys.stderr); input(); print('end', end='')"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | variables
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with popen([sys.executable, "-c", program], env=environ, text=True, **pipes) as process:
        assert process.stderr.readline() == "error\n"
        assert process.stdout.readline() == "out\n"
        assert process.communicate("go on\n") == ("end", "")


def test_a_child_of_the_test_has_nothing_of_the_server() -> None:
    forks.server()
    pid = os.fork()
    if pid == 0:
        os._exit(len(forks.pids()))
    assert os.waitpid(pid, 0)[1] == 0
