"""How much memory a case needs, found from the headers of its files."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from itkit.core.errors import CaseError, ItkitError
from itkit.core.operation import CaseInput, InputKind, Job, Operation
from itkit.core.params import Params
from itkit.engine.resources import BASE_BYTES
from itkit.io.formats.header_model import ITEM_BYTES, Header
from itkit.io.formats.inspect import read_any_header

SMALL_BYTES = 16 << 20
"""Size below which a volume is compressed in one thread."""
SMALL_FILES_BYTES, SMALL_TASK_BYTES = 64 << 10, 1 << 20
"""Size of a case's files up to which a worker measures it, and memory up to which cases may wait for one worker."""
_PIECE_BYTES, _THREAD_BYTES = 4 << 20, 16 << 20
"""What a thread compresses at a time, and what it holds for that: the piece, its streams, and results in a queue."""
_TEXT_BYTES_PER_VOXEL, _FLOAT_LABEL_BYTES = 128, 24


@dataclass(frozen=True)
class Needs:
    """What a run's cases need; it can be asked in a worker process too.

    Parameters
    ----------
    threads
        Number of threads that may work on a case.
    budget
        Bytes of memory that the run may use.
    """

    threads: int
    budget: int

    def of(self, operation: Operation[Any], params: Params, job: Job) -> int:
        """Return the bytes that a case needs beside those of the process; 0 if that can't be known."""
        from itkit.process.common import converted_bytes  # imports numpy, which headers alone don't need

        inputs = _describe_inputs(job)
        with contextlib.suppress(CaseError):  # the case will fail with this error
            total = (
                operation.memory(inputs, params)
                if operation.memory
                else 3 * sum(item.nbytes for item in inputs.values())
            )
            total += converted_bytes(inputs, params)
            reading = sum(item.reading for item in inputs.values())
            busy = min(self.threads, total // _PIECE_BYTES) if total > SMALL_BYTES else 0
            more = reading + busy * _THREAD_BYTES
            if operation.least_memory is not None:
                there = self.budget - 2 * BASE_BYTES - more
                total = max(min(total, there), operation.least_memory(inputs, params))
            return total + more
        return 0


def _describe_inputs(job: Job) -> dict[str, CaseInput]:
    """Return grid, type and size of a job's inputs from their headers.

    An unreadable file is left out; its case will fail when it is read.
    """
    found = {}
    for name, file in job.inputs.items():
        try:
            header = read_any_header(file.path)
        except ItkitError:
            continue
        found[name] = _in_memory(header, file.kind)
    return {**found, **job.sizes}


def _in_memory(header: Header, kind: InputKind) -> CaseInput:
    """Return what a volume takes in memory, and what reading it takes beside that."""
    if kind == "grid":
        return CaseInput(header.geometry, header.dtype, 0)
    voxels = header.size_bytes // ITEM_BYTES[header.dtype]
    dtype = header.value_dtype if kind != "label" else "float64" if header.is_scaled else header.dtype
    nbytes = voxels * ITEM_BYTES[dtype]
    reading = header.size_bytes if header.is_scaled else 0
    if header.encoding in ("itk", "plug-in"):  # the child's voxels, and what ITK converts
        reading += 2 * header.size_bytes
    elif header.encoding == "text":
        reading += _TEXT_BYTES_PER_VOXEL * voxels
    if kind == "label" and dtype.startswith("float"):  # they are compared with whole numbers
        reading += _FLOAT_LABEL_BYTES * voxels
    return CaseInput(header.geometry, dtype, nbytes, reading)
