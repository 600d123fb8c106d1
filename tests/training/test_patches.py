import json
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from itkit.core.errors import CaseError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.dataset.folder import CaseFiles, DatasetFolder
from itkit.inference.preparing import prepare_image
from itkit.io.formats.store import write_store
from itkit.io.sitk_toolkit import write_volume
from itkit.lightning import DatasetModule
from itkit.models.windows import SlidingWindow
from itkit.training.augmenting import Augmentation, AugmentSettings, SpatialMap
from itkit.training.patches import TrainingPatches, cut
from itkit.training.plan_file import SplitSection, make_plan
from itkit.training.prepared import PreparedFolder
from itkit.training.sources import find_source

from .cases import CT, phantom, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def plan_of(root, **preprocess):
    return make_plan(
        {
            "dataset": {"path": str(root), "channels": ["CT"], "labels": {4: "liver", 7: "nodule"}},
            "preprocess": {"spacing": [2, 1, 1], "intensity": CT, **preprocess},
            "network": {"name": "unet"},
            "training": {"patch_size": [8, 10, 12]},
        }
    )


@pytest.fixture(scope="module")
def cases(dataset, tmp_path_factory):
    folder = PreparedFolder(tmp_path_factory.mktemp("prepared"), plan_of(dataset))
    return [folder.prepare(case) for case in DatasetFolder(dataset).cases]


def test_a_prepared_case_is_what_inference_sees(dataset, tmp_path):
    plan = plan_of(dataset, spacing=[1, 2, 1], orient="RAI")
    folder = PreparedFolder(tmp_path, plan)
    case = folder.prepare(DatasetFolder(dataset).cases[1])
    image, label = phantom(1)
    expected = prepare_image([image], folder.preparation)
    assert np.array_equal(case.image(), expected.array_czyx)
    assert case.spacing_zyx == (1, 2, 1)
    assert set(np.unique(case.label())) <= {0, 1, 2}
    assert case.label().shape == expected.geometry.size_zyx
    assert (np.asarray(case.label()) == 1).sum() == pytest.approx((label.array_zyx == 4).sum(), rel=0.1)


def test_a_store_is_prepared_as_the_files_that_it_was_made_of(dataset, tmp_path):
    stores, folder = tmp_path / "stores", PreparedFolder(tmp_path / "prepared", plan_of(dataset, spacing=[1, 2, 1]))
    stores.mkdir()
    (stores / "dataset.json").write_text('{"cases": {"case_1": {"patient": "Kim"}}}')
    for number in range(2):
        image, label = phantom(number)
        write_store(stores / f"case_{number}.b2z", {"image": image, "label": label} if number else {"image": image})
    source = find_source(stores)
    assert source.patients == {"case_1": "Kim"}
    stored = folder.prepare(source.cases["case_1"])
    filed = folder.prepare(find_source(dataset).cases["case_1"])
    assert stored.folder != filed.folder
    assert stored.facts == filed.facts
    assert np.array_equal(stored.image(), filed.image())
    assert np.array_equal(stored.label(), filed.label())
    with pytest.raises(CaseError, match="no label"):
        folder.prepare(source.cases["case_0"])


def test_channels_of_a_store_are_taken_by_their_names(tmp_path):
    image, label = phantom(0)
    volumes = {"image_PET": image.with_array(image.array_zyx + 500), "image_CT": image, "label": label}
    write_store(tmp_path / "case.b2z", volumes)
    plan = plan_of(tmp_path)
    plan = plan.model_copy(update={"dataset": plan.dataset.model_copy(update={"channels": ("CT", "PET")})})
    case = PreparedFolder(tmp_path / "prepared", plan).prepare(find_source(tmp_path).cases["case"])
    assert (case.image()[1] >= case.image()[0]).all()
    assert (case.image()[1] > case.image()[0]).any()


