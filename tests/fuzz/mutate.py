"""Damage to files, by a seeded generator: in bytes, in fields of headers, and inside compressed streams."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fuzz.sources import Source

_NUMBERS = (
    b"0", b"-1", b"1", b"2", b"3", b"4", b"17", b"255", b"32767", b"65536", b"2147483648", b"99999999999999999999",
    b"1.5", b"1e308", b"1e-320", b"-0.0", b"nan", b"inf", b"-inf", b"", b"0x10", b"1,5", b"1e", b"\xd9\xa3", b"1 2 3",
)  # fmt: skip
_WORDS = (
    b"LOCAL", b"LIST", b"NDims", b"DimSize", b"ElementType", b"MET_SHORT", b"MET_UCHAR", b"True", b"False", b"sizes",
    b"dimension", b"encoding", b"gzip", b"raw", b"ascii", b"hex", b"bzip2", b"endian", b"space directions", b"none",
    b"(1,0,0)", b"type", b"short", b"block", b"data file", b"../a", b"a%03d.raw 1 3 1", b"/etc/passwd", b"kinds",
    b"list", b"byte skip", b"line skip", b"-1", b"CompressedDataSize", b"HeaderSize", b"ElementNumberOfChannels",
)  # fmt: skip
_FIELDS = (
    (0, "i"), (39, "b"), *((40 + 2 * k, "h") for k in range(8)), (70, "h"), (72, "h"),
    *((76 + 4 * k, "f") for k in range(8)), (108, "f"), (112, "f"), (116, "f"), (123, "b"), (252, "h"), (254, "h"),
    *((256 + 4 * k, "f") for k in range(18)), (344, "i"), (348, "b"), (349, "i"),
)  # fmt: skip
"""Fields of a NIfTI-1 header: offset and type."""
_INTEGERS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 127, -1, -2, 255, 512, 2304, 32767, -32768, 2**31 - 1, -(2**31))
_FLOATS = (0.0, 1.0, -1.0, 0.5, 1e38, -1e38, 1e-45, float("nan"), float("inf"), -float("inf"), 352.0, 348.0, 1e9)


def mutated(source: Source, others: list[Source], rng: np.random.Generator) -> dict[str, bytes]:
    """Return the files of a volume with damage in one of them."""
    files = dict(source.files)
    name = _one(list(files), rng)
    data = files[name]
    for _ in range(int(rng.integers(1, 4))):
        way = rng.random()
        if way < 0.55:
            data = _in_header(source, name, data, rng)
        elif way < 0.65:
            data = _stream_again(source, name, data, rng)
        else:
            data = _bytes(data, _one(others, rng), rng)
    files[name] = data
    return files


def _one(values, rng):
    return values[int(rng.integers(len(values)))]


def _in_header(source: Source, name: str, data: bytes, rng: np.random.Generator) -> bytes:
    if name != source.name:
        return _bytes(data, source, rng)
    if source.suffix == ".nii":
        return _field(data, rng)
    if source.suffix == ".nii.gz":
        return gzip.compress(_field(_plain(data), rng), int(rng.integers(0, 10)))
    end = b"\n\n" if source.suffix in (".nrrd", ".nhdr") else b"ElementDataFile"
    cut = data.find(end)
    cut = len(data) if cut < 0 else data.find(b"\n", cut) + 1
    return _text(data[:cut], rng) + data[cut:]


def _plain(data: bytes) -> bytes:
    """Inflate as much as there is, but no bomb."""
    try:
        return zlib.decompressobj(31).decompress(data, 1 << 16)
    except zlib.error:
        return data


def _field(data: bytes, rng: np.random.Generator) -> bytes:
    offset, kind = _one(_FIELDS, rng)
    if kind == "f":
        packed = struct.pack("<f", _one(_FLOATS, rng))
    else:
        bits = 8 * struct.calcsize(kind)
        packed = (_one(_INTEGERS, rng) % 2**bits).to_bytes(bits // 8, "little")
    return data[:offset] + packed + data[offset + len(packed) :]


def _text(text: bytes, rng: np.random.Generator) -> bytes:
    lines = text.split(b"\n")
    at = int(rng.integers(len(lines)))
    way = int(rng.integers(8))
    if way == 0:
        del lines[at]
    elif way == 1:
        lines.insert(int(rng.integers(len(lines))), lines[at])
    elif way == 2:
        other = int(rng.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    elif way == 3:
        return text.replace(b"\n", b"\r\n")
    elif way == 4:
        lines[at] += bytes(rng.integers(0, 256, int(rng.integers(1, 40)), "uint8"))
    elif way == 5:
        words = lines[at].split(b" ")
        words[int(rng.integers(len(words)))] = _one(_WORDS, rng)
        lines[at] = b" ".join(words)
    else:
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?(e-?\d+)?", lines[at]))
        if numbers:
            number = _one(numbers, rng)
            lines[at] = lines[at][: number.start()] + _one(_NUMBERS, rng) + lines[at][number.end() :]
    return b"\n".join(lines)


def _stream_again(source: Source, name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """Compress the same bytes another way: in members, with rubbish behind them, cut short, or longer."""
    if source.suffix != ".nii.gz" or name != source.name:
        return data + bytes(rng.integers(0, 256, int(rng.integers(1, 30)), "uint8"))
    plain = _plain(data)
    way = int(rng.integers(4))
    if way == 0:
        step = int(rng.integers(1, 200))
        return b"".join(gzip.compress(plain[k : k + step]) for k in range(0, len(plain), step))
    if way == 1:
        return gzip.compress(plain) + bytes(rng.integers(0, 256, 20, "uint8"))
    if way == 2:
        return gzip.compress(plain[: int(rng.integers(len(plain) + 1))])
    return gzip.compress(plain + bytes(int(rng.integers(1, 1 << 21))))


def _bytes(data: bytes, other: Source, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data) + 1))
    end = min(len(data), at + int(rng.integers(1, 30)))
    way = int(rng.integers(7))
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + data[end:]
    if way == 2:
        return data[:at] + bytes(rng.integers(0, 256, end - at + 1, "uint8")) + data[at:]
    if way == 3:
        return data[:end] + data[at:]
    if way == 4:
        return data[:at] + other.files[other.name][at:]
    changed = bytearray(data)
    if changed:
        for _ in range(int(rng.integers(1, 5))):
            place = int(rng.integers(len(changed)))
            changed[place] = changed[place] ^ (1 << int(rng.integers(8))) if way == 5 else int(rng.integers(256))
    return bytes(changed)
