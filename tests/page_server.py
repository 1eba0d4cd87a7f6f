"""Runs programs one after the other, each in a process of its own that begins as a new interpreter would.

    python -W error tests/page_server.py

Each line of standard input asks for one: ``["script.py", "folder", "results folder"]``. The answer is a line with the script
and its exit status; what it printed lies in ``folder/printed.txt``. A process is forked from this one, which has loaded what
nearly all programs load: a fraction of the work of a new interpreter. The program itself starts with an empty ``__main__``.
One that does not come to its end is ended, and the stacks of its threads are in what it printed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import types
from typing import Never

HANGS_AFTER = 120  # seconds; a program of a page takes one or two
PRELOADED = ("numpy", "pandas", "rich", "fasttune.tuner", "fasttune.engine.loop", "fasttune.analysis")


def main() -> None:
    for name in PRELOADED:
        __import__(name)
    for line in sys.stdin:
        script, folder, results = json.loads(line)
        child = os.fork()
        if child == 0:
            run(script, folder, results)
        _, status = os.waitpid(child, 0)
        print(json.dumps([script, os.waitstatus_to_exitcode(status)]), flush=True)


def run(script: str, folder: str, results: str) -> Never:
    """The program as ``python script.py`` in ``folder`` runs it; its exceptions leave this process as they leave that."""
    os.chdir(folder)
    os.environ["FASTTUNE_RESULTS_DIR"] = results
    for descriptor, name, flags in ((0, os.devnull, os.O_RDONLY), (1, "printed.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)):
        opened = os.open(name, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    sys.argv[:] = [script]
    sys.path[0] = folder
    program = types.ModuleType("__main__")
    program.__file__ = script
    sys.modules["__main__"] = program
    with open(script, encoding="utf-8") as file:
        exec(compile(file.read(), script, "exec"), vars(program))
    sys.exit()


if __name__ == "__main__":
    main()
