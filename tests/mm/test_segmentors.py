"""Segmentors, samples, datasets, metrics and pictures."""

import copy
import doctest
import importlib
import json
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

import itkit
from itkit.core.errors import ArgumentError, CaseError, LayoutError, MissingExtraError, ModelError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.inference import sliding_window
from itkit.io.sitk_toolkit import write_volume
from itkit.mm.datasets import NumberedSampler, VolumeDataset
from itkit.mm.execute import require_backends
from itkit.mm.metrics import Seg3DMetric
from itkit.mm.mgam_models import mgam_Seg2D_Lite, mgam_Seg3D_Lite, mgam_Seg_Lite
from itkit.mm.preprocessing import AugmentVolume, NormalizeVolume, PackSeg3DInputs, SegDataPreProcessor
from itkit.mm.structures import Seg2DDataSample, Seg3DDataSample, VolumeData
from itkit.mm.visualization import Seg3DVisualizationHook, overlay_picture


def network(classes=3, dims=3, channels=1):
    torch.manual_seed(0)
    conv = nn.Conv3d if dims == 3 else nn.Conv2d
    return nn.Sequential(conv(channels, 4, 3, padding=1), nn.ReLU(), conv(4, classes, 1))


def sample_of(label):
    if label.ndim == 2:
        sample = Seg2DDataSample(metainfo={"case": "flat"})
        sample.gt_sem_seg = PixelData(data=label[None])
        return sample
    sample = Seg3DDataSample(metainfo={"case": "c1", "spacing": (2.0, 1.0, 1.0)})
    sample.gt_sem_seg = VolumeData(data=label)
    return sample


@pytest.fixture
def data():
    torch.manual_seed(1)
    images = torch.randn(2, 1, 6, 8, 10)
    labels = torch.randint(0, 3, (2, 6, 8, 10))
    return images, [sample_of(label) for label in labels], labels


# data elements


def test_volume_data_keeps_one_size_and_cuts_boxes():
    element = VolumeData(data=torch.arange(24.0).reshape(2, 3, 4), logits=np.zeros((5, 2, 3, 4)))
    assert element.data.shape == (1, 2, 3, 4)
    assert element.shape == (2, 3, 4)
    cut = element[1, :, 1:3]
    assert cut.shape == (1, 3, 2)
    assert cut.data.flatten().tolist() == [13, 14, 17, 18, 21, 22]
    assert cut.logits.shape == (5, 1, 3, 2)
    with pytest.raises(ArgumentError, match=r"expected the size \(2, 3, 4\)"):
        element.other = torch.zeros(2, 3, 5)
    with pytest.raises(ArgumentError, match="expected an array"):
        element.other = torch.zeros(2, 3)
    again = pickle.loads(pickle.dumps(sample_of(torch.ones(2, 3, 4))))
    assert again.gt_sem_seg.shape == (2, 3, 4)
    with pytest.raises(AssertionError):
        again.pred_sem_seg = PixelData(data=torch.zeros(1, 3, 4))


# segmentors


@pytest.mark.parametrize("kind", [mgam_Seg_Lite, mgam_Seg3D_Lite])
def test_the_three_modes(kind, data):
    images, samples, labels = data
    net = network()
    model = kind(net, ["dice_ce", nn.CrossEntropyLoss()], 3)
    assert torch.equal(model(images), net(images))
    losses = model(images, samples, "loss")
    assert list(losses) == ["loss_DiceCELoss", "loss_CrossEntropyLoss"]
    torch.testing.assert_close(losses["loss_CrossEntropyLoss"], nn.CrossEntropyLoss()(net(images), labels))
    sum(losses.values()).backward()
    assert net[0].weight.grad.abs().sum() > 0
    found = model(list(images), samples, "predict")
    assert torch.equal(found[1].pred_sem_seg.data[0], net(images)[1].argmax(0))
    assert "seg_logits" not in found[0]
    with pytest.raises(ArgumentError, match="mode: expected tensor, loss or predict"):
        model(images, samples, "train")
    with pytest.raises(ArgumentError, match="no gt_sem_seg"):
        model(images, [Seg3DDataSample(), Seg3DDataSample()], "loss")


