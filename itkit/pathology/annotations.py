"""Annotations of slides: read QuPath's GeoJSON, ASAP's and ImageScope's XML; write GeoJSON.

All of them give points in pixels of level 0, X Y. A pixel covers the square from its index to the next one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from itkit.core.bounded import parse_json, read_bounded
from itkit.core.errors import ReadError
from itkit.io.dicom.polygons import fill_even_odd

SUFFIXES = (".geojson", ".json", ".xml")
_MOST_BYTES = 1 << 30
_NO_NAME = "annotation"
_FARTHEST = 1e9
"""No slide has as many pixels along an axis."""

Ring = NDArray[np.float64]
"""A closed line ``(N, 2)``: X Y in pixels of level 0; the last point is not the first one again."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """A region of one class.

    Parameters
    ----------
    name
        Its class.
    polygons
        Each a list of rings: the outline, and the holes in it.
    """

    name: str
    polygons: tuple[tuple[Ring, ...], ...]

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, pixels of level 0."""
        points = np.concatenate([polygon[0] for polygon in self.polygons])
        return (*map(float, points.min(axis=0)), *map(float, points.max(axis=0)))  # type: ignore[return-value]


def read_annotations(path: str | Path) -> tuple[Annotation, ...]:
    """Read the regions of a file; its content says which of the formats it is.

    Points and lines have no area and are left out.

    Raises
    ------
    ReadError
        When the file is none of the formats, or holds a broken region.
    """
    path = Path(path)
    try:
        data = read_bounded(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise ReadError(f"{path.name}: can't be read ({error})") from error
    try:
        if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return tuple(_of_xml(data))
        return tuple(_of_geojson(parse_json(data)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, SyntaxError) as error:
        raise ReadError(f"{path.name}: no GeoJSON of QuPath, no XML of ASAP or ImageScope ({_said(error)})") from error


def _said(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _of_geojson(value: Any) -> Iterator[Annotation]:
    features = value if isinstance(value, list) else value.get("features", [value])
    for feature in features:
        geometry = feature["geometry"] if feature.get("type") == "Feature" else feature
        if geometry is None:  # a feature without a place (RFC 7946, 3.2)
            continue
        name = _class_of(feature.get("properties") or {})
        polygons = tuple(_polygons_of(geometry))
        if polygons:
            yield Annotation(name, polygons)


def _class_of(properties: Mapping[str, Any]) -> str:
    found = properties.get("classification") or properties.get("pathClass") or {}
    name = found.get("name") if isinstance(found, Mapping) else found
    return str(name or properties.get("name") or _NO_NAME).strip() or _NO_NAME


def _polygons_of(geometry: Mapping[str, Any]) -> Iterator[tuple[Ring, ...]]:
    kind = geometry["type"]
    if kind == "GeometryCollection":
        for inner in geometry["geometries"]:
            yield from _polygons_of(inner)
    elif kind in ("Polygon", "MultiPolygon"):
        for rings in [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]:
            if rings:  # an empty polygon is allowed, and has no area
                yield tuple(_ring(ring) for ring in rings)
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise ValueError(f"unknown geometry {kind!r}")


def _ring(points: Sequence[Sequence[float]]) -> Ring:
    if any(len(point) < 2 for point in points):
        raise ValueError("a point without X or Y")
    ring = np.array([[float(point[0]), float(point[1])] for point in points]).reshape(-1, 2)
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError(f"a polygon of {len(ring)} points; expected at least 3, all finite")
    return _near(ring)


def _near(ring: Ring) -> Ring:
    if not (np.abs(ring) <= _FARTHEST).all():  # not a number, either
        raise ValueError(f"a point at {np.abs(ring).max():g}; expected pixels of a slide")
    return ring


def _of_xml(data: bytes) -> Iterator[Annotation]:
    if b"\0" in data:  # UTF-16, in which the next words would not be found
        raise ValueError("it is not UTF-8 text")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("a document type or entities, which such files don't have")
    root = ElementTree.fromstring(data)
    if root.tag == "ASAP_Annotations":
        yield from _of_asap(root)
    elif root.tag == "Annotations":
        yield from _of_imagescope(root)
    else:
        raise ValueError(f"its root is {root.tag!r}")


def _of_asap(root: ElementTree.Element) -> Iterator[Annotation]:
    for found in root.iter("Annotation"):
        if found.get("Type", "") in ("Dot", "PointSet", "Measurement"):
            continue
        points = sorted(found.iter("Coordinate"), key=lambda point: int(float(point.get("Order", 0))))
        ring = _ring([(float(point.attrib["X"]), float(point.attrib["Y"])) for point in points])
        group = found.get("PartOfGroup", "")
        yield Annotation(group if group not in ("", "None") else found.get("Name") or _NO_NAME, ((ring,),))


def _of_imagescope(root: ElementTree.Element) -> Iterator[Annotation]:
    for layer in root.iter("Annotation"):
        name = layer.get("Name") or next(
            (str(item.get("Value")) for item in layer.iter("Attribute") if item.get("Value")), _NO_NAME
        )
        outer: list[Ring] = []
        holes: list[Ring] = []
        for region in layer.iter("Region"):
            if region.get("Type") not in (None, "0", "1", "2"):  # 0 freehand, 1 rectangle, 2 ellipse; 3 arrow, 4 ruler
                continue
            points = [(float(point.attrib["X"]), float(point.attrib["Y"])) for point in region.iter("Vertex")]
            ring = _ellipse(points) if region.get("Type") == "2" else _ring(points)
            (holes if region.get("NegativeROA") == "1" else outer).append(ring)
        polygons = [[ring] for ring in outer]
        for hole in holes:  # a hole belongs to the outlines around it
            owners = [polygon for polygon in polygons if _contains(polygon[0], hole[0])]
            for polygon in owners:
                polygon.append(hole)
        if polygons:
            yield Annotation(name, tuple(tuple(polygon) for polygon in polygons))


def _ellipse(points: Sequence[tuple[float, float]]) -> Ring:
    """Return the ellipse in the box whose corners are given."""
    box = np.array(points, float).reshape(-1, 2)
    low, high = box.min(axis=0), box.max(axis=0)
    turns = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    return _near((low + high) / 2 + (high - low) / 2 * np.stack([np.cos(turns), np.sin(turns)], axis=1))


def _contains(ring: Ring, point: NDArray[np.float64]) -> bool:
    x, y = point
    start, stop = ring, np.roll(ring, -1, axis=0)
    crosses = (start[:, 1] > y) != (stop[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = start[:, 0] + (y - start[:, 1]) / (stop[:, 1] - start[:, 1]) * (stop[:, 0] - start[:, 0])
    return bool(np.count_nonzero(crosses & (x < at)) % 2)


def paint(
    annotations: Iterable[Annotation],
    values: Mapping[str, int],
    left_top: tuple[int, int],
    size: tuple[int, int],
    factor: float,
) -> NDArray[np.uint8]:
    """Paint regions on a piece of a mask; where regions overlap, the later one stays.

    Parameters
    ----------
    annotations
        The regions.
    values
        Value of each class; regions of other classes are left out.
    left_top, size
        Place and size of the piece, pixels of the mask, X Y.
    factor
        Pixels of level 0 for a pixel of the mask.

    Returns
    -------
    NDArray
        ``(Y, X)``: a pixel has the value of a region if its centre is inside.

    Examples
    --------
    >>> ring = np.array([[1.0, 0.0], [4.0, 0.0], [4.0, 2.0], [1.0, 2.0]])
    >>> paint([Annotation("tumour", ((ring,),))], {"tumour": 7}, (0, 0), (5, 3), 1.0).tolist()
    [[0, 7, 7, 7, 0], [0, 7, 7, 7, 0], [0, 0, 0, 0, 0]]
    """
    width, height = size
    result = np.zeros((height, width), np.uint8)
    for annotation in annotations:
        value = values.get(annotation.name)
        if value is None:
            continue
        left, top, right, bottom = (edge / factor for edge in annotation.bounds)
        if right < left_top[0] or bottom < left_top[1] or left > left_top[0] + width or top > left_top[1] + height:
            continue
        for polygon in annotation.polygons:
            rings = [(ring[:, ::-1] / factor) - left_top[::-1] - 0.5 for ring in polygon]
            result[fill_even_odd(rings, (height, width))] = value
    return result


def write_geojson(annotations: Iterable[Annotation]) -> str:
    """Return regions as QuPath's GeoJSON: a text.

    Examples
    --------
    >>> ring = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]])
    >>> print(write_geojson([Annotation("tumour", ((ring,),))])[:75])
    {"type": "FeatureCollection", "features": [
    {"type": "Feature", "geometry":
    """
    lines = []
    for annotation in annotations:
        polygons = [[_closed(ring) for ring in polygon] for polygon in annotation.polygons]
        geometry = (
            {"type": "Polygon", "coordinates": polygons[0]}
            if len(polygons) == 1
            else {"type": "MultiPolygon", "coordinates": polygons}
        )
        properties = {"objectType": "annotation", "classification": {"name": annotation.name}}
        lines.append(json.dumps({"type": "Feature", "geometry": geometry, "properties": properties}, allow_nan=False))
    return '{"type": "FeatureCollection", "features": [\n' + ",\n".join(lines) + "\n]}\n"


def _closed(ring: Ring) -> list[list[float]]:
    points = [[float(x), float(y)] for x, y in ring]
    return [*points, points[0]]
