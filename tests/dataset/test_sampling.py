"""Patches from files and from stores: the same boxes, padding and draws."""

import pickle
import shutil
from collections import Counter

import numpy as np
import pytest

import itkit
from itkit.core.errors import ArgumentError, LayoutError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.dataset.folder import DatasetFolder
from itkit.dataset.sampling import OpenCase, Patches, StoreCase, StoreFolder
from itkit.io.formats.store import STORE_SUFFIX, PatchStore, write_store
from itkit.testing import phantoms

GRID = Geometry((70, 11, 13), (2.5, 0.8, 0.7), (-31.5, 12.25, 100.0), phantoms.GRIDS["oblique"].direction_xyz)


class _Arrays:
    """A case in memory."""

    def __init__(self, case_id, label, image=None):
        self.case_id, self.label = case_id, label
        self.image = np.zeros(label.shape) if image is None else image

    def open(self):
        return OpenCase(Geometry(self.label.shape, (1.0, 1.0, 1.0)), [self.image], self.label)


def places(patches):
    return [(patch.case_id, patch.start_zyx) for patch in patches]


@pytest.fixture(scope="module", params=sorted(STORE_SUFFIX))
def both(request, tmp_path_factory):
    """The same cases as files and as stores, one of them thicker than a slab of slices."""
    root = tmp_path_factory.mktemp("both")
    phantoms.write_dataset(root / "raw", 2)
    itkit.write(phantoms.noise(GRID, 5), root / "raw" / "image" / "thick.mha")
    itkit.write(phantoms.l_shape(GRID), root / "raw" / "label" / "thick.mha")
    done = itkit.run(
        "itk_patch", source=root / "raw", dest=root / "stores", patch_size=4, patch_stride=4, store=request.param
    )
    assert done.exit_code == 0
    return DatasetFolder(root / "raw"), StoreFolder(root / "stores")


@pytest.mark.parametrize("size", [(4, 5, 6), (12, 20, 3)])
def test_files_and_stores_give_the_same_patches(both, size):
    files, stores = (folder.patches(size, per_case=6, foreground=0.7, seed=3) for folder in both)
    assert len(files) == len(stores) == 18
    for a, b in zip(files, stores, strict=True):
        assert (a.case_id, a.start_zyx) == (b.case_id, b.start_zyx)
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.label, b.label)
        assert a.geometry.same_grid(b.geometry)
    assert any(patch.label.any() for patch in files)


def test_patches_are_the_volumes_voxels_padded_by_the_whole_volumes_minimum(both):
    folder, _ = both
    whole = {sample.case_id: sample for sample in folder.volumes()}
    lowest_of_cut = []
    for patch in folder.patches((12, 20, 3), per_case=3):
        volume = whole[patch.case_id]
        n = [min(want, have) for want, have in zip((12, 20, 3), volume.image.shape[1:], strict=True)]
        z, y, x = (slice(start, start + length) for start, length in zip(patch.start_zyx, n, strict=True))
        inside = np.zeros(patch.label.shape, bool)
        inside[: n[0], : n[1], : n[2]] = True
        np.testing.assert_array_equal(patch.image[:, inside], volume.image[:, z, y, x].reshape(1, -1))
        assert (patch.image[:, ~inside] == volume.image.min()).all()
        assert not patch.label[~inside].any()
        lowest_of_cut.append(patch.image[:, inside].min() - volume.image.min())
    assert max(lowest_of_cut) > 0, "every cut holds its volume's minimum: nothing is shown"


def test_a_draw_depends_on_seed_case_number_and_epoch_alone(both, tmp_path):
    folder, _ = both
    every = folder.patches((4, 5, 6), per_case=3, seed=1)
    for name in ("image", "label"):
        (tmp_path / name).mkdir()
        shutil.copy(next((folder.root / name).glob("case_01.*")), tmp_path / name)
    alone = DatasetFolder(tmp_path).patches((4, 5, 6), per_case=5, seed=1)
    assert places(alone)[:3] == [place for place in places(every) if place[0] == "case_01"]
    assert places(every) == places(folder.patches((4, 5, 6), per_case=3, seed=1).at_epoch(0))
    assert places(every) == places(pickle.loads(pickle.dumps(every)))
    others = [every.at_epoch(1), every.at_epoch(2), folder.patches((4, 5, 6), per_case=3, seed=2)]
    assert len({tuple(places(patches)) for patches in (every, *others)}) == 4
    assert places(every.at_epoch(1)) == places(every.at_epoch(1))


def test_foreground_is_balanced_between_classes_and_even_between_voxels():
    label = np.zeros((70, 3, 3), np.uint8)
    label[1, 1, 1] = 7  # one voxel of one class, in the first slab
    label[40:42, 0, :2] = 200  # four of the other, in the second
    patches = Patches([_Arrays("a", label)], (1, 1, 1), per_case=2000, foreground=1.0)
    found = Counter(start for _, start in places(patches))
    assert set(found) == set(zip(*(axis.tolist() for axis in np.nonzero(label)), strict=True))
    assert 900 < found[(1, 1, 1)] < 1100
    assert all(190 < found[(z, 0, x)] < 310 for z in (40, 41) for x in (0, 1))


def test_without_foreground_every_place_is_drawn():
    patches = Patches([_Arrays("a", np.zeros((3, 1, 2), np.uint8))], (2, 1, 1), per_case=60, foreground=1.0)
    assert {start for _, start in places(patches)} == {(z, 0, x) for z in (0, 1) for x in (0, 1)}


def test_channels_of_a_store_are_channels_of_the_patch(tmp_path):
    values = np.arange(4 * 5 * 6 * 2, dtype=np.int16).reshape(4, 5, 6, 2)
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    write_store(tmp_path / "a.b2z", {"image": Volume(values, grid)})
    patch = Patches([StoreCase("a", PatchStore(tmp_path / "a.b2z"))], (6, 5, 6))[0]
    np.testing.assert_array_equal(patch.image[:, :4], np.moveaxis(values, 3, 0))
    assert (patch.image[0, 4:] == 0).all()
    assert (patch.image[1, 4:] == 1).all()
    assert patch.label is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size_zyx": (4, 5)}, "size_zyx"),
        ({"per_case": 0}, "per_case"),
        ({"seed": -1}, "seed"),
        ({"epoch": 1.5}, "epoch"),
        ({"foreground": 2}, "foreground"),
    ],
)
def test_wrong_parameters_are_named(values, message):
    with pytest.raises(ArgumentError, match=message):
        Patches(**{"cases": [], "size_zyx": (4, 5, 6), **values})


def test_a_folder_without_stores_and_two_stores_of_a_case_are_named(tmp_path):
    with pytest.raises(LayoutError, match="itk_patch --store"):
        _ = StoreFolder(tmp_path).cases
    for suffix in STORE_SUFFIX.values():
        (tmp_path / f"a{suffix}").write_bytes(b"")
    with pytest.raises(LayoutError, match="two stores of case a"):
        _ = StoreFolder(tmp_path).cases
