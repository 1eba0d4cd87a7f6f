"""Who may ask: whoever has the address that was printed, from a page that this server has given.

Any process of this machine, of whatever user, reaches a port of it, and any page in the browser can send requests to it. So:

token       a random word in the printed address, then a cookie that scripts do not see and that other sites do not send
Host        has to name this machine: a name that somebody else's DNS makes point here does not (DNS rebinding)
Origin      has to be this server's own, if there is one; what changes something has to have one
Sec-Fetch   browsers say where a request comes from: from another site, or another port here, nothing is answered

Every answer says that nothing may be loaded from elsewhere, framed, or run that is no file of ours.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
CHANGES_NOTHING = ("GET", "HEAD")
PAGE = "/"  # the one address that is opened from elsewhere

HEADERS = (
    (
        b"content-security-policy",
        # plotly gives elements attributes of style; nothing of an experiment becomes an element
        b"default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; "
        b"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
NOT_KEPT = (b"cache-control", b"no-store")  # unless the application says otherwise


class Refused(Exception):
    """A request that is not answered; ``status`` is that of HTTP."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Guard:
    """The application within, for those who may ask."""

    def __init__(self, app: App, token: str) -> None:
        if len(token) < 20:
            raise ValueError(f"a token of {len(token)} characters can be guessed; it must have at least 20")
        self._app = app
        self._token = token.encode()
        # Cookies know no ports: two dashboards, perhaps of two machines, have cookies of two names.
        self.cookie = f"fasttune_{sha256(self._token).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"this server does not speak {scope['type']!r}")
        try:
            came_with_token = self._check(scope)
        except Refused as refused:
            await _answer(send, refused.status, f"{refused}\n")
            return
        more = list(HEADERS)
        if came_with_token:
            value = f"{self.cookie}={self._token.decode()}; HttpOnly; SameSite=Strict; Path=/"
            more.append((b"set-cookie", value.encode()))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                if not any(name == b"cache-control" for name, _ in given):
                    given.append(NOT_KEPT)
                message = {**message, "headers": [*given, *more]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> bool:
        """Whether the token is in the address. Refused."""
        headers = _Headers(scope["headers"])
        host = headers.one(b"host")
        if host is None or _name_of(host) not in LOCAL_NAMES:
            raise Refused(
                421,
                f"The name {host!r} is not one of this machine's own ({', '.join(LOCAL_NAMES)}). The dashboard answers under "
                "those only; from another machine, forward a port: ssh -L 8000:127.0.0.1:PORT HOST",
            )
        origin = headers.one(b"origin")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "This request comes from a page of another origin, and is not answered.")
        if origin is None and scope["method"] not in CHANGES_NOTHING:
            raise Refused(403, "A request that changes something has to say where it comes from (Origin).")
        site = headers.one(b"sec-fetch-site")
        opens_page = scope["method"] == "GET" and scope["path"] == PAGE and headers.one(b"sec-fetch-mode") == "navigate"
        if site not in (None, "same-origin", "none") and not opens_page:
            raise Refused(403, "This request comes from a page of another site, and is not answered.")
        if scope["path"] == PAGE and self._is_token(_token_in(scope["query_string"])):
            return True
        if not any(self._is_token(value) for value in self._cookies(headers)):
            raise Refused(
                401,
                "This is a dashboard of fasttune, for whoever has started it: open the address that `fasttune dashboard` has "
                "printed, with all that stands behind the '?'.",
            )
        return False

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), self._token)

    def _cookies(self, headers: _Headers) -> list[str]:
        """Values of our cookie. Other servers of this machine have left theirs beside it, of whatever form."""
        pairs = (part.strip().partition("=") for line in headers.all(b"cookie") for part in line.split(";"))
        return [value for name, _, value in pairs if name == self.cookie]


class _Headers:
    def __init__(self, given: Iterable[tuple[bytes, bytes]]) -> None:
        self._given = [(name.lower(), value.decode("latin-1")) for name, value in given]

    def all(self, name: bytes) -> list[str]:
        return [value for known, value in self._given if known == name]

    def one(self, name: bytes) -> str | None:
        """The value of a header that may be given once; Refused when it is given twice."""
        values = self.all(name)
        if len(values) > 1:
            raise Refused(400, f"The header {name.decode()} is given {len(values)} times.")
        return values[0] if values else None


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _token_in(query: bytes) -> str:
    for name, value in parse_qsl(query.decode("latin-1")):
        if name == "token":
            return value
    return ""


async def _answer(send: Send, status: int, text: str) -> None:
    body = text.encode("utf-8", "backslashreplace")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, NOT_KEPT]})
    await send({"type": "http.response.body", "body": body})
