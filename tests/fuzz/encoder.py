"""Arbitrary bytes through the encoder, built with AddressSanitizer and UndefinedBehaviorSanitizer; zlib reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "itkit" / "kernels" / "native" / "deflate"
FLAGS = [
    "-std=gnu11",
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
]
BATCH = 200
LONGEST_S = 300


def compiler() -> str | None:
    """Return the C compiler: that of the environment variable ``CC``, or ``cc``."""
    return shutil.which(os.environ.get("CC", "cc"))


def build(folder: Path) -> Path:
    """Compile the encoder and the program that drives it."""
    name = compiler()
    if name is None:
        raise FileNotFoundError("no C compiler; set CC")
    program = folder / "encoder"
    files = [HERE / "encoder.c", *sorted(NATIVE.glob("*.c"))]
    subprocess.run([name, *FLAGS, *map(str, files), "-o", str(program)], check=True)
    return program


def run(seed: int, count: int, *, first: int = 0) -> list[str]:
    """Compress pieces ``first`` to ``first + count - 1`` and read them back; return what must not be."""
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        findings = []
        for start in range(first, first + count, BATCH):
            findings += _batch(program, seed, range(start, min(start + BATCH, first + count)))
    return findings


def _batch(program: Path, seed: int, numbers: range) -> list[str]:
    pieces = [piece(seed, number) for number in numbers]
    sent = b"".join(np.array(head, "<i8").tobytes() + plain for head, plain in pieces)
    done = subprocess.run([program], input=sent, capture_output=True, check=False, timeout=LONGEST_S)
    findings, at = [], 0
    for number, (head, plain) in zip(numbers, pieces, strict=True):
        if at + 8 > len(done.stdout):
            report = done.stderr.decode(errors="replace")[:2000]
            return [*findings, f"piece {number}: the encoder ended with {done.returncode}\n{report}"]
        size = int.from_bytes(done.stdout[at : at + 8], "little", signed=True)
        made = done.stdout[at + 8 : at + 8 + max(0, size)]
        at += 8 + max(0, size)
        if head[4] < 0:
            if size != -1:
                findings.append(f"piece {number}: too small a buffer was not refused ({size})")
        elif not _is(plain, made, is_last=bool(head[3])):
            findings.append(f"piece {number}: zlib reads other bytes")
    return findings


def piece(seed: int, number: int) -> tuple[tuple[int, int, int, int, int], bytes]:
    """Return what the program is sent for a piece: five numbers (see ``encoder.c``), and bytes."""
    rng = np.random.default_rng([seed, number])
    size = int(rng.choice([0, 1, 7, 300, 5000, 70_000, 400_000], p=[0.03, 0.05, 0.1, 0.3, 0.3, 0.17, 0.05]))
    size = int(rng.integers(0, size + 1))
    item = int(rng.choice([1, 2, 4, 8, 3, 6]))
    row = int(rng.choice([0, 1, item, 64, 512, 33_000, -5, int(rng.integers(0, 3000))]))
    return (size, item, row, int(rng.integers(2)), int(rng.choice([0, 1, 100, -1]))), _content(rng, size, row)


def _content(rng: np.random.Generator, size: int, row: int) -> bytes:
    kind = int(rng.integers(6))
    if kind == 0:
        return rng.bytes(size)
    if kind == 1:
        return rng.normal(40, int(rng.choice([1, 12, 300])), size // 2 + 1).astype("<i2").tobytes()[:size]
    if kind == 2:
        return np.repeat(rng.integers(0, 5, size + 1), int(rng.integers(1, 600))).astype(np.uint8)[:size].tobytes()
    if kind == 3:
        return bytes([int(rng.integers(256))]) * size
    if kind == 4:  # rows that repeat, with some changes
        line = rng.bytes(max(1, row))
        rows = np.frombuffer(line * (size // len(line) + 1), np.uint8)[:size].copy()
        rows[rng.integers(0, max(1, size), size // 50)] ^= 1 if size else 0
        return rows.tobytes()
    half = rng.bytes(32_768 + int(rng.integers(-2, 3)))  # matches at the window's end
    return (half * (size // len(half) + 1))[:size]


def _is(plain: bytes, made: bytes, *, is_last: bool) -> bool:
    decoder = zlib.decompressobj(-15)
    try:
        read = decoder.decompress(made if is_last else made + b"\x03\x00")
    except zlib.error:
        return False
    return decoder.eof and not decoder.unused_data and read == plain