def test_train_and_test_steps_of_mmengine_make_batches(data):
    images, samples, _ = data
    model = mgam_Seg3D_Lite(network(), "dice", 3)
    batch = pseudo_collate(
        [{"inputs": image, "data_samples": sample} for image, sample in zip(images, samples, strict=True)]
    )
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    assert model.train_step(batch, wrapper)["loss"] > 0
    assert model.test_step(batch)[0].pred_sem_seg.shape == (6, 8, 10)


def test_two_losses_of_one_class_keep_their_names_and_weights(data):
    images, samples, _ = data
    criterion = [dict(type="dice", weight=2.0), dict(type=nn.CrossEntropyLoss), dict(type="dice")]
    model = mgam_Seg3D_Lite(network(), criterion, 3)
    losses = model(images, samples, "loss")
    assert list(losses) == ["loss_DiceLoss_0", "loss_CrossEntropyLoss", "loss_DiceLoss_1"]
    torch.testing.assert_close(losses["loss_DiceLoss_0"], 2 * losses["loss_DiceLoss_1"])


def test_networks_of_ours_are_built_by_name_and_deep_supervision_is_used(data):
    images, samples, _ = data
    images = images.repeat(1, 1, 3, 2, 2)[..., :16, :16, :16]
    samples = [sample_of(torch.ones(16, 16, 16, dtype=torch.long)) for _ in samples]
    backbone = dict(
        type="dynunet", in_channels=1, deep_supervision=True, features_per_stage=[4, 8, 8, 8], strides=[1, 2, 2, 2]
    )
    model = MODELS.build(dict(type="mgam_Seg3D_Lite", backbone=backbone, criterion="dice_ce", num_classes=3))
    assert isinstance(model(images), list)
    assert model(images, samples, "loss")["loss_DiceCELoss"].requires_grad
    assert model.eval()(images).shape == (2, 3, 16, 16, 16)


def test_windows_are_the_shared_ones(data):
    images, samples, _ = data
    net = network()
    model = mgam_Seg3D_Lite(net, "dice", 3, inference=dict(patch_size=(4, 4, 4), overlap=0.25))
    found = model.eval()(images, samples, "predict")
    logits = sliding_window(net, images[0], (4, 4, 4), overlap=0.25)
    assert torch.equal(found[0].pred_sem_seg.data[0], logits.argmax(0))
    older = mgam_Seg3D_Lite(
        net, "dice", 3, inference_PatchSize=(4, 4, 4), inference_PatchStride=(3, 4, 2), keep_logits=True
    )
    assert older.inference["overlap"] == 0.5
    kept = older.eval()(images, None, "predict")[1].seg_logits.data
    torch.testing.assert_close(kept, sliding_window(net, images[1], (4, 4, 4), overlap=0.5))


def test_slices_go_through_the_same_windows(data):
    torch.manual_seed(2)
    image, label = torch.randn(1, 1, 9, 11), torch.randint(0, 3, (9, 11))
    net = network(dims=2)
    model = mgam_Seg2D_Lite(net, "dice_ce", 3, inference=dict(patch_size=(4, 4)), keep_logits=True)
    found = model.eval()(image, [sample_of(label)], "predict")[0]
    expected = sliding_window(net, image[0][:, None], (4, 4))[:, 0]
    torch.testing.assert_close(found.seg_logits.data, expected)
    assert torch.equal(found.pred_sem_seg.data[0], expected.argmax(0))
    assert model(image, [sample_of(label)], "loss")["loss_DiceCELoss"] > 0
    with pytest.raises(ArgumentError, match=r"images: expected 2 axes \(Y X\); got 3"):
        model(data[0])
    with pytest.raises(ArgumentError, match="windows: expected 3 axes"):
        mgam_Seg3D_Lite(net, "dice", 3, inference=dict(patch_size=(4, 4)))


