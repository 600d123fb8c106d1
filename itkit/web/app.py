"""The web application: the API and the files of the page. Its guard stands around it; see `itkit.serving.guard`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from itkit.core.bounded import parse_json
from itkit.core.errors import BusyError, ItkitError, NotServedError, ParamsError, RequestError, TooManyError
from itkit.core.files import volume_suffix
from itkit.core.tool import Tool
from itkit.core.version import VERSION
from itkit.engine.options import RunOptions
from itkit.forms.chains import is_pipeline
from itkit.forms.pages import Page, load_command, pages
from itkit.forms.presets import preset_in
from itkit.forms.trainings import is_training
from itkit.io.dicom.choices import SeriesChoice, chosen_series
from itkit.io.dicom.find import Series
from itkit.io.json_files import json_line
from itkit.io.layouts import IMAGE
from itkit.report.style import STYLE
from itkit.serving.guard import Rules, cookie_value
from itkit.web.board import Board, Past, is_over, lines_of
from itkit.web.requests import Answer, Asked, Preset, answer, form_named, options_named
from itkit.web.starts import add_starts
from itkit.web.training import add_training
from itkit.web.volumes import Shelf, geometry_of, guess_kind, partners

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHOWN = {
    ".html": "text/html", ".csv": "text/csv", ".json": "application/json", ".jsonl": "text/plain",
    ".toml": "text/plain", ".txt": "text/plain", ".md": "text/plain", ".log": "text/plain", ".png": "image/png",
    ".jpg": "image/jpeg", ".svg": "image/svg+xml",
}  # fmt: skip
"""Files that a page may show beside volumes."""
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""A report holds its style, script and pictures; the sandbox keeps it from everything else, also from this API."""
_MOST_FILE_BYTES = 64 << 20
_MOST_ENTRIES = 5000
_MOST_ROWS = 20_000
_MOST_STREAMS = 40
_PIECE_BYTES = 1 << 20
_QUIET_S = 15.0
_WRONG_PASSWORD_S = 1.0
_STATUS: tuple[tuple[type[ItkitError], int], ...] = (
    (NotServedError, 404),
    (TooManyError, 429),
    (BusyError, 503),
    (ParamsError, 404),
    (ItkitError, 422),
)


def create_app(board: Board, rules: Rules) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    board
        The jobs.
    rules
        Those of its guard; the page that asks for a password compares it with the secret.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(board.close)

    app = FastAPI(
        title="ITKIT", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan,
        default_response_class=_Json,
    )  # fmt: skip
    app.add_exception_handler(ItkitError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_shape)
    _add_pages(app, rules)
    _add_files(app, board)
    _add_operations(app, board)
    _add_jobs(app, board)
    _add_volumes(app, board)
    add_training(app, board.root)
    add_starts(app, board)
    return app


class _Json(JSONResponse):
    """JSON that UTF-8 can encode, also where a file's name is none; `json_line` does the same for events."""

    def render(self, content: Any) -> bytes:
        return json_line(content).encode()


def _refuse(_: Request, error: Exception) -> Response:
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    return _Json({"detail": str(error)}, status)


def _refuse_shape(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors()[:5]]
    return _Json({"detail": "; ".join(wrong)}, 422)


def _add_pages(app: FastAPI, rules: Rules) -> None:
    files = {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _TYPES}
    files["style.css"] = STYLE.encode()
    places = asyncio.Semaphore(4)

    def index() -> Response:
        return Response(files["index.html"], media_type="text/html")

    def login_page() -> Response:
        return Response(files["login.html"], media_type="text/html")

    def static(name: str) -> Response:
        if name not in files:
            raise NotServedError(f"{name[:100]!r}: there is no such file")
        return Response(files[name], media_type=_TYPES[Path(name).suffix])

    async def login(request: Request) -> Response:
        try:
            given = str(parse_json(await request.body())["password"]).encode()
        except (ValueError, KeyError, TypeError):
            return _Json({"detail": "expected a password"}, 422)
        async with places:
            if not hmac.compare_digest(given, rules.secret.encode()):
                await asyncio.sleep(_WRONG_PASSWORD_S)
                return _Json({"detail": "That is not the password."}, 401)
        response = _Json({})
        secure = request.headers.get("origin", "").startswith("https:")
        response.set_cookie(
            rules.cookie, cookie_value(rules.secret), httponly=True, samesite="strict", path="/", secure=secure
        )
        return response

    app.add_api_route("/", index)
    app.add_api_route("/static/{name}", static)
    if rules.login:
        app.add_api_route(rules.login, login_page)
        app.add_api_route(rules.login, login, methods=["POST"])


