"""What each address answers, compared with what an analysis of the same folder says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from browsed import HERE, MARKUP, Asking, browser_of
from starlette.testclient import TestClient

import fasttune as tune
from fasttune.dashboard import answers, shelf

BAD_NAME = os.fsdecode(b"bytes-\xff")


def test_the_list_has_every_experiment_and_says_what_is_wrong_with_broken_ones(asked: Asking, folder: Path) -> None:
    told = asked("experiments")
    while any(one["state"] == "reading" for one in told["experiments"]):
        told = asked("experiments")
    found = {one["folder"]: one for one in told["experiments"]}
    good = {"search", "population", "a<b>&c", "without_metric", "bytes-\\xff"}
    assert set(found) == good | {"junk", "pipe", "other_database", "cut"}
    assert {name for name, one in found.items() if one["state"] == "finished"} >= good
    assert "not a database" in found["junk"]["why"]
    assert "pipe" in found["pipe"]["why"]
    assert "journal" in found["other_database"]["why"]
    assert found["cut"]["state"] == "unreadable" or found["cut"]["said"]
    places = [folder / os.fsdecode(unquote_to_bytes(one["id"])) / "experiment.db" for one in told["experiments"]]
    begun = [one.get("began") or os.stat(place).st_mtime for one, place in zip(told["experiments"], places, strict=True)]
    assert begun == sorted(begun, reverse=True)
    assert told["control"] is False


def test_a_line_of_the_list_says_what_the_analysis_says(asked: Asking, folder: Path) -> None:
    told = asked("experiments")
    while any(one["state"] == "reading" for one in told["experiments"]):
        told = asked("experiments")
    one = next(one for one in told["experiments"] if one["folder"] == "search")
    analysis = tune.ExperimentAnalysis(folder / "search")
    assert one["trials"] == one["asked"] == one["over"] == 80
    assert one["counts"] == analysis.stats()["trials"]
    assert one["reports"] == analysis.stats()["reports"]
    assert one["best"]["trial_id"] == analysis.best_trial.trial_id
    assert float(one["best"]["value"]) == pytest.approx(analysis.best_result["loss"], rel=1e-5)
    heights = [y for _, y in one["line"]]
    assert heights == sorted(heights, reverse=True)  # the smaller the better
    assert heights[-1] == 0.0


def test_names_that_are_no_text_lead_to_their_experiment(asked: Asking) -> None:
    identity = quote(os.fsencode(BAD_NAME), safe="")
    assert asked("experiment", experiment=identity)["trials"] == 80
    assert asked("trials", experiment=identity, limit=1)["found"] == 80


ELSEWHERE = ["", ".", "..", "../search", "search/", "/etc", "search/../search", "%2e%2e", "none", "a_file", "x%00y"]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("path", ["experiment", "trials", "facts"])
def test_no_name_leads_out_of_the_folder(client: TestClient, name: str, path: str) -> None:
    answer = client.get(f"/api/{path}", params={"experiment": name})
    assert answer.status_code == 404, answer.text
    assert "there is no experiment" in answer.json()["error"]


def test_a_broken_experiment_says_why_it_cannot_be_shown_and_is_not_tried_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("experiment", "trials", "facts"):
        answer = client.get(f"/api/{path}", params={"experiment": "junk"})
        assert answer.status_code == 422
        assert "not a database" in answer.json()["error"]
        monkeypatch.setattr(shelf, "Opened", None)


@pytest.mark.parametrize(
    ("path", "params", "why"),
    [
        ("experiment", {}, "'experiment' is missing"),
        ("experiment", {"experiment": "search", "colour": "red"}, "no parameter 'colour'"),
        ("experiment", {"experiment": ["search", "search"]}, "2 times"),
        ("trials", {"experiment": "search", "limit": "0"}, "limit must be a whole number from 1 to 200"),
        ("trials", {"experiment": "search", "offset": "-1"}, "offset must be"),
        ("trials", {"experiment": "search", "offset": "9" * 100}, "offset must be"),
        ("trials", {"experiment": "search", "desc": "yes"}, "desc must be one of 0, 1"),
        ("trials", {"experiment": "search", "sort": "nothing"}, "no column 'nothing'"),
        ("trials", {"experiment": "search", "filter": "nothing < 3"}, "no column 'nothing'"),
        ("trials", {"experiment": "search", "status": "GONE"}, "status must be one of PENDING"),
        ("trials", {"experiment": "search", "filter": "x" * 5000}, "longer than"),
        ("trial", {"experiment": "search"}, "'trial' is missing"),
        ("picture", {"experiment": "search", "name": "history", "mode": "up"}, "mode must be"),
        ("comparison", {"experiment": ["search"] * 9, "over": "steps"}, "over must be"),
        ("comparison", {}, "from 1 to 8"),
        ("comparison", {"experiment": ["search"] * 9}, "got 9"),
        ("experiments", {"folder": "/"}, "no parameter 'folder'"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_questions_that_mean_nothing_are_errors(client: TestClient, path: str, params: dict[str, Any], why: str) -> None:
    answer = client.get(f"/api/{path}", params=params)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_what_is_not_there(client: TestClient) -> None:
    assert client.get("/api/trial", params={"experiment": "search", "trial": 80}).status_code == 404
    assert client.get("/api/picture", params={"experiment": "search", "name": "nothing"}).status_code == 404
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/app.py").status_code == 404


def test_what_nobody_has_thought_of_is_said_and_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any) -> None:
        raise TypeError(f"odd {MARKUP}")

    monkeypatch.setattr(answers.Answers, "trial", breaks)
    answer = client.get("/api/trial", params={"experiment": "search", "trial": 1})
    assert answer.status_code == 500
    assert answer.json() == {"error": f"this cannot be answered: TypeError: odd {MARKUP}"}
    assert "no answer to /api/trial" in caplog.text
    assert client.get("/api/experiment", params={"experiment": "search"}).status_code == 200


def test_who_has_an_answer_gets_304_and_the_experiment_is_not_opened(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [
        ("experiment", {"experiment": "search"}),
        ("trials", {"experiment": "search", "sort": "loss", "desc": 1}),
        ("trial", {"experiment": "search", "trial": 3}),
        ("facts", {"experiment": "search"}),
        ("picture", {"experiment": "search", "name": "history"}),
        ("comparison", {"experiment": ["search", "population"]}),
    ]
    tags = [client.get(f"/api/{path}", params=params).headers["etag"] for path, params in questions]
    assert len(set(tags)) == len(tags)

    def opened(*_: Any) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(shelf, "Opened", opened)
    monkeypatch.setattr(answers.Shelf, "opened", opened)
    for (path, params), tag in zip(questions, tags, strict=True):
        again = client.get(f"/api/{path}", params=params, headers={"if-none-match": tag})
        assert again.status_code == 304, path
        assert not again.content


def test_a_trial_is_told_with_all_that_is_known_of_it(asked: Asking, folder: Path) -> None:
    analysis = tune.ExperimentAnalysis(folder / "search")
    failed = next(trial for trial in analysis.trials if trial.status == "ERROR")
    told = asked("trial", experiment="search", trial=failed.index)
    assert told["trial_id"] == failed.trial_id
    assert told["status"] == "ERROR"
    assert told["reason"].startswith("ValueError: 4 layers")
    assert MARKUP in told["reason"]
    assert "Traceback" in told["traceback"]
    assert dict(told["sampled"]).keys() == failed.evaluated_params.keys()
    assert dict(told["given"]) == {"fixed": "as it is"}
    assert float(dict(told["metrics"])["loss"]) == failed.last_result["loss"]  # all digits
    assert told["config"] == failed.config
    assert told["checkpoint"] == ""
    assert told["can_stop"] is False
    curves = asked("trial_figures", experiment="search", trial=failed.index)["figures"]
    assert [one["title"] for one in curves] == ["loss", "seconds", "good"]
    shown = _numbers(curves[0]["figure"]["data"][0]["y"])
    assert shown == pytest.approx([report["loss"] for report in analysis.trial_dataframes[failed.trial_id].to_dict("records")])


def _numbers(column: Any) -> list[float]:
    """The numbers of a column of a figure, which newer versions of plotly write as base64."""
    if isinstance(column, list):
        return column
    import base64

    import numpy as np

    return np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"]).tolist()


def test_a_trial_that_copied_another_one_says_so(asked: Asking, folder: Path) -> None:
    lineage = tune.ExperimentAnalysis(folder / "population").lineage()
    copied = lineage[lineage["donor_id"].notna()].iloc[0]
    number = int(copied["trial_id"].rpartition("_")[2])
    told = asked("trial", experiment="population", trial=number)
    assert any(f"the checkpoint of {copied['donor_id']}" in one for one in told["lineage"])
    assert re.fullmatch(r"of step \d+, in experiment\.db", told["checkpoint"])


PICTURES = ["history", "curves", "importances", "parallel", "slices", "contour", "rank", "rungs", "lineage", "timeline", "edf"]


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_or_says_why_not(asked: Asking, name: str) -> None:
    listed = [one["name"] for one in asked("experiment", experiment="search")["pictures"]]
    assert listed == PICTURES
    for experiment in ("search", "a<b>&c", "without_metric"):
        told = asked("picture", experiment=quote(experiment, safe=""), name=name)
        assert bool(told["figures"]) != ("missing" in told)
        for one in told["figures"]:
            assert one["figure"]["data"]
            assert one["height"] > 100
    assert ("missing" in asked("picture", experiment="search", name=name)) == (name == "lineage")


def test_pictures_of_another_metric(asked: Asking) -> None:
    own = asked("picture", experiment="without_metric", name="history")
    assert "metric" in own["missing"]
    told = asked("picture", experiment="without_metric", name="history", metric="loss", mode="min")
    assert told["figures"]
    assert "mode" in asked("picture", experiment="without_metric", name="history", metric="loss")["missing"]


def test_markup_stays_text_in_every_figure(client: TestClient) -> None:
    """plotly reads markup in texts: everything of an experiment's has to be escaped in them. Elsewhere it is as it was."""
    identity = quote("a<b>&c", safe="")
    for name in PICTURES:
        told = client.get("/api/picture", params={"experiment": identity, "name": name}).json()
        for text in (json.dumps(one["figure"]) for one in told["figures"]):
            assert "<img" not in text, name
            assert "<script" not in text, name
    told = client.get("/api/facts", params={"experiment": identity})
    assert told.headers["content-type"] == "application/json"
    assert told.json()["failures"][0]["what"] == f"RuntimeError: {MARKUP} & <script>alert(2)</script>"


