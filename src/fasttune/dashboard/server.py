"""The dashboard as a process that listens on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from secrets import token_urlsafe

from fasttune.dashboard.app import application
from fasttune.extras import optional

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    folder: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    control: bool = False,
    browser: bool = True,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the dashboard of a folder until Ctrl-C or SIGTERM.

    Args:
        folder: one with experiments in it, or an experiment's own.
        host: one of this machine's own addresses, that only its processes reach: 127.0.0.1, ::1 or localhost.
        port: 0 takes one that is free.
        control: the page may ask runs to stop.
        browser: open the page, on a desktop.
        say: is called with the address of the page.

    Raises:
        ValueError: another host, or no port.
        ImportError: starlette, uvicorn or plotly is not installed; it says what to install.
        OSError: the port is taken.
    """
    check_host(host)
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be between 0 and 65535 (0 takes one that is free), got {port}")
    optional("uvicorn", "dashboard", "the dashboard")
    import uvicorn

    token = token_urlsafe(24)
    config = uvicorn.Config(
        application(folder, token, control=control),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        access_log=False,  # addresses hold the token
        log_level="critical",  # it would tell of the answers that Ctrl-C leaves; what goes wrong in one is told by the application
        proxy_headers=False,  # nobody but the guard decides where a request comes from
        server_header=False,
        timeout_graceful_shutdown=0,
    )
    with listening(host, port) as listener:
        shown = "[::1]" if host == "::1" else host
        address = f"http://{shown}:{listener.getsockname()[1]}/?token={token}"
        say(address)
        if browser and on_desktop(os.environ, sys.platform):
            threading.Thread(target=_open_browser, args=(address,), daemon=True).start()
        with suppress(KeyboardInterrupt):  # it is how a dashboard ends
            uvicorn.Server(config).run(sockets=[listener])


def check_host(host: str) -> None:
    """ValueError for an address that other machines reach."""
    if host not in LOOPBACK:
        raise ValueError(
            f"host must be one of {', '.join(LOOPBACK)}, got {host!r}: what the dashboard shows and does would be open to the "
            "network, without encryption. From another machine, forward a port: ssh -L 8000:127.0.0.1:PORT THIS_MACHINE, and "
            "open http://127.0.0.1:8000/?token=... there"
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. OSError names the port."""
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1" if host == "localhost" else host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"port {port} of {host} cannot be used ({error.strerror}); --port 0 takes a free one") from error
    return made


def on_desktop(environ: Mapping[str, str], platform: str) -> bool:
    """Whether a browser that is opened here is seen by whoever has started us."""
    if "SSH_CONNECTION" in environ or "SSH_TTY" in environ:
        return False
    return platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _open_browser(address: str) -> None:
    import webbrowser

    with suppress(webbrowser.Error, OSError):
        webbrowser.open(address)
