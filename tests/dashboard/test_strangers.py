"""Folders that somebody has put odd things into, with right checksums: each answer is an answer, and the list has the others."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from browsed import browser_of

from fasttune.storage.sqlite import checksum
from rounds import rounds

HEAD = 24  # bytes of a record before its payload
ODD = (None, True, -1, 1e308, "x", "", [], {}, [1], {"a": 1}, "<b>", 2**70, [[]], "\ud800")
QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("experiment", {}),
    ("trials", {}),
    ("trials", {"sort": "config/lr"}),
    ("trials", {"filter": "word"}),
    ("facts", {}),
    ("trial", {"trial": 0}),
    ("trial_figures", {"trial": 0}),
    ("picture", {"name": "history"}),
    ("picture", {"name": "parallel"}),
    ("picture", {"name": "lineage"}),
    ("picture", {"name": "timeline"}),
    ("comparison", {}),
)


def changed(value: Any, rng: random.Random) -> Any:
    """The same with something odd in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        if rng.random() < 0.15:
            return {key: inner for key, inner in value.items() if key != name}
        return {**value, name: changed(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    return rng.choice(ODD)


def describe_anew(database: Path, rng: random.Random) -> None:
    """Change what the first record of a journal says."""
    journal = sqlite3.connect(database)
    number, source, position, data = journal.execute("SELECT id, source, position, data FROM journal ORDER BY id").fetchone()
    size = int.from_bytes(data[:4], "little")
    told = changed(json.loads(data[HEAD:size].rstrip(b"\0")), rng)
    payload = json.dumps(told).encode()
    payload += b"\0" * (-len(payload) % 8)
    data = (HEAD + len(payload)).to_bytes(4, "little") + data[4:HEAD] + payload + data[size:]
    journal.execute("UPDATE journal SET data = ?, crc = ? WHERE id = ?", (data, checksum(source, position, data), number))
    journal.commit()
    journal.close()


@pytest.mark.parametrize("name", ["search", "population"])
def test_odd_descriptions_cost_no_answer(folder: Path, tmp_path: Path, name: str) -> None:
    rng = random.Random(name)
    places = [tmp_path / f"odd{k}" for k in range(rounds(18))]
    for place in places:
        place.mkdir()
        shutil.copy(folder / name / "experiment.db", place)
        describe_anew(place / "experiment.db", rng)
    shutil.copytree(folder / name, tmp_path / "good")
    read = 0
    with browser_of(tmp_path) as client:
        told = client.get("/api/experiments").json()["experiments"]
        while any(one["state"] == "reading" for one in told):
            told = client.get("/api/experiments").json()["experiments"]
        states = {one["folder"]: one["state"] for one in told}
        assert len(states) == len(places) + 1
        assert states["good"] == "finished"
        assert "unreadable" in states.values()
        for place in places:
            for path, params in QUESTIONS:
                answer = client.get(f"/api/{path}", params={"experiment": place.name, **params})
                assert answer.status_code in (200, 400, 422), f"{path} {params}: {answer.text[:300]}"
                assert isinstance(answer.json(), dict)
                read += answer.status_code == 200
    assert read > len(QUESTIONS)  # some of them are odd and can be looked at
