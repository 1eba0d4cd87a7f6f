"""X and y lie in memory once, however many workers there are."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification

from fasttune.resolve import Call
from fasttune.sklearn import TuneGridSearchCV
from fasttune.sklearn.shared import Shared
from fasttune.tuner import carry_out

X, Y = make_classification(400, 50, random_state=0)


def mapped(value: Any) -> tuple[Any, Shared]:
    """The value as another process gets it."""
    held = Shared(value)
    return pickle.loads(pickle.dumps(held)).get(), held


def owner_of(array: np.ndarray) -> Any:
    """The object whose memory an array's values lie in."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_a_read_only_view_of_the_mapped_file(order: Any) -> None:
    there, held = mapped({"x": np.array(X, order=order), "y": Y})
    np.testing.assert_array_equal(there["x"], X)
    np.testing.assert_array_equal(there["y"], Y)
    assert there["x"].flags["F_CONTIGUOUS" if order == "F" else "C_CONTIGUOUS"]
    for array in there.values():
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert type(owner_of(array)).__name__ == "mmap"
        assert array.ctypes.data % 64 == 0
    held.close()
    held.close()
    np.testing.assert_array_equal(there["x"], X)  # what is mapped stays


def test_sparse_matrices_and_frames_are_views_too() -> None:
    there, _held = mapped((scipy.sparse.csr_matrix(X * (X > 1)), pd.DataFrame(X)))
    assert type(owner_of(there[0].data)).__name__ == "mmap"
    assert type(owner_of(there[1].to_numpy())).__name__ == "mmap"
    assert (there[0] != scipy.sparse.csr_matrix(X * (X > 1))).nnz == 0
    pd.testing.assert_frame_equal(there[1], pd.DataFrame(X))


def test_nothing_is_written_for_trials_in_this_process() -> None:
    held = Shared([X])
    assert held.get()[0] is X
    assert held._file is None


class WhereItIs(ClassifierMixin, BaseEstimator):
    """Its score is the process that it was fitted in, and whether the rows that it was given to split were mapped."""

    def __init__(self, level: int = 0) -> None:
        self.level = level

    def fit(self, X: Any, y: Any) -> WhereItIs:
        self.classes_ = np.unique(y)
        return self


def where(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    from fasttune.sklearn import shared

    there = shared._last[1] if shared._last is not None else None
    return {
        "pid": float(os.getpid()),
        "mapped": float(there is not None and type(owner_of(there.X)).__name__ == "mmap"),
        "threads": float(sum(pool["num_threads"] for pool in threads())),
        "pools": float(len(threads())),
    }


def threads() -> Any:
    from threadpoolctl import threadpool_info

    return threadpool_info()


def test_workers_map_the_data_and_use_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    view = np.hstack([X, X])[:, ::2]  # in pieces: it is put together before it is shared
    search = TuneGridSearchCV(WhereItIs(), {"level": list(range(6))}, cv=2, scoring=where, refit=False, n_jobs=2).fit(view, Y)
    results = search.cv_results_
    assert os.getpid() not in results["split0_test_pid"]
    assert results["split0_test_mapped"].tolist() == [1.0] * 6
    assert results["split0_test_threads"].tolist() == results["split0_test_pools"].tolist()
    assert results["split0_test_pools"].min() >= 1


def test_a_module_that_cannot_be_loaded_beforehand_costs_nothing(tmp_path: Path) -> None:
    about_one = {"config": {}, "num_samples": 2}
    call = Call(storage_path=str(tmp_path), executor="process", verbose=0)
    analysis = carry_out(two, about_one, call, preload=("no_module_of_this_name",))
    assert [trial.last_result["n"] for trial in analysis.trials] == [2, 2]


def two(config: dict[str, Any]) -> dict[str, int]:
    return {"n": 2}
