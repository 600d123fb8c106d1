"""Entry points: ``itk_*`` commands, and what they print.

Nothing heavy is imported before it is needed: ``--help`` and ``--version`` read a text that is made from the models
when the package is built, and a test keeps it true.
"""

from __future__ import annotations

import os
import sys

HELP_FOLDER = os.path.join(os.path.dirname(__file__), "help")  # noqa: PTH118, PTH120 - pathlib takes longer than the rest


def main(name: str, argv: list[str] | None = None, *, prog: str | None = None) -> int:
    """Run a command and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--version" in argv:
        from itkit import __version__

        print(f"{name} (itkit {__version__})")
        return 0
    if "--help" in argv or "-h" in argv or not argv:
        text = _help_page(name)
        print(text if prog is None else text.replace(name, prog, 1), end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # commands do no algebra; its threads cost a third of the start
    from itkit.cli.catalogue import load
    from itkit.cli.terminal import run_command

    return run_command(load(name), argv, prog=prog)


def _help_page(name: str) -> str:
    try:
        with open(f"{HELP_FOLDER}/{name}.txt", encoding="utf-8") as page:  # noqa: PTH123 - as above
            return page.read()
    except FileNotFoundError:
        from itkit.cli.adapter import help_text
        from itkit.cli.catalogue import load

        return help_text(load(name))


def itk_check() -> int:
    """Run ``itk_check``."""
    return main("itk_check")


def itk_resample() -> int:
    """Run ``itk_resample``."""
    return main("itk_resample")


def itk_orient() -> int:
    """Run ``itk_orient``."""
    return main("itk_orient")


def itk_patch() -> int:
    """Run ``itk_patch``."""
    return main("itk_patch")


def itk_aug() -> int:
    """Run ``itk_aug``."""
    return main("itk_aug")


def itk_extract() -> int:
    """Run ``itk_extract``."""
    return main("itk_extract")


def itk_convert() -> int:
    """Run ``itk_convert``."""
    return main("itk_convert")
