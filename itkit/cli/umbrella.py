"""``itkit <verb>``: every command under one name, and the verbs that belong to no single command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from itkit.catalogue import CATALOGUE, Entry, describe_registered, named, registered
from itkit.cli.streams import open_closed_streams

_VERBS = {name.removeprefix("itk_"): name for name in named("process")}
_OTHERS = {
    "convert-dataset": "NAME SOURCE DEST: convert an official release to image/ + label/ (--list shows the names)",
    "list": "list all operations: commands, converters, and operations of other packages",
    "doctor": "show versions, optional packages, cores, memory, codecs",
    "rerun": "FILE: repeat the run that a run.json or …_configs.json describes",
    "demo": "[--data DIR] [--out DIR]: run the whole chain on a real CT, with a report to look at",
    "models": "[PATTERN]: list the networks",
    "completion": "bash|zsh|fish: print a script that completes commands and options",
}


def usage() -> str:
    """Return the usage text with the list of commands."""
    width = max(map(len, [*_VERBS, *_OTHERS])) + 2
    lines = ["usage: itkit <verb> [arguments]", "", "commands (also as itk_<verb>; --help tells more):"]
    lines += [f"  {verb:<{width}}{CATALOGUE[name].summary}" for verb, name in _VERBS.items()]
    lines += ["", "and:"]
    lines += [f"  {verb:<{width}}{text}" for verb, text in _OTHERS.items()]
    return "\n".join([*lines, "", "example:", "  itkit resample dataset raw resampled --spacing 1.5 0.8 0.8 --mp"])


def listing() -> str:
    """Return the list of all operations, by the names for ``itkit`` and `itkit.run`, and of unusable plug-ins."""
    more, wrong = describe_registered()
    groups = {
        "commands (also without itk_; itkit NAME --help tells more)": _entries("process"),
        "converters of datasets (also: itkit convert-dataset NAME)": _entries("convert"),
        "exports": _entries("export"),
        "downloads": _entries("download"),
        "of other packages": more,
    }
    width = max(len(name) for entries in groups.values() for name in entries) + 2
    lines = []
    for title, entries in groups.items():
        rows = [f"  {name:<{width}}{_summary(entry)}" for name, entry in entries.items()]
        lines += [f"{title}:", *rows, ""] if rows else []
    lines += ["plug-ins that can't be used:", *(f"  {message}" for message in wrong), ""] if wrong else []
    return "\n".join([*lines, 'in Python: itkit.run(NAME, ...), or the function of that operation; see help("itkit")'])


def _entries(group: str) -> dict[str, Entry]:
    return {name: CATALOGUE[name] for name in named(group)}


def _summary(entry: Entry) -> str:
    return f"{entry.summary} ({entry.package})" if entry.package else entry.summary


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb and return its exit code."""
    open_closed_streams()
    try:
        code = _main(argv)
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
    if verb == "list":
        print(listing())
        return 0
    name = _operation(verb)
    if name is not None:
        from itkit.cli.operation import main as run

        return run(name, arguments, prog=f"itkit {verb}")
    if verb == "convert-dataset":
        from itkit.cli.datasets import main as convert

        return convert(arguments)
    if verb not in _OTHERS:
        from itkit.core.text import did_you_mean

        hint = did_you_mean(verb, verbs())
        print(f"itkit: error: no command {verb!r}{hint} (itkit list shows all)", file=sys.stderr)
        return 2
    return _guarded(verb, arguments)


def _operation(verb: str) -> str | None:
    """Return the name of the operation that a verb means; operations of other packages come last."""
    names = (verb, f"itk_{verb}")
    if verb in _OTHERS:
        return None
    ours = next((name for name in names if name in CATALOGUE), None)
    return ours or next((name for name in names if name in registered()), None)


def verbs() -> list[str]:
    """Return every verb, also those of other packages."""
    names = [name.removeprefix("itk_") for name in (*CATALOGUE, *registered())]
    return [*names, *_OTHERS]


def _guarded(verb: str, arguments: list[str]) -> int:
    from itkit.cli import interrupts
    from itkit.core.errors import ItkitError
    from itkit.core.text import shown
    from itkit.io.disk import os_reason

    actions: dict[str, Callable[[list[str]], int]] = {
        "doctor": _doctor,
        "rerun": _rerun,
        "demo": _demo,
        "models": _models,
        "completion": _completion,
    }
    try:
        with interrupts.raised():
            return actions[verb](arguments)
    except ItkitError as error:
        print(f"itkit {verb}: error: {shown(str(error), lines=True)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"itkit {verb}: error: {shown(os_reason(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"itkit {verb}: interrupted", file=sys.stderr)
        return 130


def _doctor(arguments: list[str]) -> int:
    from itkit.cli.doctor import report

    del arguments
    print(report())
    return 0


def _rerun(arguments: list[str]) -> int:
    from pathlib import Path

    from itkit.catalogue import load
    from itkit.cli.terminal import run_operation
    from itkit.core.errors import ParamsError
    from itkit.engine.options import RunOptions
    from itkit.engine.parameters import make_params
    from itkit.io.meta import read_json

    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        raise ParamsError("give one file: a run.json or …_configs.json that a command wrote")
    value = read_json(Path(arguments[0]))
    name = value.get("operation") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise ParamsError(f"{arguments[0]}: does not describe a run of ITKIT")
    operation = load(name)
    given, options = value.get("params", {}), value.get("options", {})
    if not isinstance(given, dict) or not isinstance(options, dict):
        raise ParamsError(f"{arguments[0]}: params and options: expected names and values")
    options = {key: item for key, item in options.items() if item is not None}
    return run_operation(operation, make_params(operation.params, given), make_params(RunOptions, options))


def _demo(arguments: list[str]) -> int:
    from itkit.cli.demo import main as demo

    return demo(arguments)


def _models(arguments: list[str]) -> int:
    from itkit.core.errors import ParamsError
    from itkit.models.registry import table

    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        raise ParamsError("give one pattern, such as 'mednext*', or none for all networks")
    rows = [(row["name"], row["dims"], row["year"], row["title"]) for row in table(*arguments)]
    if not rows:
        raise ParamsError(f"no network matches {arguments[0]!r}; itkit models lists all")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _completion(arguments: list[str]) -> int:
    from itkit.cli.completion import script
    from itkit.core.errors import ParamsError

    if len(arguments) != 1 or arguments[0] not in ("bash", "zsh", "fish"):
        raise ParamsError("give one shell: bash, zsh or fish")
    print(script(arguments[0], verbs()), end="")
    return 0
