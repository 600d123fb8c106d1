"""The entry point of every command; the name of the program decides which command runs."""

from __future__ import annotations

import gc
import sys

from itkit.cli.operation import asks_help
from itkit.cli.operation import main as main

SCRIPTS = ("mmrun", "itkit-web")
"""Verbs that are programs of their own, too."""


def command() -> int:
    """Run the command with the name of this program: ``itk_check``, ``itkit`` or ``python -m itkit``."""
    name = program_name(sys.argv[0])
    is_operation = name.startswith("itk_")
    if is_operation and asks_help(sys.argv[1:]):
        return main(name)
    from itkit.cli import interrupts  # its import would take a fifth of the time that help takes

    interrupts.end_at_once(name if is_operation or name in SCRIPTS else "itkit")
    if is_operation:
        code = main(name)
    elif name in SCRIPTS:
        from itkit.cli.umbrella import script

        code = script(name)
    else:
        from itkit.cli.umbrella import main as umbrella

        code = umbrella()
    interrupts.ignore()
    gc.freeze()  # Python ends sooner when its last collections have nothing to look at
    return code


def program_name(path: str) -> str:
    """Return a program's name without its folder and the suffixes that Windows adds.

    Examples
    --------
    >>> program_name("/usr/bin/itk_check"), program_name("C:/Scripts/ITK_CHECK.EXE"), program_name("itk_aug-script.py")
    ('itk_check', 'itk_check', 'itk_aug')
    """
    name = path.replace("\\", "/").rpartition("/")[2].lower()
    return name.removesuffix(".exe").removesuffix(".py").removesuffix("-script")
