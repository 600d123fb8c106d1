"""``itkit <verb>``: every command under one name, and the verbs that belong to no single command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from itkit.catalogue import ALIASES, CATALOGUE, named, registered
from itkit.cli.streams import open_closed_streams
from itkit.cli.verbs import VERBS

_OPERATIONS = {name.removeprefix("itk_"): name for name in named("process")}


def command_groups() -> dict[str, dict[str, str]]:
    """Return the verbs with their summaries, in groups by title."""
    commands = {verb: CATALOGUE[name].summary for verb, name in _OPERATIONS.items()}
    others = {name: verb.line() for name, verb in VERBS.items()}
    return {"commands (also as itk_<verb>; --help tells more)": commands, "and": others}


def usage() -> str:
    """Return the usage text with the list of commands."""
    groups = command_groups()
    width = max(len(verb) for rows in groups.values() for verb in rows) + 2
    lines = ["usage: itkit <verb> [arguments]", ""]
    for title, rows in groups.items():
        lines += [f"{title}:", *(f"  {verb:<{width}}{summary}" for verb, summary in rows.items()), ""]
    return "\n".join([*lines, "example:", "  itkit resample dataset raw resampled --spacing 1.5 0.8 0.8 --mp"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit code."""
    return _ended(lambda: _main(argv))


def script(verb: str, argv: Sequence[str] | None = None) -> int:
    """Run a verb that is a program of its own, e.g. ``mmrun`` or ``itkit-web``, and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = verb.removeprefix("itkit-")
    return _ended(lambda: _version(verb) if "--version" in arguments else _guarded(name, arguments, verb))


def _version(prog: str) -> int:
    from itkit.core.version import VERSION

    print(f"{prog} (itkit {VERSION})")
    return 0


def _ended(run: Callable[[], int]) -> int:
    open_closed_streams()
    try:
        code = run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("itkit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has closed it, e.g. head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments.pop(0) if arguments else "--help"
    if verb == "--version":
        from itkit.core.version import VERSION

        print(f"itkit {VERSION}")
        return 0
    if verb in ("--help", "-h"):
        print(usage())
        return 0
    name = find_operation(verb)
    if name is not None:
        from itkit.cli.operation import main as run

        return run(name, arguments, prog=f"itkit {verb}")
    if verb in ALIASES:
        verb, arguments = "convert-dataset", [verb.removeprefix("convert_"), *arguments]
    if verb == "convert-dataset":
        return _run(verb, arguments, f"itkit {verb}")  # it runs an operation, which tells errors and interrupts itself
    if verb not in VERBS:
        from itkit.core.text import did_you_mean

        hint = did_you_mean(verb, verbs())
        print(f"itkit: error: no command {verb!r}{hint} (itkit list shows all)", file=sys.stderr)
        return 2
    return _guarded(verb, arguments, f"itkit {verb}")


def find_operation(verb: str) -> str | None:
    """Return the name of the operation that a verb means; operations of other packages come last."""
    names = (verb, f"itk_{verb}")
    if verb in VERBS:
        return None
    ours = next((name for name in names if name in CATALOGUE), None)
    return ours or next((name for name in names if name in registered()), None)


def verbs() -> list[str]:
    """Return every verb, also those of other packages."""
    names = [name.removeprefix("itk_") for name in (*CATALOGUE, *registered())]
    return [*names, *VERBS]


def _guarded(verb: str, arguments: list[str], prog: str) -> int:
    from itkit.cli import interrupts
    from itkit.core.errors import ItkitError
    from itkit.core.text import shown
    from itkit.io.disk import os_reason

    try:
        with interrupts.raised():
            return _run(verb, arguments, prog)
    except ItkitError as error:
        print(f"{prog}: error: {shown(str(error), lines=True)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"{prog}: error: {shown(os_reason(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130


def _run(verb: str, arguments: list[str], prog: str) -> int:
    module, _, attribute = VERBS[verb].path.partition(":")
    found: Any = getattr(import_module(module), attribute)
    if callable(found):
        return int(found(arguments))
    from itkit.cli.adapter import parse_tool
    from itkit.cli.help import help_text

    is_lacking = not arguments and any(field.is_required() for field in found.params.model_fields.values())
    if "--help" in arguments or "-h" in arguments or is_lacking:
        print(help_text(found, prog=prog), end="", file=sys.stderr if is_lacking else sys.stdout)
        return 2 if is_lacking else 0
    return int(found.run(parse_tool(found, arguments, prog=prog)))
