"""Run an operation from a terminal: parse its arguments, show progress and summary, return an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from itkit.cli import interrupts
from itkit.cli.adapter import parse
from itkit.core.errors import ItkitError
from itkit.core.operation import Operation
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.engine.options import RunOptions
from itkit.engine.progress import EVENTS, Event
from itkit.engine.runner import execute
from itkit.io.disk import os_reason
from itkit.io.json_files import json_line


def run_command(operation: Operation[Any], argv: Sequence[str], *, prog: str | None = None) -> int:
    """Parse a command line, run the operation, and return the exit code."""
    try:
        params, options = parse(operation, argv, prog=prog)
    except ItkitError as error:
        print(f"{prog or operation.name}: error: {shown(str(error), lines=True)}", file=sys.stderr)
        return 2
    return run_operation(operation, params, options)


def run_operation(
    operation: Operation[Any], params: Params, options: RunOptions, show: JsonLines | Terminal | None = None
) -> int:
    """Run an operation, show its progress and summary, and return the exit code.

    Parameters
    ----------
    operation, params, options
        What is run.
    show
        Shows the events; by default in the form that the options ask for.
    """
    show = show or (JsonLines() if options.progress == "json" else Terminal(options.progress))
    try:
        with interrupts.raised() as lost:

            def on_event(event: Event) -> None:
                lost.again()
                show(event)

            wants_begin = options.progress == "json" and os.environ.get(EVENTS) == "begin"
            on_begin = on_event if wants_begin else None
            result = execute(
                operation,
                params,
                options,
                on_event=on_event,
                on_begin=on_begin,
                is_brief=options.progress != "json",
                confirm=_confirm(),
            )
    except ItkitError as error:
        show.close()
        print(f"{operation.name}: error: {shown(str(error), lines=True)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        show.close()
        print(f"{operation.name}: interrupted", file=sys.stderr)
        return 130
    except (OSError, MemoryError) as error:
        show.close()
        print(f"{operation.name}: error: {shown(_reason(error))}", file=sys.stderr)
        return 2 if isinstance(error, FileNotFoundError) and not _has_folder() else 1
    show.close()
    return show.output.exit_code(result.exit_code)


class Output:
    """The output of a run. If it can't be written, or nobody reads it any more, the run goes on without it."""

    def __init__(self) -> None:
        self.lost: OSError | None = None

    def tell(self, text: str, stream: Any) -> None:
        """Print a line."""
        self.write(stream, lambda: print(text, file=stream, flush=True))

    def write(self, stream: Any, write: Callable[[], object]) -> None:
        """Write to a stream; if that fails, whatever follows on this stream is dropped."""
        try:
            write()
        except OSError as error:
            self.lost = self.lost or error
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    def exit_code(self, code: int) -> int:
        """Return the exit code of a run: 1 if its output can't be written; a reader that went away changes nothing."""
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return code
        self.tell(f"error: the output can't be written ({self.lost.strerror or self.lost})", sys.stderr)
        return code or 1


def _reason(error: OSError | MemoryError) -> str:
    if isinstance(error, FileNotFoundError) and not _has_folder():
        return "the current folder is gone; change to one that exists"
    return os_reason(error) if isinstance(error, OSError) else "not enough memory"


def _has_folder() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _confirm() -> Callable[[str], bool] | None:
    """Return a function that asks the user, or ``None`` without a terminal."""
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):  # each may be closed
        return None

    def ask(question: str) -> bool:
        print(f"{shown(question, lines=True)} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


class JsonLines:
    """Prints events as JSON lines on stdout, the summary last. Text for people goes to stderr."""

    def __init__(self) -> None:
        self.output = Output()

    def __call__(self, event: Event) -> None:
        """Print an event."""
        self.output.tell(json_line(event), sys.stdout)
        if event["event"] == "summary":
            self.output.tell(shown(event["text"]), sys.stderr)

    def close(self) -> None:
        """Do nothing; there is no bar to remove."""


class BarOutput:
    """An output with a bar on stderr, if it is wanted, and lines above it."""

    def __init__(self, progress: str) -> None:
        self.output = Output()
        self.wants_bar = progress == "bar" or (progress == "auto" and sys.stderr.isatty())
        self.is_quiet = progress == "none"
        self.bar: Any = None

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.output.write(sys.stderr, self.bar.close)
            self.bar = None

    def _open(self, **options: Any) -> None:
        """Open the bar."""
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # prevents a thread, with which workers can't be forked (see engine.executors)

        def open_bar() -> None:
            self.bar = tqdm(file=sys.stderr, dynamic_ncols=True, **options)

        self.output.write(sys.stderr, open_bar)

    def _say(self, text: str, *, error: bool = True, lines: bool = False) -> None:
        if self.bar is not None:
            self.output.write(sys.stderr, self.bar.clear)
        self.output.tell(shown(text, lines=lines), sys.stderr if error else sys.stdout)


class Terminal(BarOutput):
    """Shows a bar while cases run, a line for each warning and failure, and a summary at the end."""

    def __init__(self, progress: str) -> None:
        super().__init__(progress)
        self.dry_run = False

    def __call__(self, event: Event) -> None:
        """Show an event."""
        kind = event["event"]
        if kind == "case":
            self._case(event)
        elif kind == "start":
            self._start(event)
        elif kind == "summary":
            self._summary(event)

    def _start(self, event: Event) -> None:
        self.dry_run = bool(event["dry_run"])
        for note in event["notes"]:
            self._say(f"note: {note}")
        for item in event["unpaired"]:
            self._say(f"unpaired: {item['path']} has no {item['lacks']}")
        if self.wants_bar and not self.dry_run:
            self._open(total=event["total"], desc=event["operation"], unit="case")

    def _case(self, event: Event) -> None:
        if self.dry_run and event["status"] in ("planned", "skipped", "left"):
            self._say(f"{event['status']}: {event['message']}", error=False)
            return
        for warning in event["warnings"]:
            self._say(f"warning: {event['case']}: {warning}")
        if event["status"] in ("failed", "crashed", "left") or (event["status"] == "skipped" and event["message"]):
            self._say(f"{event['status']}: {event['message']}", lines=event["status"] == "crashed")
        if self.bar is not None:
            more = event["number"] - self.bar.n
            self.output.write(sys.stderr, lambda: self.bar.update(more))

    def _summary(self, event: Event) -> None:
        self.close()
        for line in event["lines"]:
            self._say(line, error=line.startswith("error:"))
        self._say(event["text"], error=False)
