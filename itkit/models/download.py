"""Weight files from http, https or file URLs, kept in a cache that all projects of a user share."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from itkit.core.errors import DownloadError, WeightsError, WriteError
from itkit.core.text import shown
from itkit.io.download import Patience, download, file_sha256, has_sha256
from itkit.io.locks import locked

if TYPE_CHECKING:
    from itkit.io.download import Progress

LOGGER = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of downloaded files: ``$ITKIT_CACHE``, else ``itkit`` in the user's cache folder."""
    given = os.environ.get("ITKIT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "itkit"


def fetch(
    url: str,
    *,
    sha256: str | None = None,
    cache_dir: Path | str | None = None,
    attempts: int = 4,
    timeout_s: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """Return a local path for a URL or path; download the file when the cache does not hold it.

    A connection that is cut is resumed where it ended, also by a later call, as long as the server's file (``ETag`` or
    ``Last-Modified``) is the same.

    Parameters
    ----------
    url
        ``http://``, ``https://`` or ``file://`` URL, or a path.
    sha256
        Expected digest or its first digits; a cached file with another one is downloaded again.
    cache_dir
        Folder to keep files in; by default :func:`cache_folder`.
    attempts
        How often to try before giving up.
    timeout_s
        Longest silence of the server, in seconds.
    progress
        Called with the bytes that are there and the bytes of the whole file, or None where the server does not say.

    Raises
    ------
    WeightsError
        When the file can't be downloaded or written, or its digest is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        path = Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else Path(url)
        if not path.is_file():
            raise WeightsError(f"{url}: {'a folder; give the file in it' if path.is_dir() else 'no such file'}")
        if sha256 is not None and not has_sha256(path, sha256):
            raise WeightsError(f"{url}: SHA-256 is {file_sha256(path)}, expected {sha256.lower()}")
        return path
    folder = Path(cache_dir) if cache_dir is not None else cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", unquote(Path(parts.path).name)) or "file"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{stem}"
    with locked(path.with_name(path.name + ".lock")):
        if path.exists() and (sha256 is None or has_sha256(path, sha256)):
            return path
        try:
            download(url, path, sha256=sha256, patience=Patience(attempts, timeout_s=timeout_s), progress=progress)
        except (DownloadError, WriteError) as error:
            raise WeightsError(str(error)) from error
        if sha256 is None:
            LOGGER.warning("%s: no checksum to compare it with; its SHA-256 is %s", shown(path.name), file_sha256(path))
    return path
