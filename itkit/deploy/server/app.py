"""The server's routes: images in, label maps out, jobs with progress, and what clients of MONAI Label call."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from itkit.core.bounded import parse_json
from itkit.core.errors import CaseError, FullError, ItkitError, ModelError, ParamsError, ResourceError, UploadError
from itkit.core.version import VERSION
from itkit.deploy.server.jobs import OVER, Desk, Job
from itkit.deploy.server.served import Served, find_served, segment
from itkit.deploy.server.uploads import Upload, receive
from itkit.deploy.server.volumes import ONE_FILE, SegKind
from itkit.deploy.server.workroom import Workroom
from itkit.serving.guard import Bodies

MOST_BYTES = (2 << 30) - 1
_FORMS = frozenset({"multipart/form-data", "application/octet-stream"})
_PIECE = 1 << 18
_TICK_S = 0.1
_MOST_HEADER = 8192
_QUIET_S = 15.0
_SESSION_S = 3600.0
_MOST_SESSIONS = 32
_MOST_STREAMS = 40
_DICOM = "dicom"
_ENDING = "the server is being ended; send the image again later"
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (FullError, 503),
    (UploadError, 400),
    (ModelError, 404),
    (ParamsError, 422),
    (ResourceError, 507),
    (CaseError, 422),
    (ItkitError, 422),
)


@dataclass(frozen=True)
class Settings:
    """How a server behaves.

    Attributes
    ----------
    threads
        Threads that compute.
    seg
        Kind of DICOM segmentation.
    most_bytes
        Largest upload.
    """

    threads: int = 1
    seg: SegKind = "labelmap"
    most_bytes: int = MOST_BYTES


@dataclass
class _Session:
    folder: Path
    paths: list[Path]
    used: float = field(default_factory=time.monotonic)


def uploads(settings: Settings) -> dict[str, Bodies]:
    """Return the rules of the guard for requests that bring images."""
    bodies = Bodies(_FORMS, settings.most_bytes, 60.0)
    return {"/infer": bodies, "/session": bodies}


def create_app(models: Mapping[str, Served], room: Workroom, desk: Desk, settings: Settings) -> FastAPI:
    """Return the application; the guard has to stand around it.

    Parameters
    ----------
    models
        The networks, by name.
    room
        Where files lie.
    desk
        Who does the jobs.
    settings
        How it behaves.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(desk.close)
        await asyncio.to_thread(room.close)

    app = FastAPI(
        title="ITKIT", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.add_exception_handler(ItkitError, _refuse)
    app.add_exception_handler(OSError, _refuse_storing)
    server = _Server(models, room, desk, settings)
    app.add_api_route("/", server.greet)
    _add(app, "/health", server.health)
    _add(app, "/models", server.list_models)
    _add(app, "/infer", server.infer, "POST")
    app.add_api_route("/jobs/{name}", server.job)
    app.add_api_route("/jobs/{name}", server.remove_job, methods=["DELETE"])
    app.add_api_route("/jobs/{name}/cancel", server.remove_job, methods=["POST"])
    app.add_api_route("/jobs/{name}/events", server.events)
    app.add_api_route("/jobs/{name}/result", server.result)
    _add(app, "/auth", _auth)
    _add(app, "/info", server.info)
    _add(app, "/session", server.open_session, "PUT")
    app.add_api_route("/session/{name}", server.session)
    app.add_api_route("/session/{name}", server.close_session, methods=["DELETE"])
    app.add_api_route("/infer/{model}", server.label, methods=["POST"])
    return app


def _add(app: FastAPI, path: str, answer: Callable[..., Any], method: str = "GET") -> None:
    """Answer a path with and without a slash at its end: clients of MONAI Label use both, and follow no redirection."""
    for form in (path, f"{path}/"):
        app.add_api_route(form, answer, methods=[method])


def _refuse(_: Request, error: Exception) -> Response:
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    headers = {"retry-after": "10"} if status == 503 else None
    return JSONResponse({"detail": str(error)}, status, headers)


def _refuse_storing(_: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    return JSONResponse({"detail": f"the server can't store the image ({error.strerror or 'disk error'})"}, 507)


def _auth() -> dict[str, bool]:
    return {"enabled": False}


class _Server:
    def __init__(self, models: Mapping[str, Served], room: Workroom, desk: Desk, settings: Settings) -> None:
        self.models, self.room, self.desk, self.settings = models, room, desk, settings
        self.sessions: dict[str, _Session] = {}
        self.streams = 0

    # what there is

    def greet(self) -> dict[str, Any]:
        """Return what a browser shows that opens the printed address."""
        routes = ["POST infer", "GET models", "GET health", "GET jobs/ID", "GET jobs/ID/events", "GET jobs/ID/result"]
        return {"server": f"ITKIT {VERSION}", "models": list(self.models), "routes": routes}

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "version": VERSION, **self.desk.counts()}

    def list_models(self) -> dict[str, Any]:
        return {"models": [served.to_json() for served in self.models.values()]}

    def info(self) -> dict[str, Any]:
        """Return what MONAI Label's clients want to know of an app."""
        labels = sorted({name for served in self.models.values() for v, name in served.facts.names.items() if v})
        return {
            "name": "ITKIT",
            "description": "Segmentation by the networks of this server",
            "version": VERSION,
            "labels": labels,
            "models": {
                name: {
                    "type": "segmentation",
                    "labels": {text: value for value, text in served.facts.names.items() if value},
                    "dimension": 3,
                    "description": f"{served.facts.network.name}: {', '.join(served.facts.channels)}",
                    "config": {},
                }
                for name, served in self.models.items()
            },
            "trainers": {},
            "strategies": {},
            "scoring": {},
            "train_stats": {},
            "datastore": {},
        }

    # an image comes in

    async def infer(self, request: Request) -> Response:
        """Segment an image; what is not in the form may stand in the query."""
        query = request.query_params
        folder, upload = await self._received(request, query.get("name", ""))
        try:
            fields = {**query, **upload.fields}
            served = find_served(self.models, fields.get("model", ""))
            wanted = _format_of(fields.get("format", ""))
            is_waited = fields.get("wait", "true").lower() not in ("false", "0", "no")
            job = self._begin(served, upload.paths("file", "files", "image"), folder, wanted)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not is_waited:
            up = "../" if request.url.path.endswith("/") else ""
            return JSONResponse(job.to_json(self.desk.before(job)), 202, {"location": f"{up}jobs/{job.id}"})
        await self._finished(job, request)
        return self._file(job)

    async def _received(self, request: Request, name: str) -> tuple[Path, Upload]:
        """Write the body of a request to files in a folder of its own."""
        self._end_old_sessions()
        self.desk.require_room()
        folder = self.room.new_folder()
        try:
            inputs = folder / "input"
            inputs.mkdir()
            upload = await receive(request.headers.get("content-type", ""), request.stream(), inputs, name)
        except ClientDisconnect as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UploadError("the upload has ended in the middle") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder, upload

    def _begin(self, served: Served, paths: list[Path], folder: Path, wanted: str) -> Job:
        work = partial(_segment, served, paths, wanted, self.settings)
        return self.desk.add(Job(served.name, folder, work))

    async def _finished(self, job: Job, request: Request) -> None:
        """Wait for the end of a job; if the client leaves, it is cancelled.

        Raises
        ------
        CaseError, ResourceError, HTTPException
            When it has failed: by its image, for want of memory or disk, by a fault of the server.
        FullError
            When the server is ended meanwhile.
        """
        ticks = 0
        try:
            while not job.is_over:
                await asyncio.sleep(_TICK_S)
                ticks += 1
                if ticks % 5 == 0 and await request.is_disconnected():
                    self.desk.forget(job)
                    raise UploadError("the client has left")
        except asyncio.CancelledError:  # the server ends, and has waited long enough
            self.desk.forget(job)
            raise FullError(_ENDING) from None
        if job.state != "done":
            self.desk.forget(job)
            if job.state == "cancelled" and self.desk.is_ending:
                raise FullError(_ENDING)
            if job.cause == "fault":
                raise HTTPException(500, job.message)
            raise (ResourceError if job.cause == "room" else CaseError)(job.message or "the job was cancelled")

    def _file(self, job: Job) -> Response:
        """Return the label map; its job is forgotten when it has been sent."""
        assert job.result is not None
        labels = json.dumps({str(label["value"]): label["name"] for label in job.facts["labels"]})
        said = {"x-itkit-labels": labels} if len(labels) <= _MOST_HEADER else {}  # GET /models tells them, too
        return FileResponse(
            job.result,
            media_type="application/dicom" if job.result.suffix == ".dcm" else "application/octet-stream",
            headers={
                "content-disposition": f'attachment; filename="{job.result.name}"',
                "x-itkit-job": job.id,
                **said,
            },
            background=BackgroundTask(self.desk.forget, job),
        )

    # jobs

    def _job(self, name: str) -> Job:
        job = self.desk.find(name)
        if job is None:
            raise ModelError("there is no such job (any more)")
        return job

    def job(self, name: str) -> dict[str, Any]:
        job = self._job(name)
        return job.to_json(self.desk.before(job) if job.state == "waiting" else None)

    def remove_job(self, name: str) -> dict[str, Any]:
        job = self._job(name)
        self.desk.forget(job)
        return job.to_json()

    async def result(self, name: str) -> Response:
        job = self._job(name)
        if job.state != "done":
            return JSONResponse({"detail": job.message or f"the job is {job.state}"}, 409)
        return self._file(job)

    async def events(self, name: str, request: Request) -> Response:
        """Send what happens to a job as server-sent events; the last one is its end."""
        job = self._job(name)
        if self.streams >= _MOST_STREAMS:
            raise FullError(f"{_MOST_STREAMS} clients watch jobs already; ask GET /jobs/{name} from time to time")

        async def counted() -> AsyncIterator[str]:
            self.streams += 1
            try:
                async for line in lines():
                    yield line
            finally:
                self.streams -= 1

        async def lines() -> AsyncIterator[str]:
            seen, quiet = -1, 0.0
            while True:
                if job.version != seen:
                    seen, quiet = job.version, 0.0
                    told = job.to_json(self.desk.before(job) if job.state == "waiting" else None)
                    yield f"event: {told['state']}\ndata: {json.dumps(told)}\n\n"
                    if told["state"] in OVER:  # what has been told, not what the job is by now
                        return
                await asyncio.sleep(_TICK_S)
                quiet += _TICK_S
                if quiet >= _QUIET_S:
                    quiet = 0.0
                    yield ": still there\n\n"
                    if await request.is_disconnected():
                        return

        return StreamingResponse(counted(), media_type="text/event-stream")

    # what clients of MONAI Label call

    async def open_session(self, request: Request) -> dict[str, Any]:
        self._end_old_sessions()
        if len(self.sessions) >= _MOST_SESSIONS:
            raise FullError(f"{_MOST_SESSIONS} sessions are open already")
        folder, upload = await self._received(request, "")
        paths = upload.paths("files", "file")
        if not paths:
            shutil.rmtree(folder, ignore_errors=True)
            raise UploadError("no file was sent")
        name = secrets.token_urlsafe(12)
        self.sessions[name] = _Session(folder, paths)
        return {"session_id": name, "name": name, "image": "", "expiry": int(_SESSION_S)}

    def _end_old_sessions(self) -> None:
        now = time.monotonic()
        for name in [name for name, one in self.sessions.items() if now - one.used > _SESSION_S]:
            shutil.rmtree(self.sessions.pop(name).folder, ignore_errors=True)

    def session(self, name: str) -> dict[str, Any]:
        self._end_old_sessions()
        if name not in self.sessions:
            raise ModelError("there is no such session (any more)")
        return {"session_id": name, "name": name, "image": "", "expiry": int(_SESSION_S)}

    def close_session(self, name: str) -> dict[str, Any]:
        found = self.sessions.pop(name, None)
        if found is None:
            raise ModelError("there is no such session (any more)")
        shutil.rmtree(found.folder, ignore_errors=True)
        return {}

    async def label(self, request: Request, model: str, session_id: str = "", output: str = "all") -> Response:
        """Answer as MONAI Label does: a form with the parameters and the label map."""
        served = find_served(self.models, model)
        folder, upload = await self._received(request, "")
        try:
            paths = upload.paths("file")
            if not paths:
                paths = await asyncio.to_thread(self._session_files, session_id, folder)
            wanted = "" if output != "dicom_seg" else _DICOM
            given = _params_of(upload.fields.get("params", "{}"))
            if not wanted and given.get("result_extension"):
                wanted = _format_of(str(given["result_extension"]))
            job = self._begin(served, paths, folder, wanted or _plain(paths))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        await self._finished(job, request)
        assert job.result is not None
        params = {
            "label_names": {label["name"]: label["value"] for label in job.facts["labels"]},
            "centroids": [],
            "voxels": {label["name"]: label["voxels"] for label in job.facts["labels"]},
            "notes": job.facts["notes"],
        }
        if output == "json":
            self.desk.forget(job)
            return JSONResponse(params)
        if output in ("image", "dicom_seg"):
            return self._file(job)
        return self._form(job, params)

    def _session_files(self, name: str, folder: Path) -> list[Path]:
        """Copy the files of a session to the folder of a job."""
        self._end_old_sessions()
        found = self.sessions.get(name)
        if found is None:
            raise ModelError("this server keeps no images: send one, or open a session with one")
        found.used = time.monotonic()
        return [Path(shutil.copy2(path, folder / "input" / path.name)) for path in found.paths]

    def _form(self, job: Job, params: Mapping[str, Any]) -> Response:
        """Return a form of two parts, with its length: the client reads the connection itself, so no chunks."""
        assert job.result is not None
        boundary = f"itkit-{secrets.token_hex(16)}"
        begin = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
            f"{json.dumps(params)}\r\n"
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{job.result.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        file, length = job.result, len(begin) + job.result.stat().st_size + len(end)

        async def parts() -> AsyncIterator[bytes]:
            yield begin
            with file.open("rb") as opened:
                while piece := await asyncio.to_thread(opened.read, _PIECE):
                    yield piece
            yield end

        return StreamingResponse(
            parts(),
            media_type=f"multipart/form-data; boundary={boundary}",
            headers={"content-length": str(length)},
            background=BackgroundTask(self.desk.forget, job),
        )


def _segment(
    served: Served, paths: list[Path], wanted: str, settings: Settings, job: Job
) -> tuple[Path, dict[str, Any]]:
    return segment(served, paths, job, wanted=wanted, kind=settings.seg, threads=settings.threads)


def _plain(paths: list[Path]) -> str:
    """Return how a label map is written for clients that expect volumes: as it came, or as NIfTI."""
    name = paths[0].name.lower()
    return next((extension for extension in ONE_FILE if name.endswith(extension)), ".nii.gz")


def _format_of(text: str) -> str:
    """Return the extension that a client wants; an empty text leaves it to the server.

    Raises
    ------
    ParamsError
        When nothing is written in it.
    """
    wanted = text.strip().lower()
    if wanted in ("", _DICOM):
        return wanted
    if wanted in ("seg", "dicom_seg", ".dcm", "dcm"):
        return _DICOM
    extension = wanted if wanted.startswith(".") else f".{wanted}"
    if extension not in ONE_FILE:
        raise ParamsError(f"format: expected {', '.join(ONE_FILE)} or dicom; got {text[:40]!r}")
    return extension


def _params_of(text: str) -> Mapping[str, Any]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise UploadError(f"params: {error}") from error
    if not isinstance(values, Mapping):
        raise UploadError("params: expected a JSON object")
    return values
