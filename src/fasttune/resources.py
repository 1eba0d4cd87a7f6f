"""What this process may use of its machine, as a run would give it out: ``tune.resources.detect()``."""

from __future__ import annotations

from fasttune.devices.gpu import Gpu
from fasttune.devices.machine import Machine, detect

__all__ = ["Gpu", "Machine", "detect"]
