"""Download files and answers from web servers: retry when a server is busy, resume after a lost connection, verify.

A download is written to a file beside its final name (``NAME.part``) and renamed when it is complete. If it fails, the
received bytes are kept, and the next call requests the rest. Only one process at a time may download to a name; callers
hold a lock if two processes could do so.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from itkit.core.errors import DownloadError, WriteError
from itkit.io.disk import sync_file

LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 20
_BUSY = (408, 429)
_OUT_OF_RANGE = 416
_PARTIAL = 206
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_T = TypeVar("_T")
Progress = Callable[[int, "int | None"], None]
"""Called with the number of bytes received, and that of the whole file (``None`` if the server does not state it)."""


@dataclass(frozen=True)
class Patience:
    """How often to try, and how long to wait for a server.

    Attributes
    ----------
    attempts
        How often to try before giving up.
    pause_s
        Pause after the first failure; it doubles each time, unless the server states a pause (``Retry-After``).
    longest_pause_s
        Longest pause, also if the server states a longer one.
    timeout_s
        An attempt fails after this many seconds without a byte.
    """

    attempts: int = 4
    pause_s: float = 0.4
    longest_pause_s: float = 120.0
    timeout_s: float = 30.0


class _CutShortError(HTTPException):
    """An answer ended before its announced length, or can't be appended to the bytes received before."""


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def has_sha256(path: Path, expected: str) -> bool:
    """Return whether a file's SHA-256 begins with the expected digits."""
    return file_sha256(path).startswith(expected.lower())


def part_of(path: Path) -> Path:
    """Return the file that holds the received bytes of an unfinished download."""
    return path.with_name(path.name + ".part")


def discard_part(path: Path) -> None:
    """Delete the received bytes of an unfinished download."""
    part_of(path).unlink(missing_ok=True)
    _version_file(path).unlink(missing_ok=True)


def read_url(url: str, *, patience: Patience | None = None) -> bytes:
    """Return the complete answer of a server.

    Raises
    ------
    DownloadError
        When the server refuses, or does not answer after all attempts.
    """
    patience = patience or Patience()

    def once() -> bytes:
        with _open(url, {}, patience) as answer:
            length = _length(answer)
            data: bytes = answer.read()
        if length is not None and len(data) != length:
            raise _CutShortError(f"{len(data)} of {length} bytes came")
        return data

    return _persist(url, patience, once)


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    patience: Patience | None = None,
    resume_unnamed: bool = False,
    progress: Progress | None = None,
) -> None:
    """Download a file; it gets its final name only when it is complete and verified.

    Parameters
    ----------
    url
        ``http://`` or ``https://`` URL.
    path
        Final name; an existing file is replaced.
    sha256
        Expected SHA-256, or its first digits.
    size
        Expected size in bytes.
    patience
        How often and how long to try.
    resume_unnamed
        Join pieces from different connections even if the server states no version of the file (``ETag`` or
        ``Last-Modified``). Use this only for files whose content is verified afterwards.
    progress
        Called after each block.

    Raises
    ------
    DownloadError
        When the server refuses or does not answer, or the file has another size or digest. Received bytes are kept
        unless they are wrong.
    WriteError
        When the file can't be written.
    """
    patience = patience or Patience()
    name = _shown(url)
    receiver = _Receiver(url, path, patience, size, resume_unnamed, progress)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _persist(url, patience, receiver.receive)
    except DownloadError as error:
        kept = part_of(path).stat().st_size if part_of(path).exists() else 0
        kept_text = f"; {kept} bytes are kept, the next call goes on with them" if kept else ""
        raise DownloadError(f"{error}{kept_text}") from error
    with _writing(path):
        if sha256 is not None and not has_sha256(part_of(path), sha256):
            found = file_sha256(part_of(path))
            discard_part(path)
            expected = f"expected {sha256.lower()}; the file is damaged or was replaced"
            raise DownloadError(f"{name}: SHA-256 is {found}, {expected}")
        sync_file(part_of(path))
        part_of(path).replace(path)
        discard_part(path)


