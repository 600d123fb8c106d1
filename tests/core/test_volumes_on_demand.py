"""Volumes on demand are made when they are asked for, and by nothing else."""

from collections import Counter

import numpy as np
import pytest

from itkit.core.geometry import Geometry
from itkit.core.volume import Case, Volume, VolumesOnDemand

GRID = Geometry((2, 3, 4), (1.0, 2.0, 3.0))


@pytest.fixture
def made():
    return Counter()


@pytest.fixture
def case(made):
    def maker(name, value):
        def make():
            made[name] += 1
            return Volume(np.full(GRID.size_zyx, value, np.int16), GRID)

        return make

    volumes = VolumesOnDemand({"image": maker("image", 5), "label": maker("label", 7)})
    return Case("a", volumes, {"image": GRID, "label": GRID})


def test_names_and_grids_make_nothing(case, made):
    assert {"image", "label"} <= case.volumes.keys()
    assert "image" in case.volumes
    assert "target" not in case.volumes
    assert list(case.volumes) == ["image", "label"]
    assert len(case.volumes) == 2
    assert case.grid("image") == GRID
    assert not made


def test_a_mapped_case_makes_each_volume_once_and_in_order(case, made):
    seen = []
    doubled = case.map(lambda volume: volume.with_array(volume.array_zyx * 2))
    assert not made
    for name, volume in doubled.volumes.items():
        seen.append((name, int(volume.array_zyx[0, 0, 0]), dict(made)))
    assert seen == [("image", 10, {"image": 1}), ("label", 14, {"image": 1, "label": 1})]


def test_a_mapped_case_has_the_grids_of_its_volumes(case):
    other = Geometry(GRID.size_zyx, (4.0, 4.0, 4.0))
    moved = case.map(lambda volume: volume.with_array(volume.array_zyx, other))
    assert moved.grid("label") == other
