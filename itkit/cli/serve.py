"""``itkit serve``: segment images that other programs send, over HTTP."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from itkit.core.errors import ParamsError
from itkit.core.extras import require
from itkit.core.fields import Bounds, FreeText, Group, PathRole, Pattern, Positional, Unit
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.inference.backends import DEVICE, Backend, device_name
from itkit.serving.guard import Guard, Rules
from itkit.serving.sockets import access_for, bind, is_loopback, own_hosts, port_of, serve

_TOKEN = r"^[A-Za-z0-9_-]*$"


def _token(text: str) -> str:
    if not re.fullmatch(_TOKEN, text):
        raise ValueError(f"expected letters a to z, digits, - and _, as it is part of the address; got {text!r}")
    return text


class ServeParams(Params):
    """Segment images that other programs send: POST /infer, 3D Slicer, clients of MONAI Label."""

    models: Annotated[tuple[Path, ...], PathRole("in_file"), Positional("model"), Field(min_length=1)]
    """Exported models (model.onnx, which needs no PyTorch), model folders, runs or checkpoints."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port to listen on; 0 takes a free one."""
    host: Annotated[str, FreeText("127.0.0.1"), Group("Other machines")] = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a password or a proxy."""
    token: Annotated[str, Pattern(_TOKEN), AfterValidator(_token), Group("Other machines")] = ""
    """Secret part of the address (default: a random one)."""
    password_file: Annotated[Path | None, PathRole("in_file"), Group("Other machines")] = None
    """File whose first line is the secret part of the address; it is not printed."""
    proxy_user_header: Annotated[str, FreeText("X-Forwarded-User"), Group("Other machines")] = ""
    """Header in which a proxy in front of the server names the user that it has checked."""
    name: Annotated[tuple[Annotated[str, FreeText("ct.example.org")], ...], Group("Other machines")] = ()
    """Names under which other machines reach the server."""
    backend: Annotated[Backend, Group("Network")] = "auto"
    """What computes the networks; auto: what their files are for."""
    device: Annotated[str, Pattern(DEVICE), AfterValidator(device_name), Group("Network")] = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:N; it does one job at a time."""
    overlap: Annotated[float, Bounds(least=0, below=1), Group("Network")] = 0.5
    """Part of a window that the next one covers again."""
    threads: Annotated[int | None, Bounds(least=1), Group("Network")] = None
    """Threads that compute (default: all cores of this process)."""
    queue: Annotated[int, Bounds(least=1)] = 16
    """Number of jobs that may wait; more are refused for the moment."""
    max_upload: Annotated[float, Bounds(above=0), Unit("GiB")] = 2
    """An upload of this size or a larger one is refused before it is read."""
    scratch: Annotated[Path | None, PathRole("out_folder")] = None
    """Folder for uploads and results while they are needed (default: the system's temporary folder)."""
    seg: Literal["labelmap", "binary"] = "labelmap"
    """DICOM segmentations: label maps with JPEG-LS, or the older kind, which every viewer reads."""


def run(params: ServeParams) -> int:
    """Serve until the process is told to end."""
    for package in ("fastapi", "uvicorn", "python_multipart"):
        require(package, extra="serve", why="itkit serve")
    from itkit.deploy.server.app import Settings, create_app, uploads  # needs fastapi
    from itkit.deploy.server.jobs import Desk
    from itkit.deploy.server.served import load_models
    from itkit.deploy.server.workroom import Workroom
    from itkit.engine.resources import available_cores
    from itkit.inference.predicting import InferenceSettings

    access = access_for(
        params.host, token=params.token, password_file=params.password_file, user_header=params.proxy_user_header
    )
    if access.is_password and ("/" in access.secret or "\\" in access.secret or access.secret in (".", "..")):
        raise ParamsError(f"--password-file {params.password_file}: as part of an address, it can't hold / or \\")
    threads = params.threads or available_cores()
    models = load_models(
        params.models,
        InferenceSettings(overlap=params.overlap),
        backend=params.backend,
        device=params.device,
        threads=threads,
    )
    settings = Settings(threads=threads, seg=params.seg, most_bytes=int(params.max_upload * (1 << 30)) - 1)
    listening = bind(params.host, params.port)
    port = port_of(listening)
    rules = Rules(
        hosts=own_hosts(params.host, port, params.name),
        secret=access.secret,
        cookie=f"itkit_serve_{port}",
        schemes=frozenset({"http", "https"}) if params.name else frozenset({"http"}),
        user_header=access.user_header,
        in_path=True,
        in_query=False,
        uploads=uploads(settings),
        open_paths=frozenset({"/health"}),
    )
    room, desk = Workroom(params.scratch), Desk(params.queue)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # before the server has its own handlers

    def tell() -> None:
        for note in access.notes:
            print(f"note: {note}", file=sys.stderr, flush=True)
        named = ", ".join(f"{name} ({served.backend})" for name, served in models.items())
        print(f"serving {named}", file=sys.stderr, flush=True)
        print(
            _address(params.host, port, "" if access.is_password or access.user_header else access.secret), flush=True
        )

    try:
        serve(Guard(create_app(models, room, desk, settings), rules), listening, on_start=tell, on_end=desk.end)
    finally:
        desk.close()
        room.close()
        listening.close()
    return 0


def _address(host: str, port: int, secret: str) -> str:
    shown = host if is_loopback(host) or host not in ("0.0.0.0", "::") else "127.0.0.1"
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/{secret}"


TOOL = Tool("itkit serve", ServeParams, run, "itkit serve exported/model.onnx --port 8123")
