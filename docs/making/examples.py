"""The worked examples of the commands: they are run, on a real CT, when the pages are made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from itkit.catalogue import named


@dataclass(frozen=True)
class Example:
    """Command lines that run on the CT in ``raw``, what they show, and the picture of their result.

    Attributes
    ----------
    text
        What is done and why.
    commands
        Command lines; each runs in the same folder, and must end with one of ``codes``.
    caption
        What the picture shows.
    draw
        Returns the picture, given the folder in which the commands ran.
    codes
        Exit codes that are right.
    """

    text: str
    commands: Sequence[str]
    caption: str = ""
    draw: Callable[[Path], str] | None = None
    codes: Sequence[int] = (0,)


@dataclass(frozen=True)
class Printed:
    """A command line and what it printed."""

    command: str
    output: str


def picture_of(name: str) -> str:
    """Return the picture of a command's example, below ``docs``."""
    return f"images/made/{name}.svg"


def programs(folder: Path) -> Path:
    """Write the programs that examples call into a folder: this checkout, by the Python that runs now."""
    folder.mkdir(exist_ok=True)
    for name in ("python", "itkit", *named("process")):
        words = {"python": "", "itkit": "-m itkit"}.get(name, f"-m itkit {name}")
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return folder


def run(example: Example, folder: Path) -> list[Printed]:
    """Run the command lines of an example in a folder that holds ``raw``.

    Raises
    ------
    RuntimeError
        When a command ends with another exit code than the example says.
    """
    found = []
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PATH": f"{programs(folder.parent / 'bin')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "COLUMNS": "100",
    }
    for command in example.commands:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        output = done.stdout.replace(f"{folder}{os.sep}", "")
        if done.returncode not in example.codes:
            raise RuntimeError(f"{command}: exit code {done.returncode}\n{output}")
        found.append(Printed(command, output.rstrip()))
    return found


def run_and_draw(name: str, example: Example, data: Path, work: Path) -> tuple[list[Printed], str]:
    """Run an example in a folder of its own, with a copy of the CT; return what it printed, and its picture."""
    folder = work / name
    shutil.copytree(data, folder / "raw")
    printed = run(example, folder)
    return printed, example.draw(folder) if example.draw is not None else ""
