"""Contract suites for schedulers, searchers, executors and storages, and a clock that does not move by itself.

A package that brings one of these derives from its suite and says how to make one; pytest does the rest::

    from fasttune.testing import SchedulerContract
    from my_package import MyScheduler

    class TestMyScheduler(SchedulerContract):
        def make(self):
            return MyScheduler(patience=3)

The suites are plain classes of test methods: ``assert`` and the fixture ``tmp_path`` are all they use. What a suite
expects beyond the base class's docstring stands in its own. A later version may ask for more; it will say so in the
changelog.
"""

from __future__ import annotations

from fasttune.testing.clock import VirtualClock as VirtualClock
from fasttune.testing.executors import ExecutorContract as ExecutorContract
from fasttune.testing.schedulers import SchedulerContract as SchedulerContract
from fasttune.testing.searchers import SearcherContract as SearcherContract
from fasttune.testing.storages import StorageContract as StorageContract

__all__ = ["ExecutorContract", "SchedulerContract", "SearcherContract", "StorageContract", "VirtualClock"]
