"""The pages and pictures that the build makes, and the checks of a built site."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from itkit.cli.demo import write_torso_dataset
from making import commands, concepts, python_pages
from making.drawing import write
from making.examples import Printed, picture_of, run_and_draw
from making.site import DOCS, MADE
from making.worked import WORKED

AT_ONCE = 2
"""Examples that run at the same time."""


def made_pages(printed: Mapping[str, Sequence[Printed]] | None = None) -> dict[str, str]:
    """Return all pages that the build makes, by their path below ``docs``."""
    return {**commands.pages(printed), **python_pages.pages()}


def made_pictures() -> set[str]:
    """Return the paths of all pictures that the build makes, below ``docs``."""
    return {*concepts.names(), *(picture_of(name) for name, example in WORKED.items() if example.draw is not None)}


def build() -> None:
    """Run all examples, draw all pictures, and write all pages that are not kept in the repository."""
    for folder in MADE:
        shutil.rmtree(DOCS / folder, ignore_errors=True)
    for name, draw in concepts.PICTURES.items():
        write(draw(), DOCS / "images" / "made" / f"{name}.svg")
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(AT_ONCE) as pool:
        data = Path(work, "data")
        write_torso_dataset(data)
        runs = {name: pool.submit(run_and_draw, name, example, data, Path(work)) for name, example in WORKED.items()}
        printed = {}
        for name, future in runs.items():
            printed[name], picture = future.result()
            print(f"ran the example of {name}", file=sys.stderr)
            if picture:
                write(picture, DOCS / picture_of(name))
    for path, text in made_pages(printed).items():
        write(text, DOCS / path)
