"""``itk_wsi deidentify``: copies of TIFF-like slides without the images and texts that may identify a patient.

Pixels of all levels stay as they are, byte by byte. The images of the glass slide are unlinked and their bytes become
0; identifying texts are overwritten by blanks of the same length.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from itkit.core.errors import CaseError, ReadError, WriteError
from itkit.core.extras import require
from itkit.core.files import Compression
from itkit.core.operation import Collected, Context, Job, Outcome, Place, Plan, Report, Target, Written
from itkit.core.text import some
from itkit.core.volume import Case
from itkit.pathology.chain import page_links
from itkit.pathology.params import WsiParams
from itkit.pathology.planning import SlideFacts, slide_jobs
from itkit.pathology.slides import BY_VIPS, DAMAGES, open_slide

_SLIDE = "slide"
_REMOVED = ("label", "macro", "overview")
_BLANKED = (
    "Filename", "User", "Date", "Time", "Time Zone", "ImageID", "Title", "Barcode", "ScanScope ID", "DSR ID", "Label",
    "Patient", "Patient Name", "PatientName", "Patient ID", "PatientID", "Case", "Case ID", "CaseID", "Accession",
    "Accession Number", "Slide ID", "SlideID", "Specimen", "Operator", "Hospital", "Institution", "MRN", "DOB",
)  # fmt: skip
"""Entries of Aperio's descriptions (``key = value|…``)."""
_OME_BLANKED = (
    "FirstName",
    "LastName",
    "MiddleName",
    "UserName",
    "Email",
    "Institution",
    "ID_Patient",
    "PatientID",
    "FileName",
)
_TAGS = ("DateTime", "Artist", "HostComputer", "DocumentName", "PageName", "Copyright")
_KEPT_TEXTS = ("Software", "Make", "Model")
"""Texts of the scanner and its program, which readers need."""
_PRIVATE, _ICC = 32768, 34675
_BLOCKS = (700, 33723, 34377)
"""XMP, IPTC, Photoshop: blocks that hold texts of their own."""
_BYTES = ("BYTE", "SBYTE", "UNDEFINED")
_POINTERS = (34665, 34853)
"""Exif and GPS."""
_ENTRY = re.compile(
    rb"(?i)(?:^|\|)\s*(" + b"|".join(re.escape(name.encode()) for name in _BLANKED) + rb")\s*=\s*([^|\r\n\x00]*)"
)
_QUOTED = rb"""\s*=\s*(["'])((?:(?!\2).)*)\2"""
_OME_RULES = (
    re.compile(rb"(?s)\b(" + b"|".join(name.encode() for name in _OME_BLANKED) + rb")" + _QUOTED),
    re.compile(rb"(?s)<(?:\w+:)?(?:AcquisitionDate|Description)\b[^<>]*>([^<]*)</"),
    re.compile(rb"(?s)(<(?:\w+:)?StructuredAnnotations\b.*?</(?:\w+:)?StructuredAnnotations\s*>)"),
)
_OME_NAME = re.compile(
    rb"(?s)<(?:\w+:)?(Image|Dataset|Project|Folder|ExperimenterGroup|Plate|Screen)\s(?:[^<>]*?\s)?Name" + _QUOTED
)
"""The name of an image is often that of its file."""
_PIECE = 1 << 24


def identifying_texts(properties: Mapping[str, str]) -> list[str]:
    """Return the names of a slide's properties that may identify a patient and are not blank.

    Examples
    --------
    >>> identifying_texts({"aperio.Filename": "Doe_1970", "aperio.AppMag": "20", "aperio.User": "  "})
    ['aperio.Filename']
    """
    wanted = {name.lower() for name in (*_BLANKED, *_TAGS)}
    return sorted(
        name
        for name, value in properties.items()
        if (name.rpartition(".")[2].lower() in wanted and value.strip() and not name.startswith("openslide."))
        or (name == "tiff.ImageDescription" and _tells(value))
    )


def _tells(description: str) -> bool:
    """Whether OME-XML holds what may identify a patient, beside the image's name."""
    found = (match for rule in _OME_RULES for match in rule.finditer(description.encode()))
    return any(match.group(match.re.groups).strip() for match in found)