def test_facts_say_what_failed_and_what_was_searched(asked: Asking) -> None:
    told = asked("facts", experiment="search")
    assert told["failures"][0]["times"] == dict(told["outcomes"])["failed"]
    assert "Traceback" in told["failures"][0]["text"]
    assert [name for name, _, _ in told["searched"]][:2] == ["lr", "layers"]
    assert told["saved"]["run"] < told["saved"]["all_to_the_end"]


def test_comparison_has_a_line_for_each_experiment_and_a_picture_for_each_metric(asked: Asking, folder: Path) -> None:
    odd = quote(os.fsencode(BAD_NAME), safe="")
    told = asked("comparison", experiment=["search", "population", odd, "without_metric"], over="trials")
    assert [one["folder"] for one in told["experiments"]] == ["search", "population", "bytes-\\xff", "without_metric"]
    lines = [[trace["name"] for trace in one["figure"]["data"]] for one in told["figures"]]
    assert lines == [["search", "bytes-\\xff"], ["population"]]
    best = _numbers(told["figures"][0]["figure"]["data"][0]["y"])
    assert best == sorted(best, reverse=True)
    losses = [trial.last_result["loss"] for trial in tune.ExperimentAnalysis(folder / "search").trials if "loss" in trial.last_result]
    assert best[-1] == pytest.approx(min(losses))
    alone = asked("comparison", experiment="without_metric")
    assert alone["figures"] == []
    assert "without_metric" in alone["missing"]


