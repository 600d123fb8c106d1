"""Find slides and the files that belong to them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from itkit.core.bounded import read_table_text
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.files import SLIDE_EXTENSIONS
from itkit.core.operation import Unpaired
from itkit.core.text import some
from itkit.pathology.slides import dicom_series

PYRAMID = ".ome.tif"
"""Ending of the pyramids and masks that are written."""
MASK_META = "mask_meta.json"
"""What is known of the masks of a folder: their resolution and the names of their classes."""
_OME = (PYRAMID, ".ome.tiff")


def mask_of(folder: Path, slide: str) -> Path:
    """Return the path of a slide's mask in a folder that ``itk_wsi mask`` wrote."""
    return folder / f"{slide}{PYRAMID}"


def slide_id(path: Path) -> str:
    """Return the name of a slide without its ending.

    Examples
    --------
    >>> slide_id(Path("a/case.1.ome.tif")), slide_id(Path("case.svs"))
    ('case.1', 'case')
    """
    lower = path.name.lower()
    ending = next((ending for ending in _OME if lower.endswith(ending)), path.suffix)
    return path.name[: len(path.name) - len(ending)] if ending else path.name


def find_files(
    root: Path, endings: Iterable[str], *, recursive: bool, what: str
) -> tuple[dict[str, Path], list[Unpaired]]:
    """Find files by their endings; the id of each is its name without the ending.

    The files of a DICOM slide have one series: the first of them stands for it. Its id is its folder's name, or the
    file's behind it if the folder holds several slides.

    Returns
    -------
    dict
        Path of each id, sorted.
    list
        Files whose id another file has already.

    Raises
    ------
    LayoutError
        When there is no such folder, or nothing is found in it.
    """
    wanted = tuple(endings)
    if root.is_file():
        return {slide_id(root): root}, []
    if not root.is_dir():
        raise LayoutError(f"{root}: no such file or folder")
    walk = root.rglob("*") if recursive else root.iterdir()
    files = sorted(path for path in walk if path.name.lower().endswith(wanted) and not _is_hidden(path, root))
    if not recursive and ".dcm" in wanted:
        files += sorted(
            path
            for folder in root.iterdir()
            if folder.is_dir() and not folder.name.startswith(".")
            for path in folder.glob("*.dcm")
        )
    files = [path for path in files if path.is_file()]
    named = [(slide_id(path), path) for path in files if path.suffix.lower() != ".dcm"]
    named += _dicom_slides([path for path in files if path.suffix.lower() == ".dcm"], root)
    found: dict[str, Path] = {}
    twice: list[Unpaired] = []
    for own, path in named:
        if own not in found:
            found[own] = path
        else:
            twice.append(Unpaired(own, path, f"name of its own ({found[own].name} has the same)"))
    if not found:
        raise LayoutError(f"{root}: no {what} found (looked for {some(wanted, 20)}); -r searches sub-folders")
    return dict(sorted(found.items())), twice


def _dicom_slides(files: Iterable[Path], root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the id and the first file of each DICOM slide; what is no slide counts as one, which fails later."""
    folders: dict[Path, list[Path]] = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    for folder, inside in folders.items():
        first: dict[str, Path] = {}
        for path in inside:
            first.setdefault(dicom_series(path) if len(inside) > 1 else "", path)
        if len(inside) == 1 and folder == root:
            yield slide_id(inside[0]), inside[0]
        elif len(first) == 1:
            yield folder.absolute().name, inside[0]
        else:
            start = "" if folder == root else f"{folder.name}_"
            yield from ((f"{start}{slide_id(path)}", path) for path in first.values())


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def find_slides(root: Path, *, recursive: bool) -> tuple[dict[str, Path], list[Unpaired]]:
    """Find slides; see `find_files`."""
    return find_files(root, SLIDE_EXTENSIONS, recursive=recursive, what="slide")


def read_mpp_table(path: Path) -> Mapping[str, float]:
    """Read the resolutions of slides (CSV with the columns slide and mpp), by id or file name.

    Raises
    ------
    ParamsError
        When the table can't be read, or a value is no number above 0.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_table_text(path))))
    except (OSError, ValueError, csv.Error) as error:
        raise ParamsError(f"--mpp-table {path}: can't be read ({error})") from error
    found = {}
    for number, row in enumerate(rows, 2):
        try:
            name, value = str(row["slide"]).strip(), float(row["mpp"])
        except (KeyError, TypeError, ValueError) as error:
            raise ParamsError(f"--mpp-table {path}: line {number}: expected the columns slide and mpp") from error
        if not (math.isfinite(value) and value > 0):
            raise ParamsError(f"--mpp-table {path}: line {number}: expected micrometres above 0; got {row['mpp']}")
        found[name] = value
    return found
