"""One GPU, or a part of one, that a trial can be sent to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device. `uuid` is its name for life, `index` the place of its GPU in PCI order until the next reboot."""

    uuid: str
    name: str = "NVIDIA GPU"
    index: int = 0
    memory_bytes: int = 0
    cpus: tuple[int, ...] = ()  # next to it (same NUMA node); () if the driver does not say
    parent: str = ""  # of a slice (MIG): the UUID of its GPU
    pci: str = ""  # bus id, "" if the driver does not say
    numa: int | None = None  # its NUMA node, None if the driver does not say
    maker: str = "nvidia"  # or "amd", "apple"
    vram: str = ""  # of AMD's: the file that says how much of its memory is used

    @property
    def is_slice(self) -> bool:
        """Whether it is a part of a GPU that is cut (MIG)."""
        return bool(self.parent)


def both(first: str, second: str) -> str:
    """Two reasons in one line."""
    return f"{first}; {second}" if first else second
