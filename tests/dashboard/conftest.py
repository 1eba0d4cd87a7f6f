"""One folder of experiments for all tests of the dashboard, and a browser that has opened it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsed import HERE, TOKEN, Asking, make_folder
from starlette.testclient import TestClient

from fasttune.dashboard.app import application


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See ``make_folder``."""
    root = tmp_path_factory.mktemp("dashboard")
    make_folder(root)
    return root


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(application(str(folder), TOKEN), base_url=HERE) as made:
        assert made.get(f"/?token={TOKEN}").status_code == 200
        yield made


@pytest.fixture
def asked(client: TestClient) -> Asking:
    """The JSON of an answer that has to be there."""

    def ask(path: str, **params: Any) -> Any:
        answer = client.get(f"/api/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask
