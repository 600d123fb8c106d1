"""Files from http, https or file URLs, kept in a cache: resumed when cut off, checked, renamed when whole."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import time
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, url2pathname, urlopen

from itkit.core.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 20


def cache_folder() -> Path:
    """Return the folder of downloaded files: ``$ITKIT_CACHE``, else ``itkit`` in the user's cache folder."""
    given = os.environ.get("ITKIT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "itkit"


def file_sha256(path: Path) -> str:
    """Compute a file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fetch(
    url: str,
    *,
    sha256: str | None = None,
    cache_dir: Path | str | None = None,
    attempts: int = 4,
    timeout_s: float = 30.0,
) -> Path:
    """Give a local path for a URL or path; download it when the cache does not hold it.

    A download goes to a ``.part`` file and gets its name when it is whole. A cut connection is taken up again where
    it ended, also by a later call, as long as the server's file (``ETag`` or ``Last-Modified``) is the same.

    Parameters
    ----------
    url
        ``http://``, ``https://`` or ``file://`` URL, or a path.
    sha256
        Expected digest; a cached file with another one is downloaded again.
    cache_dir
        Folder to keep files in; by default :func:`cache_folder`.
    attempts
        How often to try before giving up.
    timeout_s
        Longest silence of the server, in seconds.

    Raises
    ------
    WeightsError
        When the file can't be had, or its digest is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        path = Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else Path(url)
        if not path.is_file():
            raise WeightsError(f"{url}: no such file")
        _check_digest(path, sha256, url)
        return path
    folder = Path(cache_dir) if cache_dir is not None else cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", unquote(Path(parts.path).name)) or "file"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{stem}"
    with _locked(path.with_name(path.name + ".lock")):
        if path.exists() and (sha256 is None or file_sha256(path).startswith(sha256.lower())):
            return path
        partial = path.with_name(path.name + ".part")
        _download(url, partial, attempts, timeout_s)
        try:
            _check_digest(partial, sha256, url)
        except WeightsError:
            _discard(partial)
            raise
        partial.replace(path)
        _tag_file(partial).unlink(missing_ok=True)
    return path


def _check_digest(path: Path, sha256: str | None, url: str) -> None:
    if sha256 is not None and not (found := file_sha256(path)).startswith(sha256.lower()):
        raise WeightsError(f"{url}: SHA-256 is {found}, expected {sha256.lower()}; the file is damaged or was replaced")


def _tag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".tag")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _tag_file(partial).unlink(missing_ok=True)


def _download(url: str, partial: Path, attempts: int, timeout_s: float) -> None:
    failure: Exception | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(min(0.2 * 2**attempt, 5.0))
        try:
            if _receive(url, partial, timeout_s):
                return
            failure = WeightsError("the connection ended early")
        except HTTPError as error:
            error.close()
            if error.code == 416:
                _discard(partial)
            elif error.code < 500 and error.code not in {408, 429}:
                raise WeightsError(f"{url}: the server answers {error.code} {error.reason}") from error
            failure = error
        except (URLError, HTTPException, OSError) as error:
            failure = error
        LOGGER.info("%s: %s; attempt %d of %d", url, failure, attempt + 1, attempts)
    size = partial.stat().st_size if partial.exists() else 0
    raise WeightsError(f"{url}: not downloaded ({failure}); {size} bytes are kept, call again to go on") from failure


def _receive(url: str, partial: Path, timeout_s: float) -> bool:
    """Download once, from where the partial file ends; tell whether the file is whole now."""
    tag_file = _tag_file(partial)
    tag = tag_file.read_text(encoding="utf-8") if tag_file.exists() else ""
    start = partial.stat().st_size if partial.exists() and tag else 0
    headers = {"User-Agent": "itkit", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    response: HTTPResponse
    with urlopen(Request(url, headers=headers), timeout=timeout_s) as response:
        start = start if response.status == 206 else 0
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        tag_file.write_text("" if tag.startswith("W/") else tag, encoding="utf-8")
        length = response.headers.get("Content-Length")
        with partial.open("ab" if start else "wb") as file:
            while block := response.read1(_BLOCK):
                file.write(block)
            size = file.tell()
    return length is None or size == start + int(length)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time download a file (where the system has advisory locks)."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