@pytest.mark.parametrize("form", ["files", "vectors", "stores"])
def test_channels_come_in_the_order_of_the_plan(tmp_path, form):
    image, label = phantom(0)
    channels = {"T1 c": image, "CT": image.with_array(image.array_zyx + 500)}
    for part in ("image", "label"):
        (tmp_path / part).mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({"channels": list(channels), "labels": {"4": "liver"}}))
    write_volume(label, tmp_path / "label" / "case.mha")
    vectors = image.with_array(np.stack([one.array_zyx for one in channels.values()], -1))
    if form == "files":
        for name, one in channels.items():
            write_volume(one, tmp_path / "image" / f"case_{name.replace(' ', '-')}.mha")
    elif form == "vectors":
        write_volume(vectors, tmp_path / "image" / "case.mha")
    else:
        (tmp_path / "image").rmdir()
        write_store(tmp_path / "case.b2z", {"image": vectors, "label": label})
    for order in (("CT", "T1 c"), ("T1 c", "CT")):
        plan = plan_of(tmp_path)
        update = {"dataset": plan.dataset.model_copy(update={"channels": order}), "split": SplitSection(folds=1)}
        data = DatasetModule(plan.model_copy(update=update), ".", tmp_path / "prepared")
        data.setup("fit")
        found = data.cases["case"]
        larger = found.image()[order.index("CT")] - found.image()[order.index("T1 c")]
        assert (larger >= 0).all()
        assert larger.max() > 0


def test_a_class_that_resampling_loses_is_told(dataset, tmp_path):
    case = PreparedFolder(tmp_path, plan_of(dataset, spacing=[9, 7, 7])).prepare(DatasetFolder(dataset).cases[0])
    assert case.facts["lost"] == ["nodule"]


def test_a_prepared_case_is_kept_until_its_files_or_rules_change(dataset, tmp_path):
    (case,) = DatasetFolder(dataset).cases[:1]
    folder = PreparedFolder(tmp_path, plan_of(dataset))
    first = folder.prepare(case)
    before = (first.folder / "image.npy").stat().st_mtime_ns
    assert (folder.prepare(case).folder / "image.npy").stat().st_mtime_ns == before
    assert PreparedFolder(tmp_path, plan_of(dataset, orient="RAS")).place(case) != first.folder
    assert not [path for path in first.folder.iterdir() if path.name.startswith(".")]


def test_what_a_kill_has_left_of_a_case_goes_when_it_is_prepared(dataset, tmp_path):
    (case,) = DatasetFolder(dataset).cases[:1]
    folder = PreparedFolder(tmp_path, plan_of(dataset))
    place = folder.place(case)
    place.mkdir()
    gone = subprocess.Popen(["true"])
    gone.wait()
    old, new = (place / f".itkit-{gone.pid}-{digit * 16}" for digit in "01")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    folder.prepare(case)
    assert sorted(path.name for path in place.iterdir()) == [new.name, "case.json", "image.npy", "label.npy"]


def test_a_case_is_prepared_again_when_the_file_of_its_voxels_alone_has_changed(tmp_path):
    image, label = phantom(0)
    one_class = label.with_array(np.where(label.array_zyx == 4, label.array_zyx, 0))
    for volume, name in ((image, "image.mha"), (label, "label.mhd"), (one_class, "other.mhd")):
        write_volume(volume, tmp_path / name)
    case = CaseFiles("case", (tmp_path / "image.mha",), tmp_path / "label.mhd")
    folder = PreparedFolder(tmp_path / "prepared", plan_of(tmp_path))
    assert tuple(folder.prepare(case).foreground.classes) == (1, 2)
    (voxels,) = (path for path in tmp_path.glob("label.*") if path.suffix != ".mhd")
    voxels.write_bytes((tmp_path / f"other{voxels.suffix}").read_bytes())
    assert tuple(folder.prepare(case).foreground.classes) == (1,)


def other_classes(image, label):
    return image, Volume(label.array_zyx + 1, label.geometry, "label")


def other_size(image, label):
    return image, Volume(label.array_zyx[1:], Geometry((19, 24, 28), (2.0, 1.0, 1.0)), "label")


def without_numbers(image, label):
    return Volume(np.full(image.geometry.size_zyx, np.nan, np.float32), image.geometry), label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image, _: (image, None), "no label"),
        (other_classes, "class 1, 5, 8 of the label"),
        (other_size, "differ in size"),
        (without_numbers, "nan"),
    ],
)
def test_a_case_that_can_not_be_learnt_from_is_refused(tmp_path, change, message):
    image, label = change(*phantom(0))
    (tmp_path / "image").mkdir()
    write_volume(image, tmp_path / "image" / "a.mha")
    if label is not None:
        (tmp_path / "label").mkdir()
        write_volume(label, tmp_path / "label" / "a.mha")
    with pytest.raises(CaseError, match=message):
        PreparedFolder(tmp_path / "prepared", plan_of(tmp_path)).prepare(DatasetFolder(tmp_path).cases[0])
    assert not list((tmp_path / "prepared").rglob("*.npy"))


def test_patches_are_voxels_of_their_case(cases):
    patches = TrainingPatches(cases, (8, 10, 12), 30, augmentation=None)
    for patch in patches[:30]:
        case = next(case for case in cases if case.case_id == patch["case"])
        image, label = np.asarray(case.image()), np.asarray(case.label())
        places = np.argwhere(image[0] == patch["image"][0, 0, 0, 0].item())
        boxes = [tuple(slice(a, a + n) for a, n in zip(p, (8, 10, 12), strict=True)) for p in places]
        equal = [box for box in boxes if np.array_equal(image[0][box], patch["image"][0])]
        assert len(equal) == 1
        assert np.array_equal(label[equal[0]], patch["label"])


def test_an_exact_part_is_centred_on_classes_in_equal_numbers(cases):
    patches = TrainingPatches(cases, (3, 3, 3), 300, foreground=0.5, augmentation=None)
    wanted = [number for number in range(300) if patches.is_foreground(number)]
    assert len(wanted) == 150
    centres = [patches[number]["label"][1, 1, 1].item() for number in wanted]
    assert 0 not in centres
    assert 45 < centres.count(2) < 105  # one voxel is drawn as often as 144


def test_all_cases_come_in_turn(cases):
    patches = TrainingPatches(cases, (3, 3, 3), 300)
    for turn in range(5):
        assert {patches.case_of(3 * turn + k).case_id for k in range(3)} == {case.case_id for case in cases}
    assert len({tuple(patches.case_of(3 * turn + k).case_id for k in range(3)) for turn in range(30)}) > 3


def test_a_turned_patch_is_a_cut_of_the_whole_turned_volume(cases):
    case = cases[0]
    image, label = np.array(case.image()), np.array(case.label())
    everything = Augmentation(AugmentSettings(rotation=1, scale=1, shear=1, elastic=1))
    for seed, start in enumerate([(0, 0, 0), (6, 7, 8), (12, 14, 16), (3, 14, 0)]):
        spatial = everything.draw_map(np.random.default_rng(seed), (8, 10, 12), case.spacing_zyx)
        found, classes = cut(image, label, start, spatial)
        centre = [s + (n - 1) / 2 for s, n in zip(start, (8, 10, 12), strict=True)]
        whole = spatial.apply(torch.from_numpy(image), torch.from_numpy(label), centre_zyx=centre)
        torch.testing.assert_close(found, whole[0], rtol=1e-5, atol=1e-5)
        assert torch.equal(classes, whole[1])


def test_a_small_volume_is_padded_at_its_end():
    image = np.arange(1, 13, dtype=np.float32).reshape(1, 2, 2, 3)
    label = np.ones((2, 2, 3), np.uint8)
    found, classes = cut(image, label, (0, 0, 0), SpatialMap((3, 2, 5)))
    assert torch.equal(found[:, :2, :, :3], torch.from_numpy(image))
    assert (found[0, 2] == 0).all()
    assert (found[0, :, :, 3:] == 0).all()
    assert classes.sum() == 12


