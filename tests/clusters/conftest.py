"""Ray clusters of this machine, small and short-lived; without Ray nothing here is even looked at (``make test-ray``)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest

if importlib.util.find_spec("ray") is None:
    collect_ignore_glob = ["test_*.py"]

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
STORE = 100_000_000  # bytes of a node's object store


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A node of two CPUs, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level="warning")
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
