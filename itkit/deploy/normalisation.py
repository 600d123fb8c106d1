"""Normalisations in an ONNX graph, written so that every runtime adds up few numbers at a time.

ONNX Runtime and OpenVINO compute ``InstanceNormalization`` with a single sum over all voxels of a channel or a group,
in 32-bit floats. For a hundred thousand voxels, that alone is worse than everything else that a network computes. Means
of pieces, and then the mean of those, lose nothing, and take as long.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from itkit.core.extras import require

_EPSILON = 1e-5
"""What ONNX adds to the variance if a node does not say it."""


def rewrite_normalisations(model: Any) -> int:
    """Replace each ``InstanceNormalization`` by arithmetic with means in two steps.

    Group normalisation is exported as one, too, over groups that are laid out as one long row. One whose row has a
    length that is free, and that no other shape of the graph tells how to cut, stays.

    Parameters
    ----------
    model
        A graph of ``onnxscript.ir``; it is changed.

    Returns
    -------
    int
        Number of nodes that were replaced.
    """
    ir = require("onnxscript", extra="onnx", why="itkit export").ir
    found = [node for node in model.graph if node.op_type == "InstanceNormalization"]
    return sum(_rewrite(ir, model.graph, node) for node in found)


class _Writer:
    """Writes nodes before they are put into the graph."""

    def __init__(self, ir: Any) -> None:
        self._ir, self.tape = ir, ir.tape.Tape()

    def node(self, name: str, *inputs: Any, **attributes: Any) -> Any:
        return self.tape.op(name, list(inputs), attributes)

    def constant(self, value: Any, dtype: Any = np.int64) -> Any:
        return self.node("Constant", value=self._ir.tensor(np.asarray(value, dtype)))

    def length(self, value: Any, axis: int) -> Any:
        """Return the length of an axis as a float."""
        size = value.shape[axis] if value.shape is not None else None
        if isinstance(size, int):
            return self.constant(size, np.float32)
        return self.node("Cast", self.node("Shape", value, start=axis, end=axis + 1), to=1)

    def mean(self, value: Any, rank: int, count: Any) -> Any:
        """Return the mean of the means over axis 3 and those behind it, over the ``count`` places of axis 2.

        The sum of the second step is not a ``ReduceMean``: OpenVINO would join both.
        """
        rows = self.node("ReduceMean", value, self.constant(list(range(3, rank))))
        return self.node("Div", self.node("ReduceSum", rows, self.constant([2])), count)


def _rewrite(ir: Any, graph: Any, node: Any) -> bool:
    image, scale, bias = node.inputs
    if image.shape is None:
        return False
    write, rank = _Writer(ir), len(image.shape)
    is_row = rank == 3
    if is_row:
        cut = _cut_row(write, image)
        if cut is None:
            return False
        values, count, rank = cut
    else:
        values, count = image, write.length(image, 2)
    epsilon = node.attributes["epsilon"].value if "epsilon" in node.attributes else _EPSILON
    centred = write.node("Sub", values, write.mean(values, rank, count))
    variance = write.mean(write.node("Mul", centred, centred), rank, count)
    deviation = write.node("Sqrt", write.node("Add", variance, write.constant(epsilon, np.float32)))
    made = write.node("Mul", centred, write.node("Div", _column(write, scale, rank), deviation))
    if not _is_zero(bias):
        made = write.node("Add", made, _column(write, bias, rank))
    if is_row:
        made = write.node("Reshape", made, write.constant([0, 0, -1]))
    made.shape, made.type = node.outputs[0].shape, node.outputs[0].type
    ir.convenience.replace_nodes_and_values(graph, node, [node], write.tape.nodes, node.outputs, [made])
    for value in (scale, bias):
        if not value.uses() and value.name in graph.initializers:  # else ONNX Runtime warns
            del graph.initializers[value.name]
    return True


def _cut_row(write: _Writer, row: Any) -> tuple[Any, Any, int] | None:
    """Return a row ``(N, C, L)`` as ``(N, C, pieces, ...)``, the number of pieces and the axes, if it can be cut."""
    length = row.shape[2]
    if isinstance(length, int):
        pieces = _near_root(length)
        return write.node("Reshape", row, write.constant([0, 0, pieces, -1])), write.constant(pieces, np.float32), 4
    producer = row.producer()
    source = producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else None
    if source is None or len(source.shape or ()) < 4:
        return None
    rank = len(source.shape)  # a piece is a plane of a volume, or a row of an image
    lengths = write.node("Concat", write.constant([0, 0, -1]), write.node("Shape", source, start=3, end=rank), axis=0)
    cut = write.node("Reshape", row, lengths)
    return cut, write.length(cut, 2), rank


def _near_root(length: int) -> int:
    """Return the largest divisor of a length that is not above its root.

    Examples
    --------
    >>> _near_root(131072), _near_root(24 * 25), _near_root(7)
    (256, 24, 1)
    """
    return next(pieces for pieces in range(math.isqrt(length), 0, -1) if length % pieces == 0)


def _column(write: _Writer, values: Any, rank: int) -> Any:
    return write.node("Reshape", values, write.constant([-1, *[1] * (rank - 2)]))


def _is_zero(value: Any) -> bool:
    return value.const_value is not None and not value.const_value.numpy().any()