@pytest.mark.parametrize("settings", [AugmentSettings(enabled=False), AugmentSettings(rotation=1, scale=1, elastic=1)])
def test_beyond_a_volume_training_sees_what_prediction_sees(settings):
    image, windows = np.full((1, 4, 5, 6), 3, np.float32), []

    class Network(torch.nn.Module):
        def forward(self, batch):
            windows.append(batch)
            return batch

    SlidingWindow(patch_size=(8, 9, 10)).logits(Network(), torch.tensor(image[None]))
    beyond = [value.item() for value in windows[0].unique() if value != 3]
    assert beyond == [0]
    augmentation = Augmentation(settings)
    spatial = augmentation.draw_map(np.random.default_rng(0), (8, 9, 10), (1, 1, 1))
    found, classes = cut(image, np.ones((4, 5, 6), np.uint8), (-2, -2, -2), spatial)
    found = found.round(decimals=4)
    assert found.unique().tolist() == [*beyond, 3]
    assert torch.equal(found[0] == 3, classes == 1)


def test_a_small_volume_lies_where_a_sliding_window_has_it(cases):
    whole, windows = torch.from_numpy(np.array(cases[0].image())), []

    class Network(torch.nn.Module):
        def forward(self, batch):
            windows.append(batch)
            return batch

    size = tuple(side + more for side, more in zip(whole.shape[1:], (3, 6, 1), strict=True))
    SlidingWindow(patch_size=size).logits(Network(), whole[None])
    patch = TrainingPatches(cases[:1], size, 1, augmentation=None)[0]
    assert torch.equal(patch["image"], windows[0][0])


def test_on_the_device_nothing_lies_beyond_a_patch():
    turn = Augmentation(
        AugmentSettings(
            rotation=1, noise=0, blur=0, brightness=0, contrast=0, low_resolution=0, gamma=0, gamma_inverted=0
        )
    )
    turned, _ = turn(torch.full((1, 8, 8, 8), 3.0), None, np.random.default_rng(0))
    assert turned.round(decimals=4).unique().tolist() == [0, 3]


def test_losses_to_be_do_not_depend_on_the_number_of_workers(cases):
    patches = TrainingPatches(cases, (8, 10, 12), 12, augmentation=Augmentation(AugmentSettings(rotation=1, noise=1)))
    seen = []
    for workers in (0, 1, 2):
        batches = list(DataLoader(patches, batch_size=2, num_workers=workers))
        seen.append([(batch["image"], batch["label"]) for batch in batches])
    for other in seen[1:]:
        for (image, label), (image2, label2) in zip(seen[0], other, strict=True):
            assert torch.equal(image, image2)
            assert torch.equal(label, label2)
    resumed = next(iter(DataLoader(Subset(patches, range(6, 12)), batch_size=2)))
    assert torch.equal(resumed["image"], seen[0][3][0])


def test_a_slice_for_a_2d_network(cases):
    patches = TrainingPatches(cases, (1, 16, 16), 4, flat=True)
    assert patches[0]["image"].shape == (1, 16, 16)
    assert patches[0]["label"].shape == (16, 16)
    assert patches[0]["label"].dtype == torch.uint8


def test_a_damaged_prepared_case_is_named(dataset, tmp_path):
    case = PreparedFolder(tmp_path, plan_of(dataset)).prepare(DatasetFolder(dataset).cases[0])
    (case.folder / "image.npy").write_bytes(b"half")
    with pytest.raises(CaseError, match=r"case_0: patch 0: .*image\.npy: the prepared case can't be read"):
        TrainingPatches([case], (4, 4, 4), 1)[0]
    assert pickle.loads(pickle.dumps(case)).case_id == "case_0"
    assert json.loads((case.folder / "case.json").read_text())["case"] == "case_0"
