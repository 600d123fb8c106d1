"""Files and answers from web servers: tried again when a server is busy, resumed when a connection is cut, checked.

A download goes to a file beside its final name (``NAME.part``) and is renamed when it is whole. What came of it is kept
when it fails, and the next call asks for the rest. One process at a time may download to a name; callers hold a lock
where two could meet.
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
"""Called with the bytes that are there, and the bytes of the whole file or None where the server does not say."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes
    ----------
    attempts
        How often to try before giving up.
    pause_s
        Pause after the first failure; it doubles each time, unless the server names another (``Retry-After``).
    longest_pause_s
        Longest pause, whoever names it.
    timeout_s
        Seconds without a byte after which an attempt counts as failed.
    """

    attempts: int = 4
    pause_s: float = 0.4
    longest_pause_s: float = 120.0
    timeout_s: float = 30.0


class _CutShortError(HTTPException):
    """An answer ended before its announced length, or can't be joined to what is there."""


def file_sha256(path: Path) -> str:
    """Compute a file's SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def has_sha256(path: Path, expected: str) -> bool:
    """Return whether a file's SHA-256 begins with the expected digits."""
    return file_sha256(path).startswith(expected.lower())


def part_of(path: Path) -> Path:
    """Return the file that holds what came of an unfinished download."""
    return path.with_name(path.name + ".part")


def discard_part(path: Path) -> None:
    """Delete what came of an unfinished download."""
    part_of(path).unlink(missing_ok=True)
    _version_file(path).unlink(missing_ok=True)


def read_url(url: str, *, patience: Patience | None = None) -> bytes:
    """Return a server's whole answer.

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
    """Download a file; it gets its name when it is whole and right.

    Parameters
    ----------
    url
        ``http://`` or ``https://`` URL.
    path
        Final name; a file that is there is replaced.
    sha256
        Expected SHA-256, or its first digits.
    size
        Expected size in bytes.
    patience
        How often and how long to try.
    resume_unnamed
        Join pieces of different connections also where the server names no version of the file (``ETag`` or
        ``Last-Modified``). Only for files whose content is checked afterwards.
    progress
        Called after each block.

    Raises
    ------
    DownloadError
        When the server refuses or gives up, or the file has another size or digest. What came is kept, unless it is
        wrong.
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
    """One file on its way: asks for what is missing of it."""

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
        """Ask once for the rest of the file, or for all of it, and append what comes."""
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
        """Return how many bytes are there to go on from, and the headers that ask for the others."""
        part, version_file = part_of(self.path), _version_file(self.path)
        with _writing(self.path):
            version = version_file.read_text(encoding="utf-8") if version_file.exists() else ""
            start = part.stat().st_size if part.exists() and (version or self.resume_unnamed) else 0
        if not start:
            return 0, {}
        return start, {"Range": f"bytes={start}-", **({"If-Range": version} if version else {})}

    def _place(self, answer: HTTPResponse, start: int) -> tuple[int, int | None]:
        """Return where the answer belongs in the file, and the size of the whole file where the server says it."""
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
        """Write what comes behind the first `start` bytes; return how many are there then."""
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
        """Forget what is there, because it can't be joined to what the server sends; the next attempt starts anew."""
        with _writing(self.path):
            discard_part(self.path)
        return _CutShortError(reason)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell a fault of the disk, which no further attempt mends, from one of the connection."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: can't be written: {error.strerror or error}") from error


def _version_file(path: Path) -> Path:
    return path.with_name(path.name + ".part.tag")


def _shown(url: str) -> str:
    """Return a URL for a message: without its query, which may hold a key."""
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
    """Call `once` until it succeeds; failures that pass by themselves are waited for."""
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
