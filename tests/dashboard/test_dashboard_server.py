"""The command as a process, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsed import HERE, browser_of, runs_until_stopped

import forks
from fasttune.cli import main
from fasttune.cli.dashboard import folder_of
from fasttune.dashboard.server import listening, on_desktop


def test_the_command_serves_until_ctrl_c(folder: Path) -> None:
    command = [sys.executable, "-m", "fasttune", "dashboard", str(folder), "--no-browser"]
    process = forks.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        assert (address.scheme, address.hostname, address.path) == ("http", "127.0.0.1", "/")
        (token,) = parse_qs(address.query)["token"]
        assert len(token) >= 24
        connection = http.client.HTTPConnection("127.0.0.1", address.port)
        connection.request("GET", f"/?token={token}")
        answer = connection.getresponse()
        cookie = answer.headers["set-cookie"].split(";")[0]
        assert answer.status == 200
        assert answer.headers["server"] is None
        assert b"/static/main.js" in answer.read()
        connection.request("GET", "/api/experiment?experiment=search", headers={"Cookie": cookie})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert (answer.status, told["trials"]) == (200, 80)
        connection.request("GET", "/api/experiment?experiment=search", headers={"Cookie": cookie[:-1]})
        answer = connection.getresponse()
        assert answer.read()
        assert answer.status == 401
        connection.request("GET", "/api/picture?experiment=search&name=edf", headers={"Cookie": cookie})  # it is not waited for
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
        connection.close()
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert out == ""
    assert "only looks" in said
    assert "Traceback" not in said
    assert token not in said


def test_a_trial_and_then_the_run_are_stopped_from_the_page(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    process = runs_until_stopped(runs)
    try:
        with browser_of(runs, control=True) as client:

            def until(holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
                while True:
                    answer = client.get("/api/experiment", params={"experiment": "endless"})
                    if answer.status_code == 200 and holds(answer.json()):
                        return dict(answer.json())

            def stop(**what: Any) -> None:
                asked = client.post("/api/stop", json={"experiment": "endless", **what}, headers={"origin": HERE})
                assert asked.status_code == 200, asked.text
                assert "was asked to stop" in asked.json()["said"]

            told = until(lambda told: told["reports"] > 0 and told["control"])
            assert told["state"] == "running"
            assert told["counts"]["RUNNING"] == 1
            assert client.get("/api/trial", params={"experiment": "endless", "trial": 0}).json()["can_stop"] is True
            stop(trial=0)
            told = until(lambda told: told["counts"].get("TERMINATED") == 1)
            assert client.get("/api/trial", params={"experiment": "endless", "trial": 0}).json()["can_stop"] is False
            stop()
            assert process.wait(60) == 0
            told = until(lambda told: told["state"] != "running")
            assert told["state"] == "unfinished"
            assert told["counts"]["TERMINATED"] == 1
            assert told["control"] is False
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def called(*words: str) -> str:
        assert main(["dashboard", *words]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err

    return called


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_other_machines_are_not_let_in(refused: Callable[..., str], folder: Path, host: str) -> None:
    said = refused(str(folder), "--host", host)
    assert "ssh -L" in said
    assert repr(host) in said


def test_a_port_that_is_taken_or_none(refused: Callable[..., str], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(str(folder), "--port", str(port), "--no-browser")
    assert f"port {port}" in said
    assert "--port 0" in said
    assert "65535" in refused(str(folder), "--port", "70000")


def test_an_experiment_that_is_not_there(refused: Callable[..., str]) -> None:
    assert "there is no experiment 'nowhere'" in refused("nowhere")


def test_an_experiment_is_found_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(folder))
    assert folder_of(None) == str(folder)
    assert folder_of("search") == folder_of(str(folder / "search")) == str(folder / "search")
    assert folder_of(str(folder)) == str(folder)
    monkeypatch.setenv("FASTTUNE_RESULTS_DIR", str(folder / "not_yet"))
    assert folder_of(None) == str(folder / "not_yet")


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "plotly"])
def test_without_a_library_it_says_what_to_install(
    refused: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert "pip install 'fasttune[dashboard]'" in refused(str(folder))


def test_a_browser_is_opened_on_a_desktop_alone() -> None:
    assert on_desktop({"DISPLAY": ":0"}, "linux")
    assert on_desktop({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert on_desktop({}, "darwin")
    assert not on_desktop({}, "linux")
    assert not on_desktop({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "linux")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_it_listens_on_loopback_addresses(host: str) -> None:
    if host == "::1" and not os.path.exists("/proc/net/if_inet6"):
        host = "127.0.0.1"  # a machine without IPv6
    with listening(host, 0) as listener:
        assert listener.getsockname()[0] in ("127.0.0.1", "::1")


def test_the_files_of_the_page_are_in_what_is_installed() -> None:
    root = Path(__file__).resolve().parents[2]
    packaged = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["fasttune.dashboard"]
    rules = (root / "MANIFEST.in").read_text().splitlines()
    left_out = [line for line in rules if line.startswith("global-exclude")]
    for file in (root / "src" / "fasttune" / "dashboard" / "static").iterdir():
        assert any(fnmatch(f"static/{file.name}", pattern) for pattern in packaged), file.name
        if any(fnmatch(file.name, pattern) for line in left_out for pattern in line.split()[1:]):
            again = [k for k, line in enumerate(rules) if fnmatch(f"include src/fasttune/dashboard/static/{file.name}", line)]
            assert max(again, default=-1) > rules.index(left_out[-1]), file.name
