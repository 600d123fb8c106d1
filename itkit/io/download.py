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
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from itkit.core.errors import DownloadError
from itkit.core.text import is_web_page, shown
from itkit.io.disk import sync_file, writing

LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 20
_BUSY = (408, 429)
_HEAD_BYTES = 512
_LONG_PAUSE_S = 5.0
"""A user is told of a pause that is longer."""
MOST_ANSWER_BYTES = 256 << 20
_DIGITS = re.compile(r"[0-9]{1,18}")
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
    least_bytes_per_s, slow_s
        An attempt fails if fewer bytes come in such a time; the next one goes on from there.
    """

    attempts: int = 4
    pause_s: float = 0.4
    longest_pause_s: float = 60.0
    timeout_s: float = 30.0
    least_bytes_per_s: int = 1024
    slow_s: float = 20.0


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


def read_url(url: str, *, patience: Patience | None = None, most: int = MOST_ANSWER_BYTES) -> bytes:
    """Return the complete answer of a server, of ``most`` bytes.

    Raises
    ------
    DownloadError
        When the server refuses, does not answer after all attempts, or has more to say.
    """
    patience = patience or Patience()

    def once() -> bytes:
        with _open(url, {}, patience) as answer:
            length = _length(answer)
            _require_size(url, length or 0, most)
            data = bytearray()
            for block in _blocks(answer, patience):
                data += block
                _require_size(url, len(data), most)
        if length is not None and len(data) != length:
            raise _CutShortError(f"{len(data)} of {length} bytes came")
        return bytes(data)

    return _persist(url, patience, once)


def download(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    most: int | None = None,
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
    most
        Largest size to accept, in bytes; by default what the server announces.
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
        When the server refuses or does not answer, sends nothing or a web page, or the file has another size or
        digest. Received bytes are kept unless they are wrong.
    WriteError
        When the file can't be written.
    """
    patience = patience or Patience()
    name = _shown(url)
    receiver = _Receiver(url, path, patience, size, most, resume_unnamed, progress)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _persist(url, patience, receiver.receive)
    except DownloadError as error:
        kept = part_of(path).stat().st_size if part_of(path).exists() else 0
        kept_text = f"; {kept} bytes are kept, the next call goes on with them" if kept else ""
        raise DownloadError(f"{error}{kept_text}") from error
    with writing(path):
        with part_of(path).open("rb") as file:
            reason = _no_file(file.read(_HEAD_BYTES))
        if reason and size != 0:
            discard_part(path)
            raise DownloadError(f"{name}: {reason}")
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
        most: int | None,
        resume_unnamed: bool,
        progress: Progress | None,
    ) -> None:
        self.url, self.path, self.patience, self.size, self.most = url, path, patience, size, most
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
            if self.most is not None:
                _require_size(self.url, total or 0, self.most)
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            with writing(self.path):
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
        with writing(self.path):
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
        with writing(self.path):
            file = part_of(self.path).open("ab" if start else "wb")
        with file:
            got = start
            for block in _blocks(answer, self.patience):
                if self.most is not None:
                    _require_size(self.url, got + len(block), self.most)
                with writing(self.path):
                    file.write(block)
                    file.flush()
                got += len(block)
                if self.progress is not None:
                    self.progress(got, total)
        return got

    def _mismatch(self, reason: str) -> _CutShortError:
        """Discard the received bytes, because the answer can't be appended to them; the next attempt starts anew."""
        with writing(self.path):
            discard_part(self.path)
        return _CutShortError(reason)


def _version_file(path: Path) -> Path:
    return path.with_name(path.name + ".part.tag")


def _shown(url: str) -> str:
    """Return a URL for a message, without its query, which may contain a key."""
    return url.partition("?")[0]


def _length(answer: HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "").strip()
    if text and not _DIGITS.fullmatch(text):
        raise DownloadError(f"{_shown(answer.url)}: the server states {text[:40]!r} as the length of its answer")
    return int(text) if text else None


def _require_size(url: str, size: int, most: int) -> None:
    if size > most:
        raise DownloadError(f"{_shown(url)}: {size} bytes or more; at most {most} are accepted")


def _no_file(head: bytes) -> str:
    """Return why the first bytes are no file that anybody wants to download; empty if they may be one."""
    if not head:
        return "the server sent an empty file"
    if is_web_page(head):
        return "the server sent a web page in place of the file (maintenance, or it wants a login)"
    return ""


def _blocks(answer: HTTPResponse, patience: Patience) -> Iterator[bytes]:
    """Yield what comes, as long as it comes fast enough."""
    since, got = time.monotonic(), 0
    while block := answer.read1(_BLOCK):
        yield block
        got += len(block)
        took_s = time.monotonic() - since
        if took_s >= patience.slow_s:
            if got < patience.least_bytes_per_s * took_s:
                raise _CutShortError(f"only {got / took_s:.0f} bytes a second came; given up")
            since, got = time.monotonic(), 0


def _open(url: str, headers: Mapping[str, str], patience: Patience) -> HTTPResponse:
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{_shown(url)}: expected a web address (http:// or https://)")
    request = Request(url, headers={"User-Agent": "itkit", "Accept-Encoding": "identity", **headers})
    answer: HTTPResponse = _opener().open(request, timeout=patience.timeout_s)
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        answer.close()
        raise DownloadError(f"{_shown(url)}: the server sends the file packed ({encoding[:40]}) although nobody asked")
    return answer


class _WebRedirects(HTTPRedirectHandler):
    """Follow a server that sends elsewhere, but only to the web, and never from an encrypted address to a plain one."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Return the request for the new address."""
        allowed = ("https://",) if req.full_url.startswith("https://") else ("https://", "http://")
        if not newurl.lower().startswith(allowed):
            raise DownloadError(f"{_shown(req.full_url)}: the server sends to {_shown(newurl)[:200]!r}; not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@cache
def _opener() -> OpenerDirector:
    """Return what opens web addresses and nothing else: no local files, no FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(), HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), _WebRedirects(), HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


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
        pause_s = min(pause_s, patience.longest_pause_s)
        tell = LOGGER.warning if pause_s >= _LONG_PAUSE_S else LOGGER.info
        told = shown(f"{_shown(url)}: {reason}; attempt {attempt} of {patience.attempts} failed")
        tell("%s; waiting %.0f s", told, pause_s)
        time.sleep(pause_s)
    raise DownloadError(f"{_shown(url)}: not tried; allow at least one attempt")
