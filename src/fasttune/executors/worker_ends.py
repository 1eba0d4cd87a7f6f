"""Why a worker ended, or could not begin, in words."""

from __future__ import annotations

import signal

from fasttune.devices.cgroups import MemoryKills, process_limits


class ForkError(OSError):
    """The system has no process to give."""


def cannot_be_started(error: OSError) -> str:
    """Why there are not more workers."""
    return f"another one cannot be started: {error}" + (f" ({process_limits()})" if isinstance(error, ForkError) else "")


def reason(code: int, text: str, memory_kills: MemoryKills) -> str:
    """Why a worker ended, in words."""
    if code < 0:
        name, hint = signal_hint(code, memory_kills)
        said = f"The worker process of this trial died of {name}: {hint}."
    else:
        said = f"The worker process of this trial ended with status {code} before the trial did (os._exit?)."
    return f"{said}\n{text}".rstrip()


def signal_hint(code: int, memory_kills: MemoryKills) -> tuple[str, str]:
    """Name of the signal that a process died of, and what that means. A SIGKILL is asked after in the kernel's counts."""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hints = {
        "SIGSEGV": "a segmentation fault in compiled code",
        "SIGABRT": "aborted by compiled code",
        "SIGBUS": "a bus error: a mapped file was cut off, or the disk is full",
    }
    if name != "SIGKILL":
        return name, hints.get(name, "sent from outside, or by a trial")
    if (ran_out := memory_kills.next_one()) is not None:
        return name, f"out of memory, the kernel killed it; {ran_out}"
    if memory_kills.readable:
        return name, "killed from outside; the kernel counts no kill for lack of memory"
    return name, "killed from outside; whether for lack of memory cannot be read on this system"
