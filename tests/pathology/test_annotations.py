"""Annotations of three programs; painted as shapely fills them; written so that they come back."""

import json

import numpy as np
import pytest
import shapely

from itkit.core.errors import ReadError
from itkit.pathology.annotations import Annotation, paint, read_annotations, write_geojson

SQUARE = [[10, 20], [60, 20], [60, 50], [10, 50], [10, 20]]
HOLE = [[20, 25], [30, 25], [30, 45], [20, 45], [20, 25]]
ISLAND = [[70, 5.3], [90.25, 5.3], [80, 30], [70, 5.3]]

QUPATH = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [ISLAND]]},
            "properties": {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}},
        },
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}},
        {"type": "Feature", "geometry": None, "properties": {}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ISLAND]}, "properties": {"name": "mine"}},
    ],
}
ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
 <Annotation Name="A 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
  <Coordinate Order="1" X="60" Y="20"/><Coordinate Order="0" X="10" Y="20"/>
  <Coordinate Order="2" X="60" Y="50"/><Coordinate Order="3" X="10" Y="50"/></Coordinates></Annotation>
 <Annotation Name="dot" Type="Dot" PartOfGroup="None"><Coordinates>
  <Coordinate Order="0" X="1" Y="1"/></Coordinates></Annotation>
 <Annotation Name="lone" Type="Spline" PartOfGroup="None"><Coordinates>
  <Coordinate Order="0" X="70" Y="5.3"/><Coordinate Order="1" X="90.25" Y="5.3"/><Coordinate Order="2" X="80" Y="30"/>
 </Coordinates></Annotation></Annotations></ASAP_Annotations>"""
IMAGESCOPE = """<Annotations MicronsPerPixel="0.25"><Annotation Id="1" Name="Tumor"><Regions>
 <Region Id="1" Type="0" NegativeROA="0"><Vertices><Vertex X="10" Y="20"/><Vertex X="60" Y="20"/><Vertex X="60" Y="50"/>
  <Vertex X="10" Y="50"/></Vertices></Region>
 <Region Id="2" Type="0" NegativeROA="1"><Vertices><Vertex X="20" Y="25"/><Vertex X="30" Y="25"/><Vertex X="30" Y="45"/>
  <Vertex X="20" Y="45"/></Vertices></Region>
 <Region Id="3" Type="2" NegativeROA="0"><Vertices><Vertex X="70" Y="10"/><Vertex X="90" Y="40"/></Vertices></Region>
 <Region Id="4" Type="4"><Vertices><Vertex X="0" Y="0"/><Vertex X="9" Y="0"/></Vertices></Region>
</Regions></Annotation></Annotations>"""


def saved(folder, text):
    path = folder / "a.txt"
    path.write_text(text, encoding="utf-8")
    return path


def filled(polygons, size, factor=1.0):
    """Fill by shapely: a pixel is inside if its centre is."""
    x, y = np.meshgrid((np.arange(size[0]) + 0.5) * factor, (np.arange(size[1]) + 0.5) * factor)
    return shapely.contains_xy(shapely.union_all([shapely.Polygon(*rings) for rings in polygons]), x, y)


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_qupath_regions_are_filled_as_shapely_fills_them(tmp_path, factor):
    tumour, mine = read_annotations(saved(tmp_path, json.dumps(QUPATH)))
    assert (tumour.name, mine.name) == ("Tumor", "mine")
    size = (int(100 / factor), int(70 / factor))
    found = paint([tumour], {"Tumor": 3}, (0, 0), size, factor) == 3
    wanted = filled([(SQUARE, [HOLE]), (ISLAND, [])], size, factor)
    assert (found != wanted).sum() == 0
    assert wanted.any()


def test_pieces_make_the_same_mask_as_the_whole(tmp_path):
    regions = read_annotations(saved(tmp_path, json.dumps(QUPATH)))
    whole = paint(regions, {"Tumor": 1, "mine": 2}, (0, 0), (100, 70), 1.0)
    for left, top in ((0, 0), (13, 7), (55, 40)):
        piece = paint(regions, {"Tumor": 1, "mine": 2}, (left, top), (30, 20), 1.0)
        np.testing.assert_array_equal(piece, whole[top : top + 20, left : left + 30])
    assert set(np.unique(whole)) == {0, 1, 2}


def test_asap(tmp_path):
    tumour, lone = read_annotations(saved(tmp_path, ASAP))
    assert (tumour.name, lone.name) == ("Tumor", "lone")
    np.testing.assert_array_equal(tumour.polygons[0][0], SQUARE[:-1])


def test_imagescope_has_holes_and_ellipses(tmp_path):
    (tumour,) = read_annotations(saved(tmp_path, IMAGESCOPE))
    assert [len(polygon) for polygon in tumour.polygons] == [2, 1]
    found = paint([tumour], {"Tumor": 1}, (0, 0), (100, 70), 1.0)
    assert found[:, :62].sum() == 50 * 30 - 10 * 20
    assert found[:, 62:].sum() == pytest.approx(np.pi * 10 * 15, rel=0.02)


def test_what_is_written_is_read_again(tmp_path):
    first = read_annotations(saved(tmp_path, json.dumps(QUPATH)))
    again = read_annotations(saved(tmp_path, write_geojson(first)))
    assert [region.name for region in again] == [region.name for region in first]
    for one, other in zip(first, again, strict=True):
        for rings, more in zip(one.polygons, other.polygons, strict=True):
            for ring, copy in zip(rings, more, strict=True):
                np.testing.assert_array_equal(ring, copy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[1, 2]",
        '{"type": "Polygon"}',
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}',
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [NaN, 2]]]}',
        '{"type": "Circle", "coordinates": []}',
        "<html></html>",
        '<!DOCTYPE a [<!ENTITY b "bbbb">]><ASAP_Annotations>&b;</ASAP_Annotations>',
        ASAP[:200],
        '<Annotations encoding="UTF-16"/>'.encode("utf-16-le").decode("latin-1"),
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1e300, 2]]]}',
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1' + "0" * 400 + ", 2]]]}",
        "[" * 100_000,
    ],
)
def test_broken_files_are_named(tmp_path, text):
    with pytest.raises(ReadError, match=r"a\.txt"):
        read_annotations(saved(tmp_path, text))


def test_a_later_region_lies_over_an_earlier_one():
    ring = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    regions = [Annotation("a", ((ring,),)), Annotation("b", ((ring / 2,),)), Annotation("c", ((ring / 4,),))]
    assert paint(regions, {"a": 1, "b": 2}, (0, 0), (4, 4), 1.0).tolist() == [[2, 2, 1, 1]] * 2 + [[1] * 4] * 2
