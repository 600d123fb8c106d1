"""``itkit run``: the steps of a pipeline one after the other; again: what is left."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

from itkit.cli.terminal import run_operation
from itkit.core.errors import ParamsError
from itkit.core.fields import FreeText, PathRole, Positional
from itkit.core.params import Params
from itkit.core.text import did_you_mean
from itkit.core.tool import Tool
from itkit.engine.pipeline import PipelineStep, read_pipeline
from itkit.io.disk import write_text
from itkit.io.json_files import write_json
from itkit.report.pages import Section, element, link, page, table

_RESULTS = {0: "done", 1: "done, some cases failed", 2: "could not run", 130: "interrupted"}


class PipelineParams(Params):
    """Run the steps of a pipeline: each continues where it was left, and its report is linked on one page."""

    pipeline: Annotated[Path, PathRole("in_file"), Positional("pipeline.toml")]
    """A TOML file with a table [[step]] for each step: run = "itk_resample", params = {...}, options = {...}. Relative
    paths are relative to this file."""
    first: Annotated[str, FreeText("itk_resample")] = ""
    """Begin with this step: its name or number."""
    dry_run: bool = False
    """Check all steps, and show their command lines; run nothing."""
    strict: bool = False
    """Stop when a case of a step failed; by default the others go on, and the exit code is 1."""


def run(params: PipelineParams) -> int:
    """Run a pipeline and return the exit code: the worst of its steps."""
    steps = read_pipeline(params.pipeline)
    begin = _index_of(steps, params.first)
    if params.dry_run:
        for number, step in enumerate(steps, 1):
            print(f"{number}. {step.name}: {step.command}")
        return 0
    rows: list[dict[str, Any]] = []
    worst = 0
    for number, step in enumerate(steps[begin:], begin + 1):
        print(f"step {number} of {len(steps)}: {step.command}", file=sys.stderr)
        started = time.perf_counter()
        code = run_operation(step.operation, step.params, step.options)
        seconds = round(time.perf_counter() - started, 3)
        rows.append(
            {"step": step.name, "command": step.command, "exit_code": code, "seconds": seconds, "pages": _pages(step)}
        )
        _record(params.pipeline, steps, rows)
        worst = max(worst, code)
        if code > 1 or (code == 1 and params.strict):
            left = f"; {len(steps) - number} steps are left" if number < len(steps) else ""
            print(f"itkit run: step {step.name} {_RESULTS.get(code, code)}{left}", file=sys.stderr)
            return code
    print(f"report: {_beside(params.pipeline, '.html')}")
    return worst


def _index_of(steps: tuple[PipelineStep, ...], first: str) -> int:
    if not first:
        return 0
    names = [step.name for step in steps]
    if first in names:
        return names.index(first)
    if first.isdigit() and 1 <= int(first) <= len(steps):
        return int(first) - 1
    raise ParamsError(f"--first: no step {first!r}{did_you_mean(first, names)} (there are {', '.join(names)})")


def _beside(pipeline: Path, ending: str) -> Path:
    return pipeline.with_name(f"{pipeline.stem}-run{ending}")


def _pages(step: PipelineStep) -> list[str]:
    """Return the pages that a step has written."""
    folder = step.written
    return [] if folder is None else sorted(str(path) for path in folder.glob("*.html"))


def _record(pipeline: Path, steps: tuple[PipelineStep, ...], rows: list[dict[str, Any]]) -> None:
    write_json(_beside(pipeline, ".json"), {"pipeline": pipeline.name, "steps": rows})
    base = pipeline.absolute().parent
    cells = [
        (
            row["step"],
            element("code", row["command"]),
            _RESULTS.get(row["exit_code"], str(row["exit_code"])),
            f"{row['seconds']:.1f}",
            element("span", *(link(_relative(Path(name), base), Path(name).name) for name in row["pages"])),
        )
        for row in rows
    ]
    intro = f"{len(rows)} of {len(steps)} steps ran."
    shown = table(("step", "command", "result", "seconds", "reports"), cells)
    write_text(_beside(pipeline, ".html"), page(f"Pipeline {pipeline.stem}", intro, [Section("Steps", [shown])]))


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_uri()


TOOL = Tool("itkit run", PipelineParams, run, "itkit run pipeline.toml --dry-run")
