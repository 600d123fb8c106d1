"""Chains of commands for what people have: DICOM, folders of volumes, a public dataset, a dataset of ITKIT.

A chain is written as command lines, as one would type them; the command's own parser makes its parameters of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itkit.catalogue import CATALOGUE, load
from itkit.cli.adapter import parse
from itkit.core.errors import ItkitError, ParamsError
from itkit.core.fields import PathRole, marker
from itkit.core.params import Params
from itkit.core.text import shown
from itkit.core.toml import toml_value
from itkit.engine.options import RunOptions
from itkit.engine.pipeline import PipelineStep, read_pipeline
from itkit.forms.command import Command, command_of
from itkit.forms.presets import preset_values

_LOOKED_AT = 1 << 16
"""Bytes of a file in which a first step is looked for."""


@dataclass(frozen=True)
class Start:
    """What somebody has, and the commands that make a clean dataset of it.

    Parameters
    ----------
    key, title, help
        Its name in programs, its name for people, and what it is.
    steps
        Why each command is run, and its words; ``{source}``, ``{work}`` and ``{converter}`` are filled in.
    asks_converter
        Whether a public dataset must be chosen.
    is_saved
        Whether what somebody has is a saved pipeline: its steps say where results go.
    """

    key: str
    title: str
    help: str
    steps: tuple[tuple[str, str], ...]
    asks_converter: bool = False
    is_saved: bool = False


_FURTHER = (
    ("Find what does not conform; every voxel is read", "itk_check check {work}/dataset --deep --mp"),
    ("Turn all axes to one orientation, exactly", "itk_orient {work}/dataset {work}/oriented LPS --mp"),
    ("Bring all cases to one spacing", "itk_resample dataset {work}/oriented {work}/resampled --spacing 1.5 1 1 --mp"),
    ("Measure the result", "itk_stats {work}/resampled {work}/stats --mp"),
)
_OF_IMAGES = (
    ("Turn all axes to one orientation, exactly", "itk_orient {work}/dataset {work}/oriented LPS --mp"),
    (
        "Bring all images to one spacing",
        "itk_resample image {work}/oriented/image {work}/resampled/image --spacing 1.5 1 1 --mp",
    ),
    ("Measure the result", "itk_stats {work}/resampled {work}/stats --mp"),
)
STARTS = (
    Start(
        "dicom",
        "DICOM files",
        "Folders of scanner files, with any names.",
        (
            ("Sort files into series, and series into volumes", "itk_convert dicom {source} {work}/dataset --mp"),
            *_OF_IMAGES,
        ),
    ),
    Start(
        "volumes",
        "Folders of NIfTI, MetaImage or NRRD files",
        "Images and labels in folders of any layout: patterns of paths say which file is what.",
        (
            (
                "Make a dataset by patterns of paths; tick Guess first to see what fits",
                "itk_collect {source} {work}/dataset --image '**/{{case}}_image.*' --label '**/{{case}}_label.*' --mp",
            ),
            *_FURTHER,
        ),
    ),
    Start(
        "public",
        "A public dataset",
        "An official release, as unpacked: classes, names and known faults are taken care of.",
        (("Convert the release", "{converter} {source} {work}/dataset --mp"), *_FURTHER),
        asks_converter=True,
    ),
    Start(
        "dataset",
        "A dataset with image/ and label/",
        "Files of one name in both folders.",
        (
            ("Find what does not conform; every voxel is read", "itk_check check {source} --deep --mp"),
            ("Turn all axes to one orientation, exactly", "itk_orient {source} {work}/oriented LPS --mp"),
            *_FURTHER[2:],
        ),
    ),
    Start(
        "pipeline",
        "A saved pipeline",
        "The file of a chain, as itkit run takes it: run again, it goes on where it was left.",
        (),
        is_saved=True,
    ),
)


@dataclass(frozen=True)
class Step:
    """A command of a chain.

    Parameters
    ----------
    why
        What it is for.
    operation
        Its name.
    params, options
        Its parameters, if the words are right.
    problem
        What is wrong with the words.
    """

    why: str
    operation: str
    params: Params | None = None
    options: RunOptions | None = None
    problem: str = ""

    @property
    def command(self) -> Command | None:
        """The command, if the words are right."""
        return None if self.params is None else command_of(load(self.operation), self.params, self.options)

    @property
    def values(self) -> Mapping[str, Any]:
        """The values for its form."""
        models = [model for model in (self.params, self.options) if model is not None]
        return preset_values(*models)


def chain(start: Start, source: str, work: str, converter: str = "") -> list[Step]:
    """Return the commands for a source and a folder for the results; those of a saved pipeline are in its file.

    Raises
    ------
    ParamsError
        When a saved pipeline can't be read.

    Examples
    --------
    >>> steps = chain(STARTS[0], "scans", "work")
    >>> [step.operation for step in steps]
    ['itk_convert', 'itk_orient', 'itk_resample', 'itk_stats']
    >>> steps[0].command.text
    'itk_convert dicom scans work/dataset --ext .mha --mp'
    """
    if start.is_saved:
        return [_saved(step) for step in read_pipeline(Path(source))]
    return [_step(why, words, {"source": source, "work": work, "converter": converter}) for why, words in start.steps]


def is_pipeline(path: Path) -> bool:
    """Return whether a file is a saved pipeline, by its name and the first of its steps; nothing is checked.

    Examples
    --------
    >>> is_pipeline(Path("nothing.toml"))
    False
    """
    if path.suffix.lower() != ".toml" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return b"[[step]]" in file.read(_LOOKED_AT)
    except OSError:
        return False


def _saved(step: PipelineStep) -> Step:
    entry = CATALOGUE.get(step.operation.name)
    is_named = entry is None or step.name != step.operation.name
    why = step.name if is_named or entry is None else entry.summary
    return Step(why[:1].upper() + why[1:], step.operation.name, step.params, step.options)


def _step(why: str, words: str, places: Mapping[str, str]) -> Step:
    name, *argv = (word.format(**places) for word in shlex.split(words))
    try:
        params, options = parse(load(name), argv)
    except ItkitError as error:
        return Step(why, name, problem=str(error))
    return Step(why, name, params, options)


def pipeline_text(steps: Iterable[Step], folder: Path | None = None) -> str:
    """Return the commands as a pipeline: the TOML file that ``itkit run`` takes.

    Parameters
    ----------
    steps
        The commands.
    folder
        The folder in which relative paths are meant, since a pipeline means its own; by default the present one.

    Raises
    ------
    ParamsError
        When the words of a step are wrong.

    Examples
    --------
    >>> print(pipeline_text(chain(STARTS[0], "/scans", "/study")[1:2]))
    # Turn all axes to one orientation, exactly
    [[step]]
    run = "itk_orient"
    params = { source = "/study/dataset", dest = "/study/oriented", orient = "LPS" }
    options = { mp = true }
    <BLANKLINE>
    """
    return "\n".join(_table(number, step, folder or Path.cwd()) for number, step in enumerate(steps, 1))


def _table(number: int, step: Step, folder: Path) -> str:
    if step.params is None:
        raise ParamsError(f"step {number} can't be written ({step.problem}); correct its words")
    params = preset_values(step.params)
    for name, info in type(step.params).model_fields.items():
        if marker(info, PathRole) is not None and isinstance(params.get(name), str):
            params[name] = str(folder / params[name])
    options = {} if step.options is None else preset_values(step.options)
    lines = [
        shown(f"# {step.why}"),
        "[[step]]",
        f"run = {toml_value(step.operation)}",
        f"params = {toml_value(params)}",
    ]
    return "\n".join([*lines, *([f"options = {toml_value(options)}"] if options else []), ""])
