"""Who is answered: those with the token, from a page of the dashboard, under a name of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from browsed import HERE, TOKEN
from starlette.testclient import TestClient

from fasttune.dashboard.app import application
from fasttune.dashboard.guard import Guard

ADDRESSES = ["/", "/static/main.js", "/static/plotly.js", "/api/experiments", "/api/experiment?experiment=search", "/nowhere"]


@pytest.fixture
def stranger(folder: Path) -> Iterator[TestClient]:
    """A browser that knows no token."""
    with TestClient(application(str(folder), TOKEN), base_url=HERE) as made:
        yield made


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x"])
def test_without_the_token_nothing_is_answered(stranger: TestClient, address: str, token: str) -> None:
    stranger.cookies.set(_cookie_name(), token, domain="127.0.0.1")
    answer = stranger.get(address, params={"token": token} if "?" not in address else None)
    assert answer.status_code == 401
    assert "fasttune dashboard" in answer.text
    assert "set-cookie" not in answer.headers


def _cookie_name() -> str:
    return Guard(None, TOKEN).cookie  # type: ignore[arg-type]


def test_a_token_that_is_no_ascii_is_a_wrong_one(stranger: TestClient) -> None:
    assert stranger.get("/?token=%C3%BC%ff").status_code == 401
    assert stranger.get("/", headers={b"cookie": f"{_cookie_name()}=".encode() + b"\xfc"}).status_code == 401


def test_the_token_in_the_address_becomes_a_cookie(stranger: TestClient) -> None:
    answer = stranger.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert cookie.value == TOKEN
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert not cookie["domain"]
    again = stranger.get("/")
    assert again.status_code == 200
    assert "set-cookie" not in again.headers
    assert stranger.get("/api/experiments").status_code == 200


OTHERS = ["c", 'a={"b": 1, "c": [2]}', "=", "x=y=z", '"; \\', "fasttune_other=wrong", "a b=c\td", "\xe9=\xff"]


@pytest.mark.parametrize("others", OTHERS)
def test_cookies_of_other_servers_do_not_matter(stranger: TestClient, others: str) -> None:
    own = f"{_cookie_name()}={TOKEN}"
    for line in (f"{others}; {own}", f"{own}; {others}", f"{own};{others};{own[:-1]}"):
        assert stranger.get("/api/experiments", headers={b"cookie": line.encode("latin-1")}).status_code == 200, line
    assert stranger.get("/api/experiments", headers={b"cookie": f"{others}; x{own}".encode("latin-1")}).status_code == 401


def test_the_token_counts_in_the_address_of_the_page_alone(stranger: TestClient) -> None:
    assert stranger.get(f"/api/experiments?token={TOKEN}").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "evil.127.0.0.1", "0.0.0.0:8000", "[::]:8000", "", "127.0.0.1:x"],
)
def test_another_name_of_this_machine_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/api/experiments", headers={"host": host})
    assert answer.status_code == 421
    assert "ssh -L" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "127.0.0.1", "localhost:9", "LOCALHOST:9", "[::1]:8000", "[::1]"])
def test_its_own_names_are_answered_on_any_port(client: TestClient, host: str) -> None:
    """The port of a forward by ssh is another one."""
    cookie = {"cookie": f"{_cookie_name()}={TOKEN}"}
    assert client.get("/api/experiments", headers={"host": host, **cookie}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9999", "https://127.0.0.1:8000", "null", "http://localhost:8000"])
def test_pages_of_other_origins_are_refused(client: TestClient, origin: str) -> None:
    assert client.get("/api/experiments", headers={"origin": origin}).status_code == 403
    assert client.post("/api/stop", json={"experiment": "search"}, headers={"origin": origin}).status_code == 403


def test_the_own_origin_is_answered(client: TestClient) -> None:
    assert client.get("/api/experiments", headers={"origin": HERE}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_the_browser_says_comes_from_elsewhere_is_refused(client: TestClient, site: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    for address in ("/", "/static/main.js", "/api/experiments"):
        assert client.get(address, headers=headers).status_code == 403
    opened = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=opened).status_code == 200  # a link to the dashboard, by who has the cookie or the token
    assert client.get("/api/experiments", headers=opened).status_code == 403


def test_what_changes_something_has_to_say_where_it_comes_from(client: TestClient) -> None:
    answer = client.post("/api/stop", json={"experiment": "search"})
    assert answer.status_code == 403
    assert "Origin" in answer.text


@pytest.mark.parametrize("address", [*ADDRESSES, f"/?token={TOKEN}"])
def test_every_answer_says_what_browsers_may_do_with_it(client: TestClient, address: str) -> None:
    for headers in ({}, {"host": "evil.example"}):
        told = client.get(address, headers=headers).headers
        rules = dict(part.strip().split(" ", 1) for part in told["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert told["x-content-type-options"] == "nosniff"
        assert told["referrer-policy"] == "no-referrer"
        assert told["cross-origin-resource-policy"] == "same-origin"
        assert told["cache-control"] in ("no-store", "private, no-cache")


def test_a_header_that_is_given_twice_is_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        headers = [(b"host", b"127.0.0.1"), (b"Host", b"evil.example"), (b"cookie", f"{_cookie_name()}={TOKEN}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
        await Guard(None, TOKEN)(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert sent[0]["status"] == 400


def test_a_token_that_can_be_guessed_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        Guard(None, "short")  # type: ignore[arg-type]


def test_the_page_and_its_files_have_no_script_within_and_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/").text
    assert "<script>" not in page
    assert "style=" not in page
    assert "http" not in page
    for name in ("main.js", "net.js", "dom.js", "list.js", "experiment.js", "trials.js", "figures.js", "compare.js", "control.js"):
        text = client.get(f"/static/{name}").text
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        assert "eval(" not in text
        assert "https:" not in text