def test_one_logit_and_a_threshold(data):
    images, samples, labels = data
    net = network(classes=1)
    model = mgam_Seg3D_Lite(net, nn.BCEWithLogitsLoss(), 1, binary_segment_threshold=0.6)
    truth = (labels > 0).float()[:, None]
    torch.testing.assert_close(
        model(images, samples, "loss")["loss_BCEWithLogitsLoss"], nn.BCEWithLogitsLoss()(net(images), truth)
    )
    assert torch.equal(model(images, samples, "predict")[0].pred_sem_seg.data[0], (net(images)[0, 0].sigmoid() > 0.6))
    two = network(classes=2)
    model = mgam_Seg3D_Lite(two, "dice", 2, binary_segment_threshold=0.3, inference=dict(patch_size=(6, 8, 10)))
    found = model.eval()(images, samples, "predict")[0].pred_sem_seg.data[0]
    assert torch.equal(found, two(images)[0].softmax(0)[1] > 0.3)
    with pytest.raises(ArgumentError, match="binary_segment_threshold"):
        mgam_Seg3D_Lite(net, "dice", 3, binary_segment_threshold=0.5)


def test_half_precision_on_the_cpu(data):
    images, samples, _ = data
    model = mgam_Seg3D_Lite(network(), "dice_ce", 3, use_half=True)
    assert model(images).dtype == torch.bfloat16
    losses = model(images, samples, "loss")
    assert losses["loss_DiceCELoss"].dtype == torch.float32
    full = mgam_Seg3D_Lite(network(), "dice_ce", 3)(images, samples, "loss")
    torch.testing.assert_close(losses["loss_DiceCELoss"], full["loss_DiceCELoss"], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(backbone="unett"), "unett"),
        (dict(criterion="dicee"), "no loss is called 'dicee'"),
        (dict(backbone=3), "backbone: expected a module"),
        (dict(inference_PatchStride=(1, 1, 1)), "give inference_PatchSize"),
        (dict(inference_PatchSize=(4, 4, 4), inference_PatchStride=(5, 1, 1)), "expected steps"),
        (dict(num_classes=0), "num_classes"),
    ],
)
def test_what_is_wrong_is_named(wrong, message):
    given = dict(backbone=network(), criterion="dice", num_classes=3) | wrong
    with pytest.raises((ArgumentError, ModelError, KeyError), match=message):
        mgam_Seg3D_Lite(**given)


# batches


def test_the_preprocessor_normalises_pads_and_refuses_what_does_not_fit():
    samples = [sample_of(torch.ones(2, 3, 4)), sample_of(torch.ones(2, 2, 4))]
    images = [torch.full((1, 2, 3, 4), 3.0), torch.full((1, 2, 2, 4), 3.0)]
    batch = {"inputs": images, "data_samples": samples}
    made = SegDataPreProcessor([1.0], [2.0], size=(2, 3, 4), pad_val=-9)(copy.deepcopy(batch), training=True)
    assert made["inputs"].shape == (2, 1, 2, 3, 4)
    assert made["inputs"][1, 0, 0].tolist() == [[1.0] * 4, [1.0] * 4, [-9.0] * 4]
    assert made["data_samples"][1].gt_sem_seg.data[0, 0].tolist() == [[1.0] * 4, [1.0] * 4, [255.0] * 4]
    with pytest.raises(ArgumentError, match="differ in size"):
        SegDataPreProcessor()(batch, training=True)
    assert isinstance(SegDataPreProcessor()(batch)["inputs"], list)
    with pytest.raises(ArgumentError, match="does not fit"):
        SegDataPreProcessor(size=(2, 2, 4))(batch, training=True)


# datasets


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(5):
        size = (7 + number, 9, 11)
        image = rng.integers(-100, 300, size).astype(np.int16)
        label = np.zeros(size, np.uint8)
        label[2:4, 3:6, 4:9] = 1 + number % 2
        grid = Geometry(size, (2.5, 1.0, 0.5), origin_xyz=(1.0, 2.0, 3.0))
        write_volume(Volume(image, grid), folder / "image" / f"c{number}.mha")
        write_volume(Volume(label, grid), folder / "label" / f"c{number}.mha")
    labels = {"0": "background", "1": "liver", "2": "cyst"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "channels": ["CT"]}))
    folds = [{"train": ["c0", "c1", "c2"], "val": ["c3"]}, {"train": ["c3"], "val": ["c0", "c1"]}]
    (folder / "splits.json").write_text(json.dumps({"folds": folds, "test": ["c4"]}))
    return folder