def _add_files(app: FastAPI, board: Board) -> None:
    root = board.root

    def about() -> dict[str, Any]:
        return {"version": VERSION, "root": str(root.folder), "name": root.folder.name, "machine": socket.gethostname()}

    def browse(path: str = "") -> dict[str, Any]:
        folder = root.subfolder(path)
        entries: list[dict[str, Any]] = []
        is_cut = False
        for entry in _entries(folder):
            if len(entries) >= _MOST_ENTRIES:
                is_cut = True
                break
            described = _entry(entry, board)
            if described is not None:
                entries.append(described)
        entries.sort(key=lambda item: (not item["is_folder"], _natural(item["name"])))
        parent = None if folder == root.folder else root.shown(folder.parent)
        names = {item["name"] for item in entries if item["is_folder"]}
        return {
            "path": root.shown(folder),
            "parent": parent,
            "is_dataset": IMAGE in names,
            "is_training": is_training(folder),
            "is_cut": is_cut,
            "entries": entries,
        }

    def file(path: str) -> Response:
        kind = _SHOWN.get(root.file(path).suffix.lower())
        data = None if kind is None else root.read(path, _MOST_FILE_BYTES)
        if data is None:
            raise NotServedError(f"{path[:200]!r}: only reports, tables and pictures up to 64 MiB are shown")
        return Response(data, media_type=kind, headers={"content-security-policy": _REPORT_POLICY})

    app.add_api_route("/api/about", about)
    app.add_api_route("/api/browse", browse)
    app.add_api_route("/api/file", file)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except OSError as error:
        raise NotServedError(f"{folder.name}: can't be opened ({error.strerror or error})") from error


def _entry(entry: os.DirEntry[str], board: Board) -> dict[str, Any] | None:
    """Describe a file or folder; what is hidden, leads outside or is something else is left out."""
    if entry.name.startswith("."):
        return None
    try:
        path = board.root.any(entry.path) if entry.is_symlink() else Path(entry.path)
        status, is_folder = entry.stat(), entry.is_dir()
    except (NotServedError, OSError):
        return None
    if not is_folder and not entry.is_file():
        return None
    shown = board.root.shown(path if entry.is_symlink() else Path(entry.path))
    return {  # a name that is not UTF-8 is told with its bytes; no address can hold it, so it can't be opened
        "name": os.fsencode(entry.name).decode("utf-8", "backslashreplace"),
        "path": os.fsencode(shown).decode("utf-8", "backslashreplace"),
        "is_folder": is_folder,
        "is_volume": not is_folder and volume_suffix(entry.name) is not None,
        "is_pipeline": not is_folder and is_pipeline(path),
        "is_shown": not is_folder and Path(entry.name).suffix.lower() in _SHOWN,
        "bytes": None if is_folder else status.st_size,
        "modified": status.st_mtime,
    }


def _natural(name: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _split_digits(name.lower())]


def _split_digits(text: str) -> list[str]:
    parts: list[str] = []
    for sign in text:
        if parts and parts[-1][-1].isdigit() == sign.isdigit() and len(parts[-1]) < 18:
            parts[-1] += sign
        else:
            parts.append(sign)
    return parts


