"""Client of the NBIA (TCIA's archive): list series, and download and verify their files.

Endpoints: ``getSeries`` (JSON) and ``getImageWithMD5Hash`` (a zip with the images and a table of MD5 sums), as the
guides of the NBIA Search REST API describe them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import DownloadError, LayoutError, ReadError
from itkit.core.files import is_inner_name
from itkit.core.text import some
from itkit.io.download import Patience, download, read_url
from itkit.io.formats.header_model import MOST_INFLATED

PUBLIC = "https://services.cancerimagingarchive.net/nbia-api/services/v1"
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_CHUNK = 1 << 20
_MOST_MEMBERS = 200_000
_MOST_TABLE_BYTES = 64 << 20


@dataclass(frozen=True)
class Server:
    """The address of the archive, and how often and how long to try.

    Parameters
    ----------
    url
        Base address of the endpoints.
    retries
        Number of further attempts after a failed one.
    pause_s
        Pause before the first further attempt; it doubles each time.
    timeout_s
        An attempt fails after this many seconds without a byte.
    """

    url: str = PUBLIC
    retries: int = 4
    pause_s: float = 2.0
    timeout_s: float = 60.0

    def get_json(self, endpoint: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the rows that an endpoint answers.

        Raises
        ------
        DownloadError
            When the server does not answer, or its answer is not a list of rows.
        """
        data = read_url(self._address(endpoint, query), patience=self._patience)
        if not data.strip():
            return []  # the archive answers so if there are no rows
        try:
            rows = parse_json(data)
        except ValueError as error:
            raise DownloadError(f"{self.url}/{endpoint}: expected JSON; got {data[:60]!r}: {error}") from error
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def download(self, endpoint: str, query: Mapping[str, str], path: Path, *, most: int | None = None) -> None:
        """Download to a file of ``most`` bytes; continue the download of an earlier run if the server supports it.

        The archive packs its answers anew each time and states no version, so the caller must verify the content.

        Raises
        ------
        DownloadError
            When all attempts fail; the received bytes are kept for the next run.
        """
        download(self._address(endpoint, query), path, most=most, patience=self._patience, resume_unnamed=True)

    @property
    def _patience(self) -> Patience:
        return Patience(self.retries + 1, self.pause_s, timeout_s=self.timeout_s)

    def _address(self, endpoint: str, query: Mapping[str, str]) -> str:
        return f"{self.url}/{endpoint}?{urlencode(query)}"


def read_manifest(path: Path) -> tuple[str, ...]:
    """Return the series that a ``.tcia`` manifest lists.

    Raises
    ------
    LayoutError
        When the manifest can't be read, or lists no series.
    """
    try:
        lines = read_bounded(path).decode("utf-8").split()
    except (OSError, ValueError) as error:
        raise LayoutError(f"{path}: can't be read ({error})") from error
    start = next((number for number, line in enumerate(lines, 1) if line.startswith("ListOfSeriesToDownload=")), 0)
    found = tuple(line for line in lines[start:] if re.fullmatch(r"[0-9.]+", line))
    if not found:
        raise LayoutError(f"{path}: lists no series; expected a manifest of the NBIA Data Retriever")
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Unpacked:
    """The files of an archive: size and MD5 by name, those whose checksum came with it, names that led outside."""

    files: Mapping[str, Mapping[str, Any]]
    checked: frozenset[str]
    outside: tuple[str, ...] = ()


def unpack(archive: Path, folder: Path, *, most: int | None = None) -> Unpacked:
    """Unpack the archive of a series into a new folder and verify every file.

    Parameters
    ----------
    archive
        The zip file.
    folder
        The folder; it must not exist.
    most
        Largest size of all files together, in bytes; by default, as much as DEFLATE can expand the archive to.

    Raises
    ------
    ReadError
        When the archive is damaged, holds no image or too much, a name leads elsewhere, or a checksum differs.
    """
    folder.mkdir(parents=True)
    files: dict[str, dict[str, Any]] = {}
    sums: dict[str, str] = {}
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [entry for entry in source.infolist() if not entry.is_dir()]
            _require_honest(archive, entries, most)
            for entry in entries:
                name = _name_of(entry)
                if not name or name.startswith("."):
                    continue
                if name.lower().endswith(".csv"):
                    sums |= read_sums(source.read(entry).decode("utf-8", "replace"))
                    continue
                digest = hashlib.md5(usedforsecurity=False)
                with source.open(entry) as packed, (folder / name).open("wb") as plain:
                    while chunk := packed.read(_CHUNK):
                        digest.update(chunk)
                        plain.write(chunk)
                files[name] = {"bytes": entry.file_size, "md5": digest.hexdigest()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ReadError(f"{archive.name}: damaged archive ({error})") from error
    except ReadError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    wrong = [name for name, md5 in sums.items() if name not in files or files[name]["md5"] != md5]
    images = [name for name in files if name.upper() != "LICENSE"]
    if wrong or not images:
        shutil.rmtree(folder, ignore_errors=True)
        raise ReadError(f"{archive.name}: {'wrong or missing: ' + ', '.join(wrong[:5]) if wrong else 'holds no image'}")
    outside = [entry.filename for entry in entries if not is_inner_name(entry.filename.replace("\\", "/"))]
    return Unpacked(files, frozenset(sums), tuple(outside))


def _require_honest(archive: Path, entries: Sequence[zipfile.ZipInfo], most: int | None) -> None:
    """Refuse an archive whose members are too large or too many, or share a name.

    Raises
    ------
    ReadError
        Naming the member.
    """
    twice = [name for name, count in Counter(map(_name_of, entries)).items() if count > 1]
    if twice:
        raise ReadError(f"{archive.name}: {some((f'two files are called {name!r}' for name in twice), 3)}")
    if len(entries) > _MOST_MEMBERS:
        raise ReadError(f"{archive.name}: holds {len(entries)} files; at most {_MOST_MEMBERS} are accepted")
    tables = [entry for entry in entries if entry.filename.lower().endswith(".csv")]
    if any(entry.file_size > _MOST_TABLE_BYTES for entry in tables):
        raise ReadError(f"{archive.name}: its table of checksums has {max(e.file_size for e in tables)} bytes")
    total = sum(entry.file_size for entry in entries)
    allowed = MOST_INFLATED * archive.stat().st_size if most is None else most
    if total > allowed:
        raise ReadError(f"{archive.name}: unpacks to {total} bytes; at most {allowed} are accepted (--largest raises)")


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Return the name that a member gets in our folder: never one outside."""
    return Path(entry.filename.replace("\\", "/")).name


def read_sums(text: str) -> dict[str, str]:
    """Return MD5 sums by file name from a table of both, with columns in any order.

    Examples
    --------
    >>> read_sums("1-1.dcm,900150983cd24fb0d6963f7d28e17f72")
    {'1-1.dcm': '900150983cd24fb0d6963f7d28e17f72'}
    """
    found = {}
    for row in csv.reader(io.StringIO(text)):
        md5 = next((cell.strip() for cell in row if _MD5.fullmatch(cell.strip())), "")
        name = next((cell.strip() for cell in row if cell.strip() and not _MD5.fullmatch(cell.strip())), "")
        if md5 and name:
            found[Path(name.replace("\\", "/")).name] = md5.lower()
    return found
