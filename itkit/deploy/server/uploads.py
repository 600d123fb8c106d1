"""Uploads: streamed to disk while they arrive, never in memory as a whole, under names of our own.

Of what the client calls a file, only its extension is used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from itkit.core.errors import ReadError, UploadError
from itkit.core.extras import require
from itkit.core.files import split_extension

MOST_FILES = 5000
MOST_FIELDS = 32
MOST_FIELD_BYTES = 1 << 16
_MOST_HEADER_BYTES = 1 << 13
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass
class Upload:
    """What a request has brought.

    Attributes
    ----------
    fields
        Texts by name.
    files
        Name of the field, and path, of each file, in their order.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, Path]] = field(default_factory=list)

    def paths(self, *names: str) -> list[Path]:
        """Return the files of some fields."""
        return [path for name, path in self.files if name in names]


async def receive(content_type: str, chunks: AsyncIterator[bytes], folder: Path, name: str = "") -> Upload:
    """Write the body of a request to files.

    Parameters
    ----------
    content_type
        Its content type: a form with files, or bytes of one file.
    chunks
        The body.
    folder
        Folder to write to; it is empty.
    name
        Name of the only file, if the body is no form.

    Raises
    ------
    UploadError
        When it is malformed, or has too many parts.
    OSError
        When the disk is full.
    """
    said = Message()
    said["content-type"] = content_type
    if said.get_content_type() != "multipart/form-data":
        upload = Upload()
        path = folder / own_name(name, 0)
        with path.open("xb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
        upload.files.append(("file", path))
        return upload
    boundary = said.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise UploadError("the form has no boundary")
    form = _Form(boundary, folder)
    try:
        async for chunk in chunks:
            await asyncio.to_thread(form.write, chunk)
        return form.finish()
    finally:
        form.close()


def own_name(given: str, number: int) -> str:
    """Return the name under which a file is kept: a number, and the extension of the client's name.

    Examples
    --------
    >>> own_name("../../etc/ct.1.NII.GZ", 3), own_name("IM0001", 0), own_name("a.b;rm", 1), own_name("x.zip", 2)
    ('0003.nii.gz', '0000', '0001', '0002.zip')
    """
    base = re.split(r"[/\\]", given)[-1]
    parts = split_extension(base)
    extension = parts[1] if parts is not None else Path(base).suffix
    known = extension.lower() if all(_EXTENSION.fullmatch(f".{one}") for one in extension[1:].split(".")) else ""
    return f"{number:04d}{known}"


class _Form:
    """A form with files, piece by piece."""

    def __init__(self, boundary: str, folder: Path) -> None:
        multipart = require("python_multipart", extra="serve", why="itkit serve")
        self._error: type[Exception] = multipart.exceptions.FormParserError
        self._folder = folder
        self._upload = Upload()
        self._name = self._filename = ""
        self._header = [b"", b""]
        self._headers: dict[str, str] = {}
        self._text = bytearray()
        self._file: BinaryIO | None = None
        self._is_whole = False
        self._parser = self._made(
            multipart.MultipartParser,
            boundary.encode("latin-1", "replace"),
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": lambda data, start, end: self._add(data[start:end]),
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
        )

    def write(self, chunk: bytes) -> None:
        self._made(self._parser.write, chunk)

    def _made(self, make: Callable[..., Any], *given: object) -> Any:
        try:
            return make(*given)
        except self._error as error:
            raise UploadError(f"the form is malformed: {error}") from error

    def finish(self) -> Upload:
        if not self._is_whole:
            raise UploadError("the form ends in the middle")
        return self._upload

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _part_begins(self) -> None:
        if len(self._upload.files) + len(self._upload.fields) >= MOST_FILES:
            raise UploadError(f"more than {MOST_FILES} parts; send a zip archive")
        self._headers = {}
        self._text = bytearray()
        self._header = [b"", b""]

    def _add_header(self, which: int, data: bytes) -> None:
        self._header[which] += data
        if len(self._header[which]) > _MOST_HEADER_BYTES:
            raise UploadError("a part of the form has a header that is too long")

    def _header_ends(self) -> None:
        name, value = (part.decode("utf-8", "replace").strip() for part in self._header)
        if len(self._headers) >= 16:
            raise UploadError("a part of the form has too many headers")
        self._headers[name.lower()] = value
        self._header = [b"", b""]

    def _headers_end(self) -> None:
        said = Message()
        said["content-disposition"] = re.sub(r"[\r\n]", " ", self._headers.get("content-disposition", ""))
        name = said.get_param("name", header="content-disposition")
        filename = said.get_param("filename", header="content-disposition")
        if isinstance(filename, tuple):
            filename = unquote(filename[2])
        if not isinstance(name, str) or not name:
            raise UploadError("a part of the form has no name")
        self._name = name
        if filename is None:
            self._file = None
        else:
            path = self._folder / own_name(filename, len(self._upload.files))
            self._file = path.open("xb")
            self._upload.files.append((name, path))

    def _add(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
            return
        self._text += data
        if len(self._text) > MOST_FIELD_BYTES:
            raise UploadError(f"the field {self._name[:100]!r} has more than {MOST_FIELD_BYTES} bytes")

    def _part_ends(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            return
        if len(self._upload.fields) >= MOST_FIELDS:
            raise UploadError(f"more than {MOST_FIELDS} fields")
        try:
            self._upload.fields[self._name] = self._text.decode()
        except UnicodeDecodeError as error:
            raise UploadError(f"the field {self._name[:100]!r} is not text") from error

    def _ends(self) -> None:
        self._is_whole = True


def require_files(paths: list[Path]) -> list[Path]:
    """Return files, if there is at least one and none is empty.

    Raises
    ------
    ReadError
        When that is not so.
    """
    if not paths:
        raise ReadError("no file was sent; send a volume, a zip archive or the files of a DICOM series as 'file'")
    if any(path.stat().st_size == 0 for path in paths):
        raise ReadError("a file that was sent is empty")
    return paths