def _add_operations(app: FastAPI, board: Board) -> None:
    @lru_cache(maxsize=1)
    def listed() -> list[Page]:
        return pages()[0]  # what is installed does not change while the server runs

    def operations() -> list[dict[str, Any]]:
        return [page.as_json() for page in listed()]

    @lru_cache(maxsize=256)
    def operation(name: str) -> dict[str, Any]:
        found = load_command(name)
        page = next((page.as_json() for page in listed() if page.name == found.name), {})
        return {
            **page,
            "name": found.name,
            "schema": found.params.model_json_schema(),
            "form": form_named(found.name).as_json(),
            "options_schema": {} if isinstance(found, Tool) else RunOptions.model_json_schema(),
            "options": options_named(found.name).as_json(),
        }

    def check(name: str, asked: Asked) -> dict[str, Any]:
        found = answer(name, asked, board.root, plan=True)
        return {
            "problems": dict(found.problems),
            "option_problems": dict(found.option_problems),
            "command": "" if found.command is None else found.command.text,
            "deletes": found.deletes,
        }

    def preset(name: str, given: Preset) -> dict[str, Any]:
        command = load_command(name)
        try:
            values = preset_in(given.text, given.file, command)
            json_line(values)
        except (ParamsError, TypeError) as error:  # TOML has dates, too
            raise RequestError(str(error)) from error
        return {"values": values}

    def start(name: str, asked: Asked, *, plan: bool) -> Response:
        found = answer(name, asked, board.root, plan=plan)
        if found.command is None:
            return _wrong(found)
        if found.deletes and not plan and asked.confirm != found.deletes:
            text = f"files in {found.deletes} may be deleted; type the name of the folder to confirm it"
            return _Json({"detail": text, "confirm": found.deletes}, 409)
        secrets = {field.name for field in form_named(name).fields if field.kind == "secret"}
        kept = {key: value for key, value in asked.params.items() if key not in secrets}
        job = board.add(found.command, plan=plan, params=kept, options=asked.options)
        return _Json({"job": job}, 202)

    def plan(name: str, asked: Asked) -> Response:
        if isinstance(load_command(name), Tool):
            return _Json({"detail": f"{name} can't be planned: it does one thing; run it"}, 422)
        return start(name, asked, plan=True)

    def run(name: str, asked: Asked) -> Response:
        return start(name, asked, plan=False)

    app.add_api_route("/api/operations", operations)
    app.add_api_route("/api/operations/{name}", operation)
    app.add_api_route("/api/check/{name}", check, methods=["POST"])
    app.add_api_route("/api/preset/{name}", preset, methods=["POST"])
    app.add_api_route("/api/plan/{name}", plan, methods=["POST"])
    app.add_api_route("/api/jobs/{name}", run, methods=["POST"])


def _wrong(found: Answer) -> Response:
    problems = {"problems": dict(found.problems), "option_problems": dict(found.option_problems)}
    return _Json({"detail": found.text, **problems}, 422)


def _add_jobs(app: FastAPI, board: Board) -> None:
    streams = [0]

    def found(name: str) -> Any:
        job = board.find(name)
        if job is None:
            raise NotServedError(f"{name[:60]!r}: there is no such job")
        return job

    def jobs() -> list[dict[str, Any]]:
        return board.all()

    def job(name: str) -> dict[str, Any]:
        one = found(name)
        facts = board.facts(one)
        view = one.view() if isinstance(one, Past) else one.view
        rows = [row.as_json() for row in list(view.rows())[:_MOST_ROWS]]
        _, log = lines_of(one, 0, 0)
        return {
            **facts,
            "notes": list(view.notes),
            "cases": rows,
            "log": list(log)[-500:],
            "dest_shown": _shown(board, facts["dest"]),
            "is_training": _is_training(board, facts["dest"]),
            "reports": _reports(board, facts),
        }

    def stop(name: str) -> dict[str, Any]:
        one = found(name)
        board.stop(one)
        return board.facts(one)

    async def events(name: str, request: Request, *, everything: bool = False) -> Response:
        one = found(name)
        if streams[0] >= _MOST_STREAMS:
            raise TooManyError("too many pages watch jobs; close one")
        last = request.headers.get("last-event-id", "")
        start = int(last) + 1 if last.isdecimal() and len(last) < 12 else 0
        if is_over(one) and start and start >= len(lines_of(one, 0, 0)[0]) and not everything:
            return Response(status_code=204)  # the browser need not come back

        async def told() -> AsyncIterator[str]:
            streams[0] += 1
            try:
                async for piece in _stream(board, name, one, start, everything=everything):
                    yield piece
            finally:
                streams[0] -= 1

        return StreamingResponse(told(), media_type="text/event-stream")

    app.add_api_route("/api/jobs", jobs)
    app.add_api_route("/api/jobs/{name}", job)
    app.add_api_route("/api/jobs/{name}/events", events)
    app.add_api_route("/api/jobs/{name}/stop", stop, methods=["POST"])


async def _stream(board: Board, name: str, job: Any, start: int, *, everything: bool) -> AsyncIterator[str]:
    """Yield the lines of a command as server-sent events; for our page also its log, its state and its end."""
    at, at_log = start, 0
    with board.changes.watch(name) as changed:
        while True:
            changed.clear()
            was_over = is_over(job)
            events, log = lines_of(job, at, at_log)
            pieces = [f"id: {at + number}\ndata: {json_line(event)}\n\n" for number, event in enumerate(events)]
            at, at_log = at + len(events), at_log + len(log)
            if everything:
                if log:
                    pieces.append(f"event: log\ndata: {json_line(list(log))}\n\n")
                pieces.append(f"event: {'end' if was_over else 'state'}\ndata: {json_line(board.facts(job))}\n\n")
            if pieces:
                yield "".join(pieces)
            if was_over:
                return
            try:
                await asyncio.wait_for(changed.wait(), _QUIET_S)
                await asyncio.sleep(0.05)  # what follows at once goes along
            except asyncio.TimeoutError:
                yield ": still there\n\n"


