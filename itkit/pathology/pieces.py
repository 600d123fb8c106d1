"""The classes of a slide by a network: piece by piece, each with all windows that its pixels need."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itkit.core.boxes import window_starts
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.inference.model_folder import ModelFacts
from itkit.pathology.scaling import Scale, read_scaled, size_at
from itkit.pathology.slides import Slide
from itkit.pathology.tissue import Tissue

if TYPE_CHECKING:
    from itkit.inference.predicting import Predictor

CHANNELS = ("red", "green", "blue")
Numbers = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and standard deviation of red, green and blue."""
_PIECE = 2048
"""Pixels along a side of a piece, without what it has in common with its neighbours."""
_SAMPLES = 32
"""Windows of tissue that tell a slide's own mean and standard deviation."""


class PieceSpan(NamedTuple):
    """Pieces along an axis: which pixels are taken from a piece, and which it covers."""

    first: int
    end: int
    start: int
    stop: int


def pieces(length: int, patch: int, overlap: float, side: int | None = None) -> list[PieceSpan]:
    """Return the pieces along an axis; each covers all windows, whole, of the pixels that are taken from it.

    Parameters
    ----------
    length
        Pixels along the axis.
    patch, overlap
        The network's window, and which part of it the next one covers again.
    side
        About how many pixels are taken from a piece.

    Examples
    --------
    >>> pieces(100, 20, 0.5, side=40)
    [PieceSpan(first=0, end=40, start=0, stop=50), PieceSpan(first=40, end=80, start=30, stop=90), \
PieceSpan(first=80, end=100, start=70, stop=100)]
    """
    step = window_starts(10 * patch, patch, overlap)[1]
    core = step * max(1, round((_PIECE if side is None else side) / step))
    found = []
    for first in range(0, length, core):
        end = min(first + core, length)
        start = step * math.ceil((first - patch + 1) / step)
        stop = step * ((end - 1) // step) + patch
        if length - patch < end:  # the last window touches the end, whatever the steps are
            start, stop = min(start, step * ((length - patch) // step)), length
        found.append(PieceSpan(first, end, max(0, start), stop))
    return found


def spans(size_xy: Sequence[int], models: Sequence[ModelFacts], overlap: float) -> tuple[list[PieceSpan], ...]:
    """Return the pieces of a slide along X and Y, for networks whose windows may differ."""
    sides = (max(model.patch_size[axis] for model in models) for axis in (2, 1))
    return tuple(pieces(length, side, overlap) for length, side in zip(size_xy, sides, strict=True))


def piece_spacing(model: ModelFacts) -> tuple[float, float, float]:
    """Return the spacing of a slide's pixels as a network knows it: a level within 1 % counts as that resolution."""
    z, y, x = model.spacing
    return (z if z > 0 else y, y, x)


class Segmented:
    """The classes of a slide: bands of pieces are computed as they are asked for, from the top to the bottom.

    Parameters
    ----------
    slide, scale
        The slide, and how it is read.
    order
        Order of the networks' channels.
    predictor
        The networks.
    scratch
        Folder of the files in which bands lie; they have no name.
    threads
        Threads to use.
    tissue
        Where there is tissue, to leave out pieces without any.
    """

    def __init__(
        self,
        slide: Slide,
        scale: Scale,
        order: Sequence[int],
        predictor: Predictor,
        *,
        scratch: Path,
        threads: int,
        tissue: Tissue | None = None,
    ) -> None:
        self._slide, self._scale, self._order = slide, scale, list(order)
        self._predictor, self._scratch, self._threads, self._tissue = predictor, scratch, threads, tissue
        self.size_xy = size_at(slide, scale)
        models = [loaded.model.facts for loaded in predictor.models]
        self._columns, rows = spans(self.size_xy, models, predictor.settings.overlap)
        self._coming = iter(rows)
        self._spacing = piece_spacing(models[0])
        self._bands: list[tuple[int, int, NDArray[np.uint8]]] = []
        self.windows = self.left_out = 0
        self.voxels = dict.fromkeys(models[0].values, 0)

    def piece(self, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return the classes of a box, ``(height, width)``; boxes must not go up again."""
        self._bands = [band for band in self._bands if band[1] > top]
        while not self._bands or self._bands[-1][1] < top + height:
            self._bands.append(self._band(next(self._coming)))
        parts = [
            classes[max(0, top - first) : top + height - first, left : left + width]
            for first, _, classes in self._bands
            if first < top + height
        ]
        return np.concatenate(parts)

    def _band(self, rows: PieceSpan) -> tuple[int, int, NDArray[np.uint8]]:
        shape = (rows.end - rows.first, self.size_xy[0])
        with tempfile.TemporaryFile(dir=self._scratch, prefix="itkit-") as file:  # the map keeps it open
            band = np.memmap(file, np.uint8, "w+", shape=shape)
        for columns in self._columns:
            band[:, columns.first : columns.end] = self._classes(rows, columns)
        return rows.first, rows.end, band

    def _classes(self, rows: PieceSpan, columns: PieceSpan) -> NDArray[Any] | int:
        height, width = rows.end - rows.first, columns.end - columns.first
        mpp = self._scale.mpp
        if self._tissue is not None and not self._tissue.share(
            columns.first * mpp, rows.first * mpp, width * mpp, height * mpp
        ):
            self.left_out += 1
            self.voxels[0] += height * width
            return 0
        size = (columns.stop - columns.start, rows.stop - rows.start)
        pixels = read_scaled(self._slide, self._scale, (columns.start, rows.start), size)[None, ..., self._order]
        image = Volume(np.ascontiguousarray(pixels), Geometry((1, size[1], size[0]), self._spacing))
        found = self._predictor.predict([image], threads=self._threads)
        self.windows += found.windows
        inner = (
            slice(rows.first - rows.start, rows.end - rows.start),
            slice(columns.first - columns.start, columns.end - columns.start),
        )
        classes: NDArray[Any] = found.label.array_zyx[0][inner]
        for value, count in enumerate(np.bincount(classes.reshape(-1)).tolist()):
            if count:
                self.voxels[value] += count
        return classes


def sampled(slide: Slide, scale: Scale, tissue: Tissue, side_yx: Sequence[int]) -> Numbers:
    """Return mean and standard deviation of red, green and blue in windows of tissue, evenly spread over a slide."""
    width, height = size_at(slide, scale)
    rows, columns = np.nonzero(tissue.mask if tissue.mask.any() else ~tissue.mask)
    chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).round().astype(int))
    values = []
    for row, column in zip(rows[chosen], columns[chosen], strict=True):
        x, y = (
            min(max(0, round((place + 0.5) * tissue.mpp / scale.mpp) - side // 2), max(0, length - side))
            for place, side, length in ((column, side_yx[1], width), (row, side_yx[0], height))
        )
        size = (min(side_yx[1], width), min(side_yx[0], height))
        values.append(read_scaled(slide, scale, (x, y), size).reshape(-1, len(CHANNELS)))
    pixels = np.concatenate(values).astype(np.float64)
    return pixels.mean(axis=0), pixels.std(axis=0)
