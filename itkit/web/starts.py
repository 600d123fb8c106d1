"""The guided start of the page: what somebody has, the commands that are proposed, and their run as a chain of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from itkit.core.errors import NotServedError, ParamsError, RequestError
from itkit.forms.chains import STARTS, Start, Step, chain, pipeline_text
from itkit.forms.pages import pages
from itkit.forms.presets import preset_values
from itkit.serving.paths import Root
from itkit.web.requests import Asked, answer

if TYPE_CHECKING:
    from fastapi import FastAPI

    from itkit.web.board import Board

_CONVERTERS = "Public datasets"


class Has(BaseModel):
    """The body of a request: where it is, where results go, if no saved pipeline says it, and which public dataset."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(min_length=1)
    work: str = ""
    converter: str = ""


def add_starts(app: FastAPI, board: Board) -> None:
    """Add ``/api/starts``, the steps of a start, and their run."""
    root = board.root

    def starts() -> dict[str, Any]:
        converters = [page for page in pages()[0] if page.group == _CONVERTERS]
        return {
            "starts": [
                {
                    "key": one.key,
                    "title": one.title,
                    "help": one.help,
                    "asks_converter": one.asks_converter,
                    "is_saved": one.is_saved,
                }
                for one in STARTS
            ],
            "converters": [{"name": page.name, "title": page.title} for page in converters],
        }

    def steps(key: str, has: Has) -> dict[str, Any]:
        found = steps_of(_start(key), has, root)
        is_right = all(step.params is not None for step in found)
        return {
            "steps": [_as_json(step) for step in found],
            "pipeline": pipeline_text(found, root.folder) if is_right else "",
        }

    def run(key: str, has: Has) -> dict[str, Any]:
        found = steps_of(_start(key), has, root)
        asked = [_asked(step) for step in found]
        answers = [answer(step.operation, one, root) for step, one in zip(found, asked, strict=True)]
        commands = [one.command for one in answers if one.command is not None]
        if len(commands) < len(found):
            raise RequestError("; ".join(filter(None, (one.text for one in answers))))
        for number, (step, said) in enumerate(zip(found, answers, strict=True), 1):
            if said.deletes:
                raise RequestError(
                    f"step {number}, {step.operation}, may delete files in {said.deletes}; run it by its form"
                )
        board.require_room(len(found))
        jobs: list[str] = []
        for command, one in zip(commands, asked, strict=True):
            before = jobs[-1] if jobs else ""
            jobs.append(board.add(command, params=one.params, options=one.options, after=before))
        return {"jobs": jobs}

    app.add_api_route("/api/starts", starts)
    app.add_api_route("/api/starts/{key}", steps, methods=["POST"])
    app.add_api_route("/api/starts/{key}/run", run, methods=["POST"], status_code=202)


def steps_of(start: Start, has: Has, root: Root) -> list[Step]:
    """Return the steps; both folders lie below the root.

    Raises
    ------
    NotServedError
        When a folder lies outside.
    RequestError
        When a saved pipeline is wrong.
    """
    if start.is_saved:
        file = root.file(has.source.strip())
        try:
            return chain(start, str(file), "")
        except ParamsError as error:
            raise RequestError(str(error)) from error
    if not has.work.strip():
        raise RequestError("work: say where results go")
    source, work = (root.any(text.strip()) for text in (has.source, has.work))
    return chain(start, str(source), str(work), has.converter)


def _start(key: str) -> Start:
    found = next((one for one in STARTS if one.key == key), None)
    if found is None:
        raise NotServedError(f"{key[:60]!r}: there is no such start")
    return found


def _asked(step: Step) -> Asked:
    if step.params is None:
        raise ParamsError(step.problem)
    return Asked(params=preset_values(step.params), options=preset_values(step.options) if step.options else {})


def _as_json(step: Step) -> dict[str, Any]:
    asked = Asked() if step.params is None else _asked(step)
    return {
        "why": step.why,
        "operation": step.operation,
        "command": "" if step.command is None else step.command.text,
        "problem": step.problem,
        "params": asked.params,
        "options": asked.options,
    }