def _shown(board: Board, path: str) -> str | None:
    try:
        return board.root.shown(board.root.any(path)) if path else None
    except NotServedError:
        return None


def _is_training(board: Board, path: str) -> bool:
    try:
        return bool(path) and is_training(board.root.any(path))
    except NotServedError:
        return False


def _reports(board: Board, facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the pages, tables and pictures that a job has written, as far as they lie below the root."""
    found: dict[str, str] = {}
    given, params = [], facts.get("params", {})
    with contextlib.suppress(ParamsError):  # a manifest may tell of an operation that is not installed
        fields = form_named(facts["operation"]).fields
        given = [str(params[one.name]) for one in fields if one.writes and params.get(one.name)]
    for text in [*given, facts["dest"]]:
        try:
            path = board.root.any(text)
        except NotServedError:
            continue
        files = [path] if path.is_file() else sorted(path.iterdir())[:_MOST_ENTRIES] if path.is_dir() else []
        for file in files:
            if file.suffix.lower() in _SHOWN and file.is_file() and not file.name.startswith("."):
                found[board.root.shown(file)] = file.name
    pages_first = sorted(found.items(), key=lambda item: (not item[0].endswith(".html"), item[0]))
    return [{"path": path, "name": name} for path, name in pages_first[:100]]


def _add_volumes(app: FastAPI, board: Board) -> None:
    root, shelf = board.root, Shelf()

    def choices(folder: Path) -> tuple[list[SeriesChoice], str]:
        """Return the series of a folder that lie below the root; a link may lead outside."""
        found, note = shelf.choices(folder)
        own = [one for one in found if all(root.holds(path) for path in one.series.files)]
        if not own:
            raise NotServedError(f"{root.shown(folder)!r}: its DICOM series lie outside the root")
        return own, note

    def chosen(folder: Path, key: str) -> Series | None:
        return chosen_series(Path(folder.name), choices(folder)[0], key) if folder.is_dir() else None

    def series(path: str) -> dict[str, Any]:
        folder = root.subfolder(path)
        found, note = choices(folder)
        return {"path": root.shown(folder), "note": note, "series": [one.as_json() for one in found]}

    def volume(path: str, series: str = "") -> dict[str, Any]:
        found = _volume(board, path)
        one = chosen(found, series)
        voxels = None if one is None else shelf.voxels(found, "image", 0, one)
        others = {name: root.shown(other) for name, other in partners(found).items()}
        return {**geometry_of(found, voxels), "path": root.shown(found), "series": series, "partners": others}

    def data(
        path: str,
        level: int = 0,
        kind: Literal["image", "label", ""] = "",
        channel: int = 0,
        axis: int | None = None,
        index: int = 0,
        series: str = "",
        *,
        project: bool = False,
    ) -> Response:
        found = _volume(board, path)
        if level not in range(3) or axis not in (None, 0, 1, 2) or not 0 <= channel < 1000:
            raise NotServedError("level and axis are 0, 1 or 2")
        voxels = shelf.voxels(found, kind or guess_kind(found), channel, chosen(found, series))
        array: Any = voxels.level(level)
        if axis is not None and project:  # the largest value along the axis
            array = array.max(axis=axis)
        elif axis is not None:
            if not 0 <= index < array.shape[axis]:
                raise NotServedError(f"axis {axis} has no slice {index}")
            array = array.take(index, axis=axis)
        facts = {**voxels.facts, "shape": array.shape, "level": level}
        headers = {"x-itkit-voxels": json.dumps(facts), "content-length": str(array.size * 2)}
        return StreamingResponse(_pieces(array), media_type="application/octet-stream", headers=headers)

    app.add_api_route("/api/series", series)
    app.add_api_route("/api/volume", volume)
    app.add_api_route("/api/volume/data", data)


def _volume(board: Board, path: str) -> Path:
    found = board.root.any(path)
    return board.root.subfolder(path) if found.is_dir() else board.root.file(path)


def _pieces(array: Any) -> Iterator[bytes]:
    step = max(1, _PIECE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        yield array[start : start + step].tobytes()
