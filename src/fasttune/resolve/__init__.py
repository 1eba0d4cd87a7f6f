"""From what a door was asked to the ``RunSpec`` that the machine carries out.

Everything that can be known to be wrong is said here, before the first trial starts. A folder that had to be made, because its lock
decides who begins an experiment, goes again when the run is refused.
"""

from fasttune.resolve.call import Call as Call
from fasttune.resolve.spec import resolve as resolve

__all__ = ["Call", "resolve"]