def test_a_folder_that_is_an_experiment_shows_it_alone(folder: Path) -> None:
    with browser_of(folder / "search") as alone:
        told = alone.get("/api/experiments").json()
        assert told["alone"] is True
        assert [one["folder"] for one in told["experiments"]] == ["search"]
        assert alone.get("/api/experiment", params={"experiment": "search"}).status_code == 200
        assert alone.get("/api/experiment", params={"experiment": "population"}).status_code == 404


def test_an_experiment_with_nothing_in_it_and_one_with_very_many_names(tmp_path: Path) -> None:
    def silent(config: dict[str, Any]) -> None:
        pass

    def talks(config: dict[str, Any]) -> None:
        tune.report({f"m{k}": float(k) for k in range(3000)})

    given: dict[str, Any] = {"storage_path": tmp_path, "executor": "inline", "verbose": 0}
    tune.run(silent, name="silent", config={}, num_samples=2, raise_on_failed_trial=False, **given)
    tune.run(talks, name="talks", config={"x": tune.uniform(0, 1)}, metric="m7", mode="min", **given)
    with browser_of(tmp_path) as client:

        def ask(path: str, **params: Any) -> Any:
            answer = client.get(f"/api/{path}", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()

        told = ask("experiment", experiment="silent")
        assert (told["best"], told["reports"], told["line"]) == (None, 0, [])
        assert ask("trials", experiment="silent")["found"] == 2
        assert ask("trial", experiment="silent", trial=1)["metrics"] == []
        assert ask("trial_figures", experiment="silent", trial=1)["figures"] == []
        assert ask("facts", experiment="silent")["best"] is None
        for name in PICTURES:
            ask("picture", experiment="silent", name=name)
        assert "nothing to draw" in ask("picture", experiment="silent", name="history")["missing"]
        assert len(ask("trials", experiment="talks")["columns"]) == 300
        assert len(ask("trial", experiment="talks", trial=0)["metrics"]) == 401
        assert [one["title"] for one in ask("trial_figures", experiment="talks", trial=0)["figures"]][:2] == ["m7", "m0"]
        assert ask("trials", experiment="talks", filter="m2999 = 2999")["found"] == 1


def test_a_folder_that_is_empty_or_gone(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "gone"):
        with browser_of(place) as client:
            assert client.get("/api/experiments").json()["experiments"] == []


def test_looking_writes_nothing(client: TestClient, folder: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        found = {}
        for place, folders, files in os.walk(os.fsencode(folder)):
            for name in [*folders, *files]:
                told = os.lstat(os.path.join(place, name))
                found[os.fsdecode(os.path.join(place, name))] = told.st_size, told.st_mtime_ns
        return found

    before = state()
    client.get("/api/experiments")
    for name in ("search", "population", "cut", "junk"):
        for path in ("experiment", "trials", "facts"):
            client.get(f"/api/{path}", params={"experiment": name})
        client.get("/api/picture", params={"experiment": name, "name": "timeline"})
        client.get("/api/trial", params={"experiment": name, "trial": 0})
    assert state() == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"experiment": "search"}, 409),  # nobody runs it
        ({"experiment": "search", "trial": 0}, 409),  # it is over
        ({"experiment": "search", "trial": 1000}, 404),
        ({"experiment": "../search"}, 404),
        ({"experiment": 3}, 400),
        ({"experiment": "search", "trial": True}, 400),
        ({"experiment": "search", "trial": -1}, 400),
        ({"experiment": "search", "at_once": "yes"}, 400),
        ({"experiment": "search", "more": 1}, 400),
        ([], 400),
    ],
    ids=str,
)
def test_requests_to_stop_that_cannot_be_followed(folder: Path, body: Any, status: int) -> None:
    with browser_of(folder, control=True) as client:
        answer = client.post("/api/stop", json=body, headers={"origin": HERE})
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]
    assert not [name for name in os.listdir(folder / "search") if "stop" in name]


def test_what_is_posted_has_to_be_a_small_json_object(folder: Path) -> None:
    with browser_of(folder, control=True) as client:
        headers = {"origin": HERE, "content-type": "application/json"}
        assert client.post("/api/stop", data={"experiment": "search"}, headers={"origin": HERE}).status_code == 415
        assert client.post("/api/stop", content=b"{", headers=headers).status_code == 400
        assert client.post("/api/stop", content=b"[" * 10000, headers=headers).status_code == 400
        assert client.post("/api/stop", content=json.dumps({"experiment": "x" * 20000}), headers=headers).status_code == 413
        assert client.get("/api/stop").status_code == 405


def test_without_control_nothing_can_be_stopped(client: TestClient) -> None:
    answer = client.post("/api/stop", json={"experiment": "search"}, headers={"origin": HERE})
    assert answer.status_code == 403
    assert "--control" in answer.json()["error"]