CT = NormalizeVolume(low=-100, high=200, mean=50, sd=100)


def test_parts_come_from_splits_json(root):
    ids = {
        split: [case.case_id for case in VolumeDataset(root, split).cases] for split in ("train", "val", "test", None)
    }
    assert ids == {"train": ["c0", "c1", "c2"], "val": ["c3"], "test": ["c4"], None: ["c0", "c1", "c2", "c3", "c4"]}
    assert len(VolumeDataset(root, "val", fold=1)) == 2
    with pytest.raises(LayoutError, match="itk_split writes it"):
        VolumeDataset(root, "train", split_file="none.json")
    with pytest.raises(ParamsError, match="split"):
        VolumeDataset(root, "training")


def test_whole_volumes_and_patches_are_those_of_the_files(root):
    whole = VolumeDataset(root, "val", pipeline=[CT, PackSeg3DInputs()])[0]
    sample = whole["data_samples"]
    assert whole["inputs"].shape == (1, 10, 9, 11)
    assert (sample.case, sample.spacing, sample.origin) == ("c3", (2.5, 1.0, 0.5), (1.0, 2.0, 3.0))
    assert whole["inputs"].min() == -1.5
    assert whole["inputs"].max() == 1.5
    patches = VolumeDataset(root, "val", patch_size=(4, 5, 6), per_case=3, pipeline=[CT, PackSeg3DInputs()])
    assert len(patches) == 3
    for number in (0, 2, 7):  # beyond the length: other patches
        item = patches[number]
        z, y, x = item["data_samples"].start
        box = (slice(z, z + 4), slice(y, y + 5), slice(x, x + 6))
        assert torch.equal(item["inputs"][0], whole["inputs"][0][box])
        assert torch.equal(item["data_samples"].gt_sem_seg.data[0], sample.gt_sem_seg.data[0][box])
    assert len({tuple(patches[number]["data_samples"].start) for number in range(30)}) > 10


def test_slices_classes_and_augmentation(root):
    flat = VolumeDataset(root, patch_size=(6, 6), pipeline=[PackSeg3DInputs()], classes=("cyst",))
    item = flat[1]
    assert item["inputs"].shape == (1, 6, 6)
    assert isinstance(item["data_samples"], Seg2DDataSample)
    assert flat.metainfo["classes"] == ("background", "cyst")
    assert VolumeDataset(root).metainfo["classes"] == ("background", "liver", "cyst")
    pipeline = [CT, AugmentVolume(), PackSeg3DInputs()]
    first, second = (VolumeDataset(root, patch_size=(4, 6, 6), pipeline=pipeline) for _ in range(2))
    plain = VolumeDataset(root, patch_size=(4, 6, 6), pipeline=[CT, PackSeg3DInputs()])
    assert all(torch.equal(first[number]["inputs"], second[number]["inputs"]) for number in range(4))
    assert not all(torch.equal(first[number]["inputs"], plain[number]["inputs"]) for number in range(4))


def test_stores_give_the_same_patches_as_files(root, tmp_path):
    itkit.run(
        "itk_patch", source=root, dest=tmp_path / "s", store="blosc2", patch_size=(4, 4, 4), patch_stride=(4, 4, 4)
    )
    options = dict(patch_size=(4, 5, 6), per_case=2, seed=3, pipeline=[PackSeg3DInputs()])
    files, stores = VolumeDataset(root, **options), VolumeDataset(tmp_path / "s", **options)
    assert len(stores) == 10
    for number in (0, 5, 13):
        assert torch.equal(files[number]["inputs"], stores[number]["inputs"])
    assert torch.equal(VolumeDataset(tmp_path / "s", pipeline=[PackSeg3DInputs()])[1]["inputs"],
                       VolumeDataset(root, pipeline=[PackSeg3DInputs()])[1]["inputs"])  # fmt: skip