class _Receiver:
    """One download in progress; each attempt requests the bytes that are still missing."""

    def __init__(
        self,
        url: str,
        path: Path,
        patience: Patience,
        size: int | None,
        resume_unnamed: bool,
        progress: Progress | None,
    ) -> None:
        self.url, self.path, self.patience, self.size = url, path, patience, size
        self.resume_unnamed, self.progress = resume_unnamed, progress

    def receive(self) -> None:
        """Request the rest of the file (or all of it) once, and append the answer."""
        start, headers = self._begin()
        try:
            answer = _open(self.url, headers, self.patience)
        except HTTPError as error:
            if error.code != _OUT_OF_RANGE or not start:
                raise
            error.close()
            if error.headers.get("Content-Range", "") == f"bytes */{start}":
                return  # nothing is missing: the last call ended between the last byte and the file's name
            raise self._mismatch("the server has fewer bytes than are there") from error
        with answer:
            start, total = self._place(answer, start)
            if self.size is not None and total is not None and total != self.size:
                raise DownloadError(f"{_shown(self.url)}: holds {total} bytes, expected {self.size}")
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            with _writing(self.path):
                _version_file(self.path).write_text("" if version.startswith("W/") else version, encoding="utf-8")
            got = self._append(answer, start, total)
        wanted = self.size if total is None else total
        if wanted is not None and got < wanted:
            raise _CutShortError(f"the connection ended early: {got} of {wanted} bytes came")
        if wanted is not None and got > wanted:
            raise self._mismatch(f"the server sent {got} bytes, expected {wanted}")

    def _begin(self) -> tuple[int, dict[str, str]]:
        """Return how many bytes were received before, and the request headers that ask for the others."""
        part, version_file = part_of(self.path), _version_file(self.path)
        with _writing(self.path):
            version = version_file.read_text(encoding="utf-8") if version_file.exists() else ""
            start = part.stat().st_size if part.exists() and (version or self.resume_unnamed) else 0
        if not start:
            return 0, {}
        return start, {"Range": f"bytes={start}-", **({"If-Range": version} if version else {})}

    def _place(self, answer: HTTPResponse, start: int) -> tuple[int, int | None]:
        """Return the position of the answer in the file, and the size of the whole file if the server states it."""
        length = _length(answer)
        if answer.status != _PARTIAL:
            return 0, length
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not start or found is None or int(found[1]) != start:
            raise self._mismatch(f"the server was asked for the bytes from {start} on and sends others")
        end = int(found[2]) + 1
        if length is not None and length != end - start:
            raise self._mismatch("the server contradicts itself about the size of its answer")
        return start, end if found[3] == "*" else int(found[3])

    def _append(self, answer: HTTPResponse, start: int, total: int | None) -> int:
        """Write the answer after the first `start` bytes; return the number of bytes in the file."""
        with _writing(self.path):
            file = part_of(self.path).open("ab" if start else "wb")
        with file:
            got = start
            while block := answer.read1(_BLOCK):
                with _writing(self.path):
                    file.write(block)
                    file.flush()
                got += len(block)
                if self.progress is not None:
                    self.progress(got, total)
        return got

    def _mismatch(self, reason: str) -> _CutShortError:
        """Discard the received bytes, because the answer can't be appended to them; the next attempt starts anew."""
        with _writing(self.path):
            discard_part(self.path)
        return _CutShortError(reason)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn errors of the disk into `WriteError`, because, unlike errors of the connection, retrying does not help."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: can't be written: {error.strerror or error}") from error


def _version_file(path: Path) -> Path:
    return path.with_name(path.name + ".part.tag")


def _shown(url: str) -> str:
    """Return a URL for a message, without its query, which may contain a key."""
    return url.partition("?")[0]


def _length(answer: HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _open(url: str, headers: Mapping[str, str], patience: Patience) -> HTTPResponse:
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{_shown(url)}: expected a web address (http:// or https://)")
    request = Request(url, headers={"User-Agent": "itkit", "Accept-Encoding": "identity", **headers})
    answer: HTTPResponse = urlopen(request, timeout=patience.timeout_s)
    return answer


def _persist(url: str, patience: Patience, once: Callable[[], _T]) -> _T:
    """Call `once` until it succeeds; wait and retry after temporary failures."""
    for attempt in range(1, patience.attempts + 1):
        pause_s = patience.pause_s * 2 ** (attempt - 1)
        failure: Exception
        try:
            return once()
        except HTTPError as error:
            after = error.headers.get("Retry-After", "") if error.headers else ""
            pause_s = float(after) if after.isdigit() else pause_s
            reason, failure = f"HTTP {error.code} {error.reason}", error
            is_final = error.code < 500 and error.code not in _BUSY
            error.close()
        except (URLError, HTTPException, OSError) as error:
            reason, failure = str(getattr(error, "reason", "") or error or type(error).__name__), error
            is_final = False
        if is_final or attempt == patience.attempts:
            raise DownloadError(f"{_shown(url)}: {reason}") from failure
        LOGGER.info("%s: %s; attempt %d of %d failed", _shown(url), reason, attempt, patience.attempts)
        time.sleep(min(pause_s, patience.longest_pause_s))
    raise DownloadError(f"{_shown(url)}: not tried; allow at least one attempt")
