"""What ``itkit-web`` takes, and how it starts."""

from __future__ import annotations

import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import Field

from itkit.core.extras import require
from itkit.core.fields import FreeText, Group, PathRole
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.serving.guard import Guard, Rules
from itkit.serving.paths import Root
from itkit.serving.sockets import Access, access_for, bind, is_loopback, own_hosts, port_of, serve


class WebParams(Params):
    """Run operations and look at volumes in a browser."""

    root: Annotated[Path, PathRole("in_folder")] = Path()
    """Folder that the page may read and write; nothing outside it is reachable."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port to listen on; 0 takes a free one."""
    host: Annotated[str, FreeText("127.0.0.1"), Group("Other machines")] = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a password or a proxy."""
    no_browser: bool = False
    """Print the address, and open no browser."""
    token: Annotated[str, FreeText("a-long-random-text"), Group("Other machines")] = ""
    """Token in the address (default: a random one)."""
    password_file: Annotated[Path | None, PathRole("in_file"), Group("Other machines")] = None
    """File whose first line is the password that the page asks for."""
    proxy_user_header: Annotated[str, FreeText("X-Forwarded-User"), Group("Other machines")] = ""
    """Header in which a proxy in front of the server names the user that it has checked."""
    name: Annotated[tuple[Annotated[str, FreeText("ct.example.org")], ...], Group("Other machines")] = ()
    """Names under which other machines reach the server."""
    jobs: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of jobs to run at once; the others wait."""


_OF_LOGIN = frozenset({"/login", "/static/login.js", "/static/app.css", "/static/icon.svg"})


def rules_of(params: WebParams, access: Access, port: int) -> Rules:
    """Return whom the guard of a server lets in."""
    return Rules(
        hosts=own_hosts(params.host, port, params.name),
        secret=access.secret,
        cookie=f"itkit_{port}",
        schemes=frozenset({"http", "https"}) if params.name else frozenset({"http"}),
        user_header=access.user_header,
        in_query=not (access.is_password or access.user_header),
        login="/login" if access.is_password else "",
        open_paths=_OF_LOGIN if access.is_password else frozenset(),
    )


def run(params: WebParams) -> int:
    """Serve the page until the process is told to end."""
    for package in ("fastapi", "uvicorn"):
        require(package, extra="web", why="itkit-web")
    from itkit.web.app import create_app  # needs fastapi
    from itkit.web.board import Board

    root = Root(params.root)
    access = access_for(
        params.host, token=params.token, password_file=params.password_file, user_header=params.proxy_user_header
    )
    listening = bind(params.host, params.port)
    port = port_of(listening)
    rules = rules_of(params, access, port)
    board = Board(root, at_once=params.jobs)
    shown = params.host if is_loopback(params.host) or params.host not in ("0.0.0.0", "::") else "127.0.0.1"
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    address += "" if access.is_password or access.user_header else f"?token={quote(access.secret, safe='')}"

    def tell() -> None:
        for note in access.notes:
            sys.stderr.write(f"note: {note}\n")
        sys.stderr.flush()
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        if not params.no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    try:
        serve(Guard(create_app(board, rules), rules), listening, on_start=tell)
    finally:
        board.close()
        listening.close()
    return 0


TOOL = Tool("itkit web", WebParams, run, "itkit web --root /data/ct")