def test_a_bad_case_is_named(root):
    def broken(results):
        raise ValueError("no luck")

    with pytest.raises(CaseError, match="c1: no luck"):
        VolumeDataset(root, pipeline=[broken])[1]


def test_loader_workers_do_not_change_what_is_seen(root):
    def starts(workers):
        data = VolumeDataset(root, patch_size=(4, 4, 4), per_case=2, pipeline=[CT, AugmentVolume(), PackSeg3DInputs()])
        loader = DataLoader(
            data, 2, sampler=NumberedSampler(data, seed=1), num_workers=workers, collate_fn=pseudo_collate
        )
        batches = iter(loader)
        return [torch.stack(next(batches)["inputs"]) for _ in range(4)]

    assert all(torch.equal(a, b) for a, b in zip(starts(0), starts(2), strict=True))


def test_the_sampler_counts_on_shares_out_and_skips(monkeypatch):
    data = range(5)

    def first(count, **options):
        sampler = NumberedSampler(data, seed=4, **options)
        numbers = iter(sampler)
        return [next(numbers) for _ in range(count)]

    numbers = first(10)
    assert sorted(numbers[:5]) == [0, 1, 2, 3, 4]
    assert sorted(numbers[5:]) == [5, 6, 7, 8, 9]
    assert first(7, shuffle=False) == list(range(7))
    skipped = NumberedSampler(data, seed=4)
    skipped.skip(3)
    assert next(iter(skipped)) == numbers[3]
    epoch = NumberedSampler(data, seed=4, infinite=False)
    assert list(epoch) == numbers[:5]
    epoch.set_epoch(1)
    assert list(epoch) == numbers[5:10]
    for rank in range(2):
        monkeypatch.setattr("itkit.mm.datasets.get_dist_info", lambda rank=rank: (rank, 2))
        assert first(4) == numbers[rank:8:2]
        assert len(list(NumberedSampler(data, seed=4, infinite=False))) == 3


@pytest.mark.parametrize(
    "name",
    ["AMOS22", "AbdomenCT_1K", "BTCV", "BraTs2024", "CTSpine1K", "CT_ORG", "FLARE_2022", "FLARE_2023", "ImageTBAD",
     "KiTS23", "LUNA16", "LiTS", "MSD", "SA_Med2D", "TCGA", "Totalsegmentator", "WORD"],
)  # fmt: skip
def test_every_public_dataset_has_its_class(name, root):
    module = __import__(f"itkit.dataset.{name}.mm_dataset", fromlist=["x"])
    kind = getattr(module, f"{name}_Mha")
    meta = __import__(f"itkit.dataset.{name}.meta", fromlist=["x"]).SPEC
    if len(meta.labels) > 1:
        assert kind.METAINFO["classes"][max(meta.labels)] == meta.labels[max(meta.labels)]
    assert kind(root, "val").metainfo["dataset"] == meta.name
    assert pickle.loads(pickle.dumps(kind(root, "val"))).cases[0].case_id == "c3"


# metrics


def test_metrics_are_those_of_all_cases_together():
    rng = np.random.default_rng(3)
    pairs = [(rng.integers(0, 3, (4, 5, 6)), rng.integers(0, 3, (4, 5, 6))) for _ in range(3)]
    metric = Seg3DMetric(keep_confusion=True)
    metric.dataset_meta = {"classes": ("background", "liver", "cyst", "stone")}
    for found, true in pairs:
        true[0, 0, :2] = 255
        sample = sample_of(torch.from_numpy(true))
        sample.pred_sem_seg = VolumeData(data=torch.from_numpy(found))
        metric.process({}, [sample.to_dict()])  # as MMEngine's evaluator passes them
    result = metric.evaluate(len(pairs))
    found, true = (np.concatenate([pair[place].ravel() for pair in pairs]) for place in (0, 1))
    found, true = found[true != 255], true[true != 255]
    for number, name in enumerate(("liver", "cyst"), 1):
        both = np.sum((found == number) & (true == number))
        assert result[f"Dice_{name}"] == pytest.approx(2 * both / (np.sum(found == number) + np.sum(true == number)))
        assert result[f"IoU_{name}"] == pytest.approx(both / np.sum((found == number) | (true == number)))
        assert result[f"Recall_{name}"] == pytest.approx(both / np.sum(true == number))
        assert result[f"Precision_{name}"] == pytest.approx(both / np.sum(found == number))
    assert result["Dice_stone"] is None
    assert result["mDice"] == pytest.approx((result["Dice_liver"] + result["Dice_cyst"]) / 2)
    assert result["confusion"][1][2] == np.sum((true == 1) & (found == 2))


