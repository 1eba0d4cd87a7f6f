"""optuna-dashboard's own application answers about an exported study (`make test-exchange`)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fasttune as tune

pytestmark = pytest.mark.exchange


def asked(application: Callable[..., Any], path: str) -> Any:
    """What the application answers to a GET, without a server."""
    heard: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
        "CONTENT_TYPE": "application/json",
    }  # fmt: skip
    body = b"".join(application(environ, lambda status, headers, *_: heard.append(status)))
    assert heard == ["200 OK"], body
    return json.loads(body)


@pytest.mark.parametrize("file", ["study.db", "study.log"])
def test_the_dashboard_shows_the_study(analysis: tune.ExperimentAnalysis, tmp_path: Path, file: str) -> None:
    import optuna
    from optuna_dashboard import wsgi

    analysis.export(tmp_path / file, "optuna")
    if file.endswith(".log"):
        storage: Any = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / file)))
    else:
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / file}")
    application = wsgi(storage)
    (summary,) = asked(application, "/api/studies")["study_summaries"]
    assert summary["study_name"] == "mixed"
    study = asked(application, f"/api/studies/{summary['study_id']}")
    assert len(study["trials"]) == len(analysis.trials)
    states = [trial["state"] for trial in study["trials"]]
    assert states.count("Fail") == len(analysis.errors)
    assert {"Complete", "Pruned", "Fail"} == set(states)
    assert {one["name"] for one in study["union_search_space"]} >= {"lr", "momentum", "width", "act", "layers"}
