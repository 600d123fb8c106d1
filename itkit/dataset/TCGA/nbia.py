"""Client of the NBIA (TCIA's archive): list series, and download and verify their files.

Endpoints: ``getSeries`` (JSON) and ``getImageWithMD5Hash`` (a zip with the images and a table of MD5 sums), as the
guides of the NBIA Search REST API describe them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from itkit.core.errors import DownloadError, LayoutError, ReadError
from itkit.io.download import Patience, download, read_url

PUBLIC = "https://services.cancerimagingarchive.net/nbia-api/services/v1"
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_CHUNK = 1 << 20


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
            rows = json.loads(data)
        except ValueError as error:
            raise DownloadError(f"{self.url}/{endpoint}: expected JSON; got {data[:60]!r}") from error
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def download(self, endpoint: str, query: Mapping[str, str], path: Path) -> None:
        """Download to a file; continue the download of an earlier run if the server supports it.

        The archive packs its answers anew each time and states no version, so the caller must verify the content.

        Raises
        ------
        DownloadError
            When all attempts fail; the received bytes are kept for the next run.
        """
        download(self._address(endpoint, query), path, patience=self._patience, resume_unnamed=True)

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
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"{path}: can't be read ({error})") from error
    start = next((number for number, line in enumerate(lines, 1) if line.startswith("ListOfSeriesToDownload=")), 0)
    found = tuple(line for line in lines[start:] if re.fullmatch(r"[0-9.]+", line))
    if not found:
        raise LayoutError(f"{path}: lists no series; expected a manifest of the NBIA Data Retriever")
    return tuple(dict.fromkeys(found))


def unpack(archive: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Unpack the archive of a series into a new folder and verify every file; return size and MD5 by name.

    Raises
    ------
    ReadError
        When the archive is damaged, holds no image, or a checksum differs.
    """
    folder.mkdir(parents=True)
    files: dict[str, dict[str, Any]] = {}
    sums: dict[str, str] = {}
    try:
        with zipfile.ZipFile(archive) as source:
            for entry in source.infolist():
                name = Path(entry.filename.replace("\\", "/")).name  # only the name: never outside the folder
                if entry.is_dir() or not name or name.startswith("."):
                    continue
                if name.lower().endswith(".csv"):
                    sums |= read_sums(source.read(entry).decode("utf-8", "replace"))
                    continue
                if name in files:
                    raise ReadError(f"{archive.name}: two files are called {name}")
                digest = hashlib.md5(usedforsecurity=False)
                with source.open(entry) as packed, (folder / name).open("wb") as plain:
                    while chunk := packed.read(_CHUNK):
                        digest.update(chunk)
                        plain.write(chunk)
                files[name] = {"bytes": entry.file_size, "md5": digest.hexdigest()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ReadError(f"{archive.name}: damaged archive ({error})") from error
    wrong = [name for name, md5 in sums.items() if name not in files or files[name]["md5"] != md5]
    images = [name for name in files if name.upper() != "LICENSE"]
    if wrong or not images:
        shutil.rmtree(folder, ignore_errors=True)
        raise ReadError(f"{archive.name}: {'wrong or missing: ' + ', '.join(wrong[:5]) if wrong else 'holds no image'}")
    return files


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
