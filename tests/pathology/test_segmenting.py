"""``itk_infer`` on slides: every pixel's class against closed forms and whole images, whatever the pieces are."""

import json
import shutil

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

import itkit
from itkit.cli.main import main
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine import runner
from itkit.inference import ModelFacts, predict, write_model
from itkit.inference.model_folder import Intensity, NetworkFacts
from itkit.models import create_model, register_model
from itkit.models.card import ModelCard
from itkit.pathology import open_slide, pieces, read_annotations, segmenting
from itkit.pathology.pieces import sampled
from itkit.pathology.scaling import scale_for
from itkit.pathology.tissue import Tissue, find_tissue

from .made_slides import gradient, real_slide, write_dicom, write_tiff

RAW = Intensity(scheme="none")
CENTRES = (20.0, 90.0, 200.0)


class ByFirstChannel(nn.Module):
    """Each pixel gets the class whose centre the first channel is closest to."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.tensor(CENTRES).reshape(1, -1, 1, 1))

    def forward(self, image):
        return self.centres * image[:, :1] - self.centres**2 / 2


@register_model(ModelCard(name="by_first_channel_of_tests", spatial_dims=(2,), divisor=1))
def build(in_channels, num_classes, spatial_dims):
    return ByFirstChannel()


def closest(values):
    return np.abs(values[..., None].astype(float) - CENTRES).argmin(axis=-1)


def model(folder, network=None, mpp=1.0, **changes):
    named = {"name": "by_first_channel_of_tests", "options": {}} if network is None else network
    facts = ModelFacts(
        **{
            "network": NetworkFacts(**named, in_channels=3, num_classes=3, spatial_dims=2),
            "channels": ("red", "green", "blue"),
            "labels": {1: "stroma", 2: "tumour"},
            "spacing": (mpp / 1000, mpp / 1000, mpp / 1000),
            "intensity": RAW,
            "patch_size": (1, 40, 32),
            **changes,
        }
    )
    torch.manual_seed(2)
    made = build(3, 3, 2) if network is None else create_model(**named["of"])
    return write_model(folder, facts, made).path


def unet(folder, **changes):
    options = {"strides": (1, 2), "features_per_stage": (4, 6), "n_conv_per_stage": 1, "n_conv_per_stage_decoder": 1}
    of = {"name": "unet", "in_channels": 3, "num_classes": 3, "spatial_dims": 2, **options}
    rule = Intensity(scheme="ct", low=0, high=255, mean=120, sd=60)
    return model(folder, {"name": "unet", "options": options, "of": of}, **{"intensity": rule, **changes})


def infer(*words):
    return main("itk_infer", [str(word) for word in words])


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """Small windows are slow on several threads while other tests run."""
    monkeypatch.setattr(runner, "available_cores", lambda: 1)


@pytest.fixture
def slide(tmp_path):
    (tmp_path / "slides").mkdir()
    return write_tiff(tmp_path / "slides" / "a.tif", gradient(700, 500), levels=2)


def test_classes_of_a_level_lie_where_they_are_and_are_masks_for_itk_wsi(slide, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE", 90)
    order = model(tmp_path / "model", channels=("Green", "red", "blue"))
    assert infer(order, slide.parent, tmp_path / "out") == 0
    expected = closest(gradient(700, 500)[::2, ::2, 1])
    with tifffile.TiffFile(tmp_path / "out" / "a.ome.tif") as file:
        np.testing.assert_array_equal(file.asarray(), expected)
    meta = json.loads((tmp_path / "out" / "infer_meta.json").read_text())["cases"]["a"]
    assert meta["voxels"] == {str(value): int((expected == value).sum()) for value in range(3)}
    assert (meta["mpp"], meta["px0_per_px"], meta["read"]) == (
        1.0,
        2.0,
        "level 1, its pixels as they are, 1 µm per pixel",
    )
    regions = read_annotations(tmp_path / "out" / "a.geojson")
    assert {region.name for region in regions} == {"stroma", "tumour"}
    words = [
        "mask",
        slide.parent,
        tmp_path / "out",
        tmp_path / "again",
        "--mpp",
        "1",
        "--labels",
        "1=stroma",
        "2=tumour",
    ]
    assert main("itk_wsi", [str(word) for word in words]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again" / "a.ome.tif"), expected)
    words = [
        "tile",
        slide,
        tmp_path / "set",
        "--mpp",
        "1",
        "--tile-um",
        "64",
        "--tiles",
        "dataset",
        "--tissue-min",
        "0",
    ]
    assert main("itk_wsi", [str(word) for word in [*words, "--masks", tmp_path / "out"]]) == 0
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["labels"]["2"] == "tumour"


@pytest.mark.parametrize("options", [{}, {"overlap": 0.3, "flips": "X"}])
def test_pieces_change_nothing(options, tmp_path, monkeypatch):
    rgb = gradient(170, 130)
    path = write_tiff(tmp_path / "a.tif", rgb)
    folder = unet(tmp_path / "model", mpp=0.5)
    spacing = (0.0005, 0.0005, 0.0005)
    whole = predict(folder, Volume(rgb[None], Geometry((1, 130, 170), spacing)), **options).array_zyx[0]
    assert len(np.unique(whole)) > 1
    monkeypatch.setattr(pieces, "_PIECE", 40)
    result = itkit.run("itk_infer", model=folder, source=path, dest=tmp_path / "out", **options)
    assert result.summary.counts["done"] == 1
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.ome.tif"), whole)


@pytest.mark.parametrize(
    ("length", "patch", "overlap"), [(100, 20, 0.5), (97, 20, 0.25), (15, 20, 0.5), (61, 20, 0), (81, 20, 0.3)]
)
def test_every_window_of_a_pixel_lies_in_its_piece(length, patch, overlap):
    whole = pieces.window_starts(length, patch, overlap)
    found = pieces.pieces(length, patch, overlap, side=25)
    assert [one.first for one in found] == [0, *(one.end for one in found[:-1])]
    assert found[-1].end == length
    for one in found:
        local = {one.start + start for start in pieces.window_starts(one.stop - one.start, patch, overlap)}
        needed = {start for start in whole if start < one.end and start + patch > one.first}
        assert needed <= local
        assert all(start in whole or start >= one.end or start + patch <= one.first for start in local)


def test_bad_slides_are_named_good_ones_done_and_done_ones_skipped(slide, tmp_path, capsys):
    folder = model(tmp_path / "model")
    (slide.parent / "broken.svs").write_bytes(slide.read_bytes()[:3000])
    write_tiff(slide.parent / "nameless.tif", gradient(80, 60), mpp=None)
    assert infer(folder, slide.parent, tmp_path / "out") == 1
    said = "".join(capsys.readouterr())
    assert "broken" in said
    assert "nameless: nameless.tif: the file does not say how many micrometres" in said
    assert "--slide-mpp" in said
    assert {path.name for path in (tmp_path / "out").glob("*.tif")} == {"a.ome.tif"}
    (slide.parent / "broken.svs").unlink()
    (tmp_path / "mpp.csv").write_text("slide,mpp\nnameless,1.0\n")
    assert infer(folder, slide.parent, tmp_path / "out", "--mpp-table", tmp_path / "mpp.csv") == 0
    assert "1 done, 1 skipped" in "".join(capsys.readouterr())
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out" / "nameless.ome.tif"), closest(gradient(80, 60)[..., 0])
    )


@pytest.mark.parametrize(
    ("changes", "words", "said"),
    [
        ({"spacing": (-1, -1, -1)}, (), "does not say at which resolution"),
        ({"spacing": (0.001, 0.002, 0.001)}, (), "square pixels"),
        ({"labels": {1: "stroma", 300: "tumour"}}, (), "label value 300"),
        ({"orient": "SPL"}, (), "single planes"),
        ({}, ("--probabilities",), "--probabilities is not for slides"),
        ({}, ("--ext", ".nii.gz"), "--ext .nii.gz is not for slides"),
    ],
)
def test_what_is_not_for_slides_is_refused(changes, words, said, slide, tmp_path, capsys):
    assert infer(model(tmp_path / "model", **changes), slide.parent, tmp_path / "out", *words) == 2
    assert said in "".join(capsys.readouterr())
    assert not (tmp_path / "out").exists()


def test_names_of_other_channels_are_said(slide, tmp_path, capsys):
    assert infer(model(tmp_path / "model", channels=("R", "G", "B")), slide, tmp_path / "out") == 0
    assert "the slides' channels (red, green, blue) stand for the model's (R, G, B)" in "".join(capsys.readouterr())


def test_pieces_without_tissue_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE", 128)
    rgb = np.full((512, 768, 3), 240, np.uint8)
    rgb[140:250, 270:380] = 180, 60, 150
    path = write_tiff(tmp_path / "a.tif", rgb)
    assert infer(model(tmp_path / "model", mpp=0.5), path, tmp_path / "out", "--skip-air") == 0
    found = tifffile.imread(tmp_path / "out" / "a.ome.tif")
    assert (found[140:250, 270:380] == 2).all()
    assert not found[:, :240].any()
    meta = json.loads((tmp_path / "out" / "infer_meta.json").read_text())["cases"]["a"]
    assert meta["pieces_without_tissue"] == 28  # of 30, each 120 x 128 pixels YX: whole steps of windows
    assert sum(meta["voxels"].values()) == 512 * 768


def test_blank_pieces_are_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE", 128)
    rgb = np.full((300, 400, 3), 240, np.uint8)
    rgb[20:60, 30:90] = 90, 60, 150
    path = write_tiff(tmp_path / "a.tif", rgb)
    rule = Intensity(scheme="ct", low=0, high=255, mean=0, sd=1)
    assert infer(model(tmp_path / "model", mpp=0.5, intensity=rule), path, tmp_path / "out") == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.ome.tif"), closest(rgb[..., 0]))


def test_own_numbers_are_those_of_the_tissue_and_pieces_change_nothing(tmp_path, monkeypatch):
    folder = unet(tmp_path / "model", mpp=0.5, intensity=Intensity(scheme="zscore"))
    results = []
    for side in (40, 2048):
        monkeypatch.setattr(pieces, "_PIECE", side)
        shutil.copy(write_tiff(tmp_path / "a.tif", gradient(170, 130)), tmp_path / f"{side}.tif")
        assert infer(folder, tmp_path / f"{side}.tif", tmp_path / "out") == 0
        results.append(tifffile.imread(tmp_path / "out" / f"{side}.ome.tif"))
    np.testing.assert_array_equal(*results)
    with open_slide(tmp_path / "a.tif") as slide:
        everywhere = Tissue(np.ones((17, 22), bool), 4.0, 0.1, np.empty((17, 22, 3), np.uint8))
        mean, sd = sampled(slide, scale_for(slide, 0.5), everywhere, (32, 32))
    np.testing.assert_allclose(mean, gradient(170, 130).mean(axis=(0, 1)), rtol=0.06)
    np.testing.assert_allclose(sd, gradient(170, 130).std(axis=(0, 1)), rtol=0.06)


def test_outlines_of_a_large_slide_come_from_a_coarser_level_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(segmenting, "_MOST_OUTLINED", 100_000)
    path = write_tiff(tmp_path / "a.tif", gradient(900, 600))
    assert infer(model(tmp_path / "model", mpp=0.5), path, tmp_path / "out") == 0
    assert "coarser level (1 µm per pixel)" in "".join(capsys.readouterr())
    left = min(region.bounds[0] for region in read_annotations(tmp_path / "out" / "a.geojson"))
    assert left == pytest.approx(np.argmax(closest(gradient(900, 600)[0, :, 0]) > 0), abs=3)


def test_the_real_slide(tmp_path, monkeypatch):
    monkeypatch.setattr(segmenting, "_MOST_OUTLINED", 50_000)
    (tmp_path / "slides").mkdir()
    shutil.copy(real_slide(), tmp_path / "slides" / "real.svs")
    assert (
        infer(model(tmp_path / "model", mpp=0.5, patch_size=(1, 256, 256)), tmp_path / "slides", tmp_path / "out") == 0
    )
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out" / "real.ome.tif"), closest(tifffile.imread(real_slide())[..., 0])
    )
    with open_slide(tmp_path / "out" / "real.ome.tif") as mask:
        assert mask.mpp == pytest.approx(0.499)
        assert find_tissue(mask).mpp > 0


def test_a_dicom_slide_is_segmented_at_the_level_that_fits(tmp_path):
    rgb = gradient(300, 200)
    write_dicom(tmp_path / "slides" / "one", rgb, levels=2, label=gradient(30, 20))
    write_dicom(tmp_path / "slides" / "two", rgb[:, ::-1], levels=2)
    known = model(tmp_path / "model")
    assert infer(known, tmp_path / "slides", tmp_path / "out") == 0
    expected = {"one": closest(rgb[::2, ::2, 0]), "two": closest(rgb[::2, ::-2, 0])}
    cases = json.loads((tmp_path / "out" / "infer_meta.json").read_text())["cases"]
    for name, classes in expected.items():
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / f"{name}.ome.tif"), classes)
        assert cases[name]["read"].startswith("level 1, its pixels as they are")
        assert cases[name]["voxels"] == {str(value): int((classes == value).sum()) for value in range(3)}
    for number, source in enumerate([tmp_path / "slides" / "one", tmp_path / "slides" / "one" / "1.dcm"]):
        assert infer(known, source, tmp_path / f"alone{number}") == 0
        (mask,) = (tmp_path / f"alone{number}").glob("*.ome.tif")
        np.testing.assert_array_equal(tifffile.imread(mask), expected["one"])