def test_values_beyond_the_classes_and_other_sizes_are_named():
    metric = Seg3DMetric(num_classes=2)
    sample = sample_of(torch.full((2, 2, 2), 2))
    sample.pred_sem_seg = VolumeData(data=torch.zeros(2, 2, 2))
    with pytest.raises(CaseError, match="c1: the truth has a value 2; there are 2 classes"):
        metric.process({}, [sample])
    with pytest.raises(ValueError, match="expected some of Dice"):
        Seg3DMetric(metrics=["dice"])


# pictures


@pytest.mark.parametrize("size", [(6, 8, 10), (8, 10)])
def test_a_picture_shows_truth_above_prediction(size):
    image = torch.zeros(1, *size)
    label = torch.zeros(size, dtype=torch.long)
    label[..., 2:6, 3:7] = 1
    sample = sample_of(label)
    data = VolumeData if len(size) == 3 else PixelData
    sample.pred_sem_seg = data(data=torch.zeros(1, *size, dtype=torch.uint8))
    picture = overlay_picture(image, sample, longest_side=40)
    rows = picture.shape[0] // 2
    assert np.ptp(picture[:rows], axis=2).max() > 0  # coloured
    assert np.ptp(picture[rows + 4 :], axis=2).max() == 0  # nothing was found: grey


@pytest.mark.parametrize(
    "name",
    ["cfg_options", "datasets", "metrics", "records", "structures", "tree", "preprocessing", "mgam_models", "convert"],
)
def test_examples_run(name):
    module = importlib.import_module(f"itkit.mm.{name}")
    failures, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0


def test_pictures_reach_tensorboard_and_its_absence_names_the_extra(tmp_path, monkeypatch):
    shown = {}

    class Writer:
        def __init__(self, folder):
            shown["folder"] = folder

        def add_image(self, name, picture, step, **options):
            shown[name] = picture, step, options

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    backend = {"type": "TensorboardVisBackend", "save_dir": str(tmp_path)}
    require_backends(Config({"visualizer": {"type": "Visualizer", "vis_backends": [backend]}}))
    visualizer = Visualizer(vis_backends=[backend], save_dir=str(tmp_path), name=tmp_path.name)
    runner = SimpleNamespace(work_dir=str(tmp_path), iter=7, visualizer=visualizer)
    sample = Seg3DDataSample(metainfo={"case": "a/b", "spacing": (3.0, 1.0, 1.0)})
    sample.gt_sem_seg = sample.pred_sem_seg = VolumeData(data=torch.ones((1, 4, 10, 12), dtype=torch.int64))
    Seg3DVisualizationHook().after_val_iter(runner, 0, {"inputs": [torch.rand(1, 4, 10, 12)]}, [sample])
    picture, step, options = shown["val_a_b"]
    assert (picture.ndim, picture.shape[2], picture.dtype, step) == (3, 3, np.uint8, 7)
    assert options["dataformats"] == "HWC"
    assert [path.name for path in (tmp_path / "overlays" / "val").iterdir()] == ["a_b_7.png"]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"TensorboardVisBackend needs .*itkit\[tensorboard\]"):
        require_backends(Config({"visualizer": {"vis_backends": [backend]}}))
    require_backends(Config({"visualizer": {"vis_backends": [{"type": "LocalVisBackend"}]}}))
    require_backends(Config({}))