def shows_glass(name: str) -> bool:
    """Whether an image shows the glass slide and its label, by its name.

    Examples
    --------
    >>> shows_glass("label image"), shows_glass("Macro"), shows_glass("labels"), shows_glass("thumbnail")
    (True, True, False, False)
    """
    return re.search(rf"\b({'|'.join(_REMOVED)})\b", name.lower()) is not None


def plan(params: WsiParams) -> Plan:
    """List the slides."""
    assert params.dest is not None
    dest = params.dest
    plan = slide_jobs(params, lambda _: {})
    jobs = [replace(job, targets={_SLIDE: Target(dest, _ending(job), "image")}, output_ids=None) for job in plan.jobs]
    return Plan(tuple(jobs), plan.unpaired, dest)


def _ending(job: Job) -> str:
    return job.inputs["slide"].path.name.removeprefix(job.case_id)


def deidentify_case(case: Case, params: WsiParams, context: Context) -> Outcome:
    """Copy a slide without what may identify a patient."""
    del params, context
    facts: SlideFacts = case.details
    found: dict[str, Any] = {}
    batch = partial(_write, case.id, facts.path, found)
    return Outcome(batches=(batch,), facts=found)


def _write(case_id: str, source: Path, found: dict[str, Any], place: Place, compression: Compression) -> list[Written]:
    del compression
    path = place(_SLIDE, case_id)
    shutil.copyfile(source, path)
    found.update(clean(path))
    _require_clean(source, path)
    return [Written(_SLIDE, case_id)]


def clean(path: Path) -> dict[str, Any]:
    """Remove what may identify a patient from a TIFF-like slide, in place.

    Returns
    -------
    dict
        ``removed``: names of images; ``blanked``: how many texts.

    Raises
    ------
    CaseError
        When it is no TIFF file.
    """
    tifffile = require("tifffile", extra="pathology", why="removing names from slides")
    try:
        with tifffile.TiffFile(path) as file:
            _require_known(path, file)
            telling = {
                page.offset
                for series in file.series[1:]
                if shows_glass(series.name or "")
                for page in series.pages
                if page is not None
            }
            names = [str(series.name).lower() for series in file.series[1:] if shows_glass(series.name or "")]
            pages = [page.aspage() for page in file.pages]
            links = page_links(path)
            dropped = [page for page in pages if page.offset in telling or _is_telling(page)]
            kept = [page for page in pages if page not in dropped]
            ranges = [pair for page in [*dropped, *_sub_pages(dropped)] for pair in _data_of(page)]
            texts = [pair for page in [*kept, *_sub_pages(kept)] for pair in _texts_of(page)]
            unlinked = list(_unlinked(pages, dropped, links))
            form = file.tiff.offsetformat
    except DAMAGES as error:
        raise CaseError(
            f"{path.name}: only TIFF-like slides (.svs, .tif) can be de-identified; convert it first ({error})"
        ) from error
    with path.open("r+b") as out:
        for at, target in unlinked:
            out.seek(at)
            out.write(struct.pack(form, target))
        for start, length in ranges:
            _zero(out, start, length)
        blanked = sum(_blank(out, start, length) for start, length in texts)
    return {"removed": sorted({*names, *(_name_of(page) for page in dropped)}), "blanked": blanked}


def _require_known(path: Path, file: Any) -> None:
    """Raise an error if a file may hold names in places that are not known here.

    Raises
    ------
    CaseError
        When it is of another maker (their tables, private tags and XML hold names), or has Exif entries.
    """
    openslide = require("openslide", extra="pathology", why="removing names from slides")
    vendor = openslide.OpenSlide.detect_format(str(path))
    if vendor not in BY_VIPS or file.is_ndpi or file.is_scn or file.is_philips or file.is_bif:
        raise CaseError(
            f"{path.name}: a slide of {vendor or 'another maker'}, which keeps names in places of its own; only "
            "Aperio's, OME-TIFF and plain TIFF can be de-identified: convert it first"
        )
    if any(code in page.aspage().tags for page in file.pages for code in _POINTERS):
        raise CaseError(f"{path.name}: Exif entries, which can't be removed; convert it first")


def _name_of(page: Any) -> str:
    text = str(page.description)
    return next((name for name in _REMOVED if name in text.lower()), "image")


def _is_telling(page: Any) -> bool:
    """Whether a page is an image of the glass: Aperio's second line begins with its kind."""
    lines = str(page.description).splitlines()
    return any(line.strip().lower().startswith(_REMOVED) for line in lines[1:2])


