"""Run one operation of the catalogue as a command.

Heavy modules are imported only when they are needed. ``--help`` prints a page that was made from the models beforehand;
a test checks that it is up to date.
"""

from __future__ import annotations

import gc
import os
import sys

from itkit.cli.streams import open_closed_streams

HELP_FOLDER = os.path.join(os.path.dirname(__file__), "help")  # noqa: PTH118, PTH120 - pathlib takes longer than the rest


def main(name: str, argv: list[str] | None = None, *, prog: str | None = None) -> int:
    """Run an operation of the catalogue and return its exit code."""
    open_closed_streams()
    try:
        return _main(name, sys.argv[1:] if argv is None else argv, prog or name)
    except KeyboardInterrupt:  # before the run has begun, or once more while it ended
        print(f"{prog or name}: interrupted", file=sys.stderr)
        return 130


def _main(name: str, argv: list[str], prog: str) -> int:
    for stream in filter(None, (sys.stdout, sys.stderr)):  # file names may hold bytes that are not valid text
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    if "--version" in argv:
        from itkit.core.version import VERSION

        print(f"{name} (itkit {VERSION})")
        return 0
    if not asks_help(argv):
        return _run(name, argv, prog)
    try:
        with open(f"{HELP_FOLDER}/{name}.txt", encoding="utf-8") as page:  # noqa: PTH123 - as above
            return _show_help(page.read().replace(name, prog, 1), argv)
    except FileNotFoundError:  # an operation of another package
        return _run(name, argv, prog)


def asks_help(argv: list[str]) -> bool:
    """Whether a command shows its help: when it is asked to, or gets no argument."""
    return "--help" in argv or "-h" in argv or not argv


def _show_help(text: str, argv: list[str]) -> int:
    """Print a help text; if nobody asked for it, print it to stderr and return 2."""
    print(text, end="", file=sys.stdout if argv else sys.stderr)
    return 0 if argv else 2


def _run(name: str, argv: list[str], prog: str) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # commands do no algebra; its threads take a third of the start
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # avoids reading metadata of all installed packages
    gc.disable()  # objects that imports make are never garbage
    from itkit.catalogue import load
    from itkit.cli.terminal import run_command
    from itkit.core.errors import ItkitError
    from itkit.core.text import shown

    try:
        operation = load(name)
    except ItkitError as error:  # there is no such operation, or the package that brings it is broken
        print(f"{prog}: error: {shown(str(error), lines=True)}", file=sys.stderr)
        return 2
    gc.freeze()  # collections skip these objects, and forked workers share their memory
    gc.enable()
    if asks_help(argv):
        from itkit.cli.help import help_text

        return _show_help(help_text(operation, prog=prog), argv)
    return run_command(operation, argv, prog=prog)
