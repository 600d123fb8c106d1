"""Sockets of servers: bound here, then handed to uvicorn, so that nobody else can take the port in between."""

from __future__ import annotations

import ipaddress
import secrets
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.core.bounded import read_bounded
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.extras import require
from itkit.serving.guard import Application

_LEAST_PASSWORD = 12
_MOST_CONNECTIONS = 100
_IDLE_S = 30
"""How long a connection is kept for the next request; a client that uses it as it is closed sees a failure."""


@dataclass(frozen=True)
class Access:
    """Who may use a server, and under which names it is reached.

    Attributes
    ----------
    secret
        The token, or the password of the file.
    is_password
        Whether people type it; then it is neither printed nor taken from an address.
    user_header
        Header in which a proxy names the user that it has checked, in lower case; empty without a proxy.
    notes
        What the person who starts the server should know.
    """

    secret: str
    is_password: bool = False
    user_header: str = ""
    notes: tuple[str, ...] = ()


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access_for(host: str, *, token: str = "", password_file: Path | None = None, user_header: str = "") -> Access:
    """Decide who may use a server.

    Parameters
    ----------
    host
        Address to listen on.
    token
        A token of one's own; without it, a random one is drawn.
    password_file
        File whose first line is the password.
    user_header
        Header in which a proxy names the user that it has checked.

    Raises
    ------
    ParamsError
        When other machines could use the server without a password.
    """
    if password_file is not None and (token or user_header):
        raise ParamsError("--password-file, --token and --proxy-user-header exclude each other; keep one")
    if token and user_header:
        raise ParamsError("--token and --proxy-user-header exclude each other; keep one")
    if password_file is not None:
        return Access(_password_in(password_file), is_password=True, notes=_plain_text_note(host))
    if user_header:
        note = (
            f"whoever reaches {host} without passing the proxy can name any user in {user_header}: "
            "let the firewall admit the proxy alone"
        )
        return Access(secrets.token_urlsafe(32), user_header=user_header.lower(), notes=(note,))
    if not is_loopback(host):
        raise ParamsError(
            f"--host {host}: other machines could use the server; give --password-file FILE, "
            "or --proxy-user-header NAME if a proxy in front of it checks its users; "
            "or keep 127.0.0.1 and use ssh -L"
        )
    return Access(token or secrets.token_urlsafe(32))


def _plain_text_note(host: str) -> tuple[str, ...]:
    if is_loopback(host):
        return ()
    return (f"passwords and images travel to and from {host} without encryption; put a proxy with TLS in front of it",)


def _password_in(file: Path) -> str:
    try:
        text = read_bounded(file, 1 << 16).decode().split("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise ParamsError(
            f"--password-file {file}: can't be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    if len(text) < _LEAST_PASSWORD:
        raise ParamsError(f"--password-file {file}: its first line has fewer than {_LEAST_PASSWORD} characters")
    return text


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises
    ------
    LayoutError
        When the address or the port can't be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise LayoutError(f"--host {host}: no such address ({getattr(error, 'strerror', None) or error})") from error
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows lets two programs share a port otherwise
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise LayoutError(
            f"{host}:{port} can't be used ({error.strerror or error}); choose another --port, or leave it out"
        ) from error
    return listening


def port_of(listening: socket.socket) -> int:
    """Return the port of a socket."""
    return int(listening.getsockname()[1])


def own_hosts(host: str, port: int, names: Iterable[str] = ()) -> frozenset[str]:
    """Return the ``Host`` headers of requests that are meant for a server.

    Parameters
    ----------
    host
        Address it listens on.
    port
        Its port.
    names
        Names and addresses under which other machines reach it, with or without a port.

    Examples
    --------
    >>> sorted(own_hosts("127.0.0.1", 8123))
    ['127.0.0.1:8123', '[::1]:8123', 'localhost:8123']
    >>> sorted(own_hosts("10.0.0.5", 80, ["ct.example.org"]))[:3]
    ['10.0.0.5', '10.0.0.5:80', '127.0.0.1']
    """
    listed = {"127.0.0.1", "localhost", "[::1]", _bracketed(host), *names}
    if not is_loopback(host):
        listed.add(socket.gethostname())
    listed = {name.lower().strip() for name in listed if name.strip() not in ("", "0.0.0.0", "[::]")}
    bare = {name for name in listed if name.endswith("]") or ":" not in name}
    full = {f"{name}:{port}" for name in bare} | (listed - bare)
    public = {name.lower().strip() for name in names}
    return frozenset(full | (bare & public) | (bare if port == 80 else set()))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def serve(
    app: Application,
    listening: socket.socket,
    *,
    on_start: Callable[[], None] | None = None,
    on_end: Callable[[], None] | None = None,
) -> None:
    """Serve an application on a socket until the process is told to end.

    There is no access log: it would hold tokens.

    Parameters
    ----------
    app
        The application, with its guard.
    listening
        The socket.
    on_start
        Called once when requests are answered.
    on_end
        Called once when no new requests are taken, before those that run are waited for.

    Raises
    ------
    MissingExtraError
        When uvicorn is not installed.
    """
    _end_with_terminal()
    make_server(app, on_start=on_start, on_end=on_end).run(sockets=[listening])


def _end_with_terminal() -> None:
    """Let a terminal that is closed end the server as SIGTERM does: with its jobs, not without them."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:  # not with nohup
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))


def make_server(
    app: Application, *, on_start: Callable[[], None] | None = None, on_end: Callable[[], None] | None = None
) -> Any:
    """Return a uvicorn server with our settings; `serve` runs it, tests and other programs may run it in a thread."""
    uvicorn = require("uvicorn", extra="web", why="a web server")

    class Server(uvicorn.Server):  # type: ignore[name-defined,misc]  # imported on demand
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if on_start is not None and not self.should_exit:
                on_start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if on_end is not None:
                on_end()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        lifespan="on",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        h11_max_incomplete_event_size=1 << 16,
        timeout_graceful_shutdown=2,
    )
    return Server(config)