def _unlinked(pages: list[Any], dropped: list[Any], links: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield (place, offset): what the links before dropped pages are to hold."""
    order = [page.offset for page in pages if page.offset in links]
    gone = {page.offset for page in dropped}
    kept = [offset for offset in order if offset not in gone]
    after = dict(zip(kept, [*kept[1:], 0], strict=True))
    where = dict(zip(order, [*order[1:], None], strict=True))
    if kept and kept[0] != order[0]:
        yield links[order[0]], kept[0]
    for offset in kept:
        following = where[offset]
        if following is not None and following in gone:
            yield links[following], after[offset]


def _data_of(page: Any) -> Iterator[tuple[int, int]]:
    """Yield where the pixels and the texts of a page lie: (start, bytes)."""
    yield from zip(page.dataoffsets, page.databytecounts, strict=True)
    for tag in page.tags.values():
        if tag.dtype_name in ("ASCII", *_BYTES) or tag.code in _BLOCKS:
            yield tag.valueoffset, tag.valuebytecount


def _sub_pages(pages: list[Any]) -> Iterator[Any]:
    for page in pages:
        yield from (inner.aspage() for inner in page.pages or ())


def _texts_of(page: Any) -> Iterator[tuple[int, int]]:
    """Yield where the texts of a page lie: (start, bytes); the bytes are negative if nothing of a text may stay."""
    for tag in page.tags.values():
        is_text = tag.dtype_name == "ASCII" and tag.name not in _KEPT_TEXTS
        is_block = tag.code >= _PRIVATE and tag.dtype_name in _BYTES and tag.code != _ICC
        if tag.name == "ImageDescription":
            yield tag.valueoffset, tag.valuebytecount
        elif is_text or is_block or tag.code in _BLOCKS:
            yield tag.valueoffset, -tag.valuebytecount


def _blank(out: BinaryIO, start: int, length: int) -> int:
    """Overwrite what identifies in a text by blanks; a negative length: all of it. Return how many entries had one."""
    out.seek(start)
    data = bytearray(out.read(abs(length)))
    if length < 0:
        spans = [(0, len(data.rstrip(b"\0")))]
    else:
        spans = [
            match.span(match.re.groups)
            for rule in (_ENTRY, *_OME_RULES, _OME_NAME)
            for match in rule.finditer(bytes(data))
        ]
    done = 0
    for first, last in spans:
        if data[first:last].strip():
            data[first:last] = b" " * (last - first)
            done += 1
    if done:
        out.seek(start)
        out.write(data)
    return done


def _zero(out: BinaryIO, start: int, length: int) -> None:
    out.seek(start)
    while length > 0:
        piece = min(length, _PIECE)
        out.write(bytes(piece))
        length -= piece


def _require_clean(source: Path, copy: Path) -> None:
    """Compare the pixels of all levels, as encoded, and look for what should be gone.

    Raises
    ------
    WriteError
        When a level differs, or an image of the glass is still there.
    """
    before, after = _level_digests(source), _level_digests(copy)
    if before != after:
        raise WriteError(f"{copy.name}: the copy's levels differ from those of {source.name}; not written")
    try:
        with open_slide(copy, needs_mpp=False) as slide:
            left = [name for name in slide.associated if shows_glass(name)] + identifying_texts(slide.properties)
    except ReadError as error:
        raise WriteError(f"{copy.name}: the copy can't be read ({error}); not written") from error
    if left:
        raise WriteError(f"{copy.name}: still holds {some(left)}; not written")


def _level_digests(path: Path) -> list[str]:
    """Return a digest of the encoded pixels of each level."""
    tifffile = require("tifffile", extra="pathology", why="removing names from slides")
    found = []
    with tifffile.TiffFile(path) as file:
        for level in file.series[0].levels:
            digest = hashlib.sha256()
            page = level.keyframe
            for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                file.filehandle.seek(start)
                digest.update(file.filehandle.read(length))
            found.append(digest.hexdigest())
    return found


def collect(params: WsiParams, run: Collected) -> Report:
    """Say what was removed."""
    del params
    removed = sum(len(record.facts.get("removed", ())) for record in run.all_records.values())
    blanked = sum(int(record.facts.get("blanked", 0)) for record in run.all_records.values())
    return Report((f"{removed} images and {blanked} texts removed from {len(run.all_records)} slides",))
