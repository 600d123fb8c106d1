"""Entry points: ``itk_*`` commands, and what they print.

Nothing heavy is imported before it is needed: ``--help`` and ``--version`` read a text that is made from the models
when the package is built, and a test keeps it true.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

HELP_FOLDER = os.path.join(os.path.dirname(__file__), "help")  # noqa: PTH118, PTH120 - pathlib takes longer than the rest


def main(name: str, argv: list[str] | None = None, *, prog: str | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        return _main(name, argv, prog)
    except KeyboardInterrupt:  # before the run has begun
        print(f"{prog or name}: interrupted", file=sys.stderr)
        return 130


def _main(name: str, argv: list[str] | None, prog: str | None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a name of a file may be no text
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    if "--version" in argv:
        from itkit.core.version import VERSION

        print(f"{name} (itkit {VERSION})")
        return 0
    if "--help" in argv or "-h" in argv or not argv:
        text = _help_page(name)
        print(text if prog is None else text.replace(name, prog, 1), end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # commands do no algebra; its threads cost a third of the start
    gc.disable()  # what imports make stays
    _pass_over_plugins()
    from itkit.catalogue import load
    from itkit.cli.terminal import run_command

    operation = load(name)
    gc.freeze()  # no collection looks at it, no worker copies it for its counts
    gc.enable()
    return run_command(operation, argv, prog=prog)


def _pass_over_plugins() -> None:
    """Spare pydantic the search for its plugins: the metadata of every installed package, a tenth of a run's start."""
    name = "importlib.metadata"
    if name in sys.modules:
        return
    stand_in = type(sys)(name)
    stand_in.entry_points = stand_in.distributions = lambda **_: ()  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        import pydantic.plugin._loader  # noqa: F401
    except ImportError:  # it has moved: the search takes place
        pass
    finally:
        del sys.modules[name]


def leave(code: int) -> int:
    """End the process at once where nothing is left to do: to take all modules apart takes a tenth of a short run."""
    if "threading" in sys.modules and sys.modules["threading"].active_count() > 1:
        return code
    try:
        atexit._run_exitfuncs()
        for stream in filter(None, (sys.stdout, sys.stderr)):  # either may be closed
            stream.flush()
    except OSError:  # whoever read our output has gone; Python knows what to do
        return code
    os._exit(code)


def _help_page(name: str) -> str:
    try:
        with open(f"{HELP_FOLDER}/{name}.txt", encoding="utf-8") as page:  # noqa: PTH123 - as above
            return page.read()
    except FileNotFoundError:
        from itkit.catalogue import load
        from itkit.cli.help import help_text

        return help_text(load(name))


def itk_check() -> int:
    """Run ``itk_check``."""
    return leave(main("itk_check"))


def itk_resample() -> int:
    """Run ``itk_resample``."""
    return leave(main("itk_resample"))


def itk_orient() -> int:
    """Run ``itk_orient``."""
    return leave(main("itk_orient"))


def itk_patch() -> int:
    """Run ``itk_patch``."""
    return leave(main("itk_patch"))


def itk_aug() -> int:
    """Run ``itk_aug``."""
    return leave(main("itk_aug"))


def itk_extract() -> int:
    """Run ``itk_extract``."""
    return leave(main("itk_extract"))


def itk_convert() -> int:
    """Run ``itk_convert``."""
    return leave(main("itk_convert"))
