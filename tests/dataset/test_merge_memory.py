"""Many masks make one label in the memory of the label and one mask."""

import tracemalloc

import numpy as np
from synthetic import make_fake

from itkit.core.geometry import Geometry
from itkit.core.operation import Context
from itkit.dataset.convert.labels import merge_masks
from itkit.dataset.convert.load import load_files
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.dataset.convert.spec import FoundCase
from itkit.dataset.Totalsegmentator.meta import SPEC


def test_masks_are_read_one_after_the_other(tmp_path):
    spec = SPEC.variants[0]
    grid = make_fake.Geo((128, 96, 64), (1.5, 1.5, 1.5), (0, 0, 0), make_fake.unit_direction("RAS"))
    voxels = 128 * 96 * 64
    make_fake.write_nifti(tmp_path / "ct.nii.gz", np.zeros(grid.shape, np.int16), grid)
    parts = []
    for value in list(spec.labels)[1:31]:
        mask = np.zeros(grid.shape, np.uint8)
        mask[value : value + 3, 10:60, 20:90] = 1
        parts.append((value, make_fake.write_nifti(tmp_path / f"{value}.nii.gz", mask, grid)))
    params = ConvertDatasetParams(source=tmp_path, dest=tmp_path / "out")

    def peak(count):
        found = FoundCase("s0000", (tmp_path / "ct.nii.gz",), parts=tuple(parts[:count]))
        tracemalloc.start()
        loaded = load_files(spec, found, params, Context())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most, loaded

    peak(1)  # what is imported and kept
    one, _ = peak(1)
    many, loaded = peak(len(parts))
    assert many - one < voxels // 2  # bytes: 29 masks more take less than half of one
    assert loaded.facts["overlap_voxels"] == 50 * 70 * 30  # planes that two or three masks claim


def test_first_and_last_disagree_where_masks_overlap():
    a, b, c = (np.zeros((1, 1, 5), np.uint8) for _ in range(3))
    a[..., :3], b[..., 2:], c[..., 2] = 1, 255, 1
    grid = Geometry((1, 1, 5), (1.0, 1.0, 1.0))
    masks = [(3, a), (7, b), (300, c)]
    last = merge_masks(masks, grid, [3, 7, 300], "last")
    assert last.label.array_zyx.tolist() == [[[3, 3, 300, 7, 7]]]
    assert last.label.dtype == np.uint16
    assert last.overlap_voxels == 1  # claimed by three, counted once
    assert last.pairs == {(3, 7): 1, (7, 300): 1}
    first = merge_masks(masks, grid, [3, 7, 300], "first")
    assert first.label.array_zyx.tolist() == [[[3, 3, 3, 7, 7]]]
    channels = merge_masks(masks, grid, [3, 7, 300], "multi").label.array_zyx
    assert [channels[..., number].sum() for number in range(3)] == [3, 3, 1]
