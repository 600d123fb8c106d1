"""Download series of TCIA: ``python -m itkit.dataset.TCGA.download DEST --collection TCGA-KIRC --modality CT``.

A series is written completely or not at all; the same command continues an interrupted run.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from itkit.core.errors import CaseSkipped, DownloadError, LayoutError, ReadError
from itkit.core.fields import Address, Advanced, FreeText, Later, PathRole, Pattern, Positional, Unit
from itkit.core.files import STATE_FOLDER
from itkit.core.operation import Collected, Context, Job, Operation, Outcome, Plan, Report
from itkit.core.params import Params
from itkit.core.text import counted, csv_text, some
from itkit.core.volume import Case
from itkit.dataset.TCGA.nbia import PUBLIC, Server, Unpacked, read_manifest, unpack
from itkit.dataset.TCGA.series import METADATA
from itkit.io.download import part_of
from itkit.io.json_files import read_json, write_json

_COLUMNS = ("Series UID", "Collection", "Subject ID", "Study UID", "Series Description", "Modality",
            "Number of Images", "File Location")  # fmt: skip
_TIMES_ANNOUNCED, _MORE_THAN_ANNOUNCED = 1.5, 16 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]+")


class DownloadParams(Params):
    """Download series of The Cancer Imaging Archive, by collection, manifest or UID."""

    dest: Annotated[Path, PathRole("out_folder"), Positional("dest")]
    """Folder to write: collection/patient/study/series/."""
    collection: Annotated[str | None, FreeText("TCGA-KIRC")] = None
    """Every series of this collection, e.g. TCGA-KIRC."""
    manifest: Annotated[Path | None, PathRole("in_file")] = None
    """Every series of this manifest (.tcia)."""
    series: tuple[Annotated[str, Pattern(r"^[0-9.]+$")], ...] = ()
    """These series, by SeriesInstanceUID."""
    modality: tuple[Annotated[str, FreeText("CT")], ...] = ()
    """Only these modalities, e.g. CT SEG."""
    server: Annotated[str, Address(), FreeText(PUBLIC), Advanced()] = PUBLIC
    """Base address of the NBIA interface."""
    retries: Annotated[int, Advanced(), Field(ge=0)] = 4
    """Further attempts after a failed one."""
    pause: Annotated[float, Advanced(), Field(ge=0), Unit("s")] = 2.0
    """Pause before the next attempt; doubles each time."""
    largest: Annotated[Annotated[float, Field(gt=0)] | None, Later(), Advanced(), Unit("GB")] = None
    """Largest series to accept (default: the size that the archive announces for it, and some more)."""

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.collection is None and self.manifest is None and not self.series:
            raise ValueError("nothing to do: give --collection, --manifest or --series")
        return self

    def connection(self) -> Server:
        """Return the server that the parameters describe."""
        return Server(self.server.rstrip("/"), self.retries, self.pause)


def plan(params: DownloadParams) -> Plan:
    """Ask the archive which of the series exist, and list them as jobs.

    Raises
    ------
    LayoutError
        When the manifest can't be read, or the archive does not answer or knows none of the series.
    """
    server = params.connection()
    wanted = [*params.series, *(read_manifest(params.manifest) if params.manifest else ())]
    rows: dict[str, Mapping[str, Any]] = {}
    unknown = []
    try:
        if params.collection is not None:
            found = server.get_json("getSeries", {"Collection": params.collection})
            rows |= {str(row.get("SeriesInstanceUID", "")): row for row in found}
        for uid in wanted:
            answer = server.get_json("getSeries", {"SeriesInstanceUID": uid})
            rows |= {uid: answer[0]} if answer else {}
            unknown += [] if answer else [uid]
    except DownloadError as error:
        raise LayoutError(str(error)) from error
    modalities = {name.upper() for name in params.modality}
    rows = {uid: row for uid, row in rows.items() if not modalities or str(row.get("Modality")).upper() in modalities}
    if not rows:
        raise LayoutError(f"{params.server}: the archive has no such series")
    notes = [f"the archive does not know series {uid}" for uid in unknown]
    return Plan(tuple(Job(uid, {}, details=row) for uid, row in sorted(rows.items())), notes=tuple(notes))


def folder_of(row: Mapping[str, Any]) -> str:
    """Return the folder of a series, relative to the destination.

    Raises
    ------
    DownloadError
        When the archive states no UID for the series.
    """
    parts = [str(row.get(name) or "unknown") for name in ("Collection", "PatientID", "StudyInstanceUID")]
    uid = str(row.get("SeriesInstanceUID") or "")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid):
        raise DownloadError(f"{uid!r}: no SeriesInstanceUID")
    return "/".join([*(_UNSAFE.sub("-", part).strip(". ") or "unknown" for part in parts), uid])


def download_series(case: Case, params: DownloadParams, context: Context) -> Outcome:
    """Download one series, verify it, and move it to its folder.

    Raises
    ------
    CaseSkipped
        When the series exists already.
    CaseError
        When the series can't be downloaded, or differs from its checksums even after a second attempt.
    """
    del context
    row = case.details
    final = params.dest / folder_of(row)
    state = params.dest / STATE_FOLDER
    record = state / "series" / f"{case.id}.json"
    if _is_complete(final, read_json(record)):
        raise CaseSkipped(f"{case.id}: complete")
    temporary = state / "tmp"
    archive, unpacked = temporary / f"{case.id}.zip", temporary / case.id
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)
        found = _fetch(params.connection(), case.id, archive, unpacked, _most_bytes(row, params))
        files = {name: dict(facts) for name, facts in found.files.items()}
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(final, ignore_errors=True)
        unpacked.rename(final)
        write_json(record, {"folder": folder_of(row), "files": files})
        archive.unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"{case.id}: can't be written ({error.strerror or error})") from error
    total = sum(int(item["bytes"]) for item in files.values())
    unchecked = [name for name in files if name not in found.checked and name.upper() != "LICENSE"]
    names = f"{counted(unchecked, 'file')}: {some(unchecked, 3)}"
    warnings = [f"no checksum came with {names}; not checked"] if unchecked else []
    if found.outside:
        warnings.append(f"names in the archive led outside and were shortened: {some(found.outside, 3)}")
    return Outcome(facts={"files": len(files), "bytes": total, "folder": folder_of(row)}, warnings=tuple(warnings))


def _most_bytes(row: Mapping[str, Any], params: DownloadParams) -> int | None:
    """Return the largest size to accept for a series; ``None`` if nothing is known."""
    if params.largest is not None:
        return int(params.largest * 10**9)
    announced = row.get("FileSize")
    if not isinstance(announced, (int, float)) or not 0 < announced < math.inf:
        return None
    return int(_TIMES_ANNOUNCED * announced) + _MORE_THAN_ANNOUNCED


def _is_complete(folder: Path, record: Any) -> bool:
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict) or not files:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == item["bytes"] for name, item in files.items()
    )


def _fetch(server: Server, uid: str, archive: Path, unpacked: Path, most: int | None) -> Unpacked:
    """Download and unpack a series; an archive that was resumed and is damaged is downloaded once more."""
    was_there = archive.exists() or part_of(archive).exists()
    for attempt in range(2):
        if not archive.exists():
            server.download("getImageWithMD5Hash", {"SeriesInstanceUID": uid}, archive, most=most)
        try:
            return unpack(archive, unpacked, most=most)
        except ReadError as error:
            archive.unlink(missing_ok=True)
            if attempt or not was_there:
                raise DownloadError(f"{uid}: {error}") from error
    raise AssertionError


def collect(params: DownloadParams, run: Collected) -> Report:
    """Return the report with a ``metadata.csv`` of the downloaded series, as the converter reads it."""
    files: dict[Path, Any] = {}
    rows = []
    for path in sorted((params.dest / STATE_FOLDER / "series").glob("*.json")):
        record = read_json(path)
        known = next((job.details for job in run.plan.jobs if job.case_id == path.stem), None)
        if isinstance(record, dict) and known is not None:
            record = {**record, "row": {name: value for name, value in known.items() if isinstance(value, (str, int))}}
            files[path] = record
        if isinstance(record, dict) and _is_complete(params.dest / record.get("folder", ""), record):
            rows.append(_row(path.stem, record))
    if rows:
        files[params.dest / METADATA] = csv_text([_COLUMNS, *rows])
    return Report((f"{len(rows)} series are in {params.dest}",), files=files)


def _row(uid: str, record: Mapping[str, Any]) -> tuple[Any, ...]:
    said = record.get("row", {})
    count = sum(name.upper() != "LICENSE" for name in record["files"])
    fields = ("Collection", "PatientID", "StudyInstanceUID", "SeriesDescription", "Modality")
    return (uid, *(said.get(name, "") for name in fields), count, f"./{record['folder']}")


OPERATION: Operation[Any] = Operation(
    "tcia_download",
    DownloadParams,
    plan,
    download_series,
    collect,
    example="itkit tcia_download downloads --collection TCGA-KIRC --modality CT SEG --workers 4",
)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="TCGA.download"))
