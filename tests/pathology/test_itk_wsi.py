"""``itk_wsi`` from the command line: every mode on the real slide, bad slides among good ones, resume."""

import csv
import json
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from helpers import leftovers
from PIL import Image
from torch.utils.data import DataLoader

from itkit.cli.operation import main
from itkit.core.errors import ReadError
from itkit.io.sitk_toolkit import read_volume
from itkit.pathology import TileDataset, open_slide, tile_dataset, write_pyramid
from itkit.pathology.annotations import read_annotations
from itkit.pathology.stitching import Mosaic, Placed, Stitched

from .made_slides import gradient, real_slide, write_tiff


def wsi(*arguments):
    return main("itk_wsi", [str(argument) for argument in arguments])


@pytest.fixture
def slides(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    shutil.copy(real_slide(), folder / "real.svs")
    return folder


def table(folder):
    with (folder / "tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_pixel_of_every_tile_is_tifffiles(slides, tmp_path):
    assert wsi("tile", slides, tmp_path / "out", "--tile-um", "128", "--mpp", "0.5") == 0
    whole = np.pad(tifffile.imread(real_slide()), [(0, 256), (0, 256), (0, 0)], constant_values=255)
    rows = table(tmp_path / "out" / "real")
    assert len(rows) > 20
    assert list(rows[0]) == ["file", "x_um", "y_um", "x_px0", "y_px0", "width_px", "height_px", "mpp", "tissue"]
    for row in rows:
        tile = np.asarray(Image.open(tmp_path / "out" / "real" / row["file"]))
        x, y = int(row["x_px0"]), int(row["y_px0"])
        np.testing.assert_array_equal(tile, whole[y : y + 256, x : x + 256])
        assert float(row["x_um"]) == pytest.approx(x * 0.499, abs=1e-3)
        assert float(row["tissue"]) >= 0.5
    meta = json.loads((tmp_path / "out" / "tiles_meta.json").read_text())
    assert meta["real"]["tiles"] == len(rows)
    preview = np.asarray(Image.open(tmp_path / "out" / "real" / "tissue.png"))
    assert preview.shape == (186, 139, 3)


def test_finished_slides_are_skipped_and_other_parameters_replace_all_tiles(slides, tmp_path, capsys):
    out = tmp_path / "out"
    assert wsi("tile", slides, out, "--mpp", "1", "--tile-um", "256") == 0
    first = {path.name for path in (out / "real" / "tiles").iterdir()}
    capsys.readouterr()
    assert wsi("tile", slides, out, "--mpp", "1", "--tile-um", "256") == 0
    assert "1 skipped" in capsys.readouterr().out
    assert wsi("tile", slides, out, "--mpp", "1", "--tile-um", "300") == 0
    now = {path.name for path in (out / "real" / "tiles").iterdir()}
    assert now == {row["file"].rpartition("/")[2] for row in table(out / "real")}
    assert now != first


def test_one_bad_slide_does_not_stop_the_others(slides, tmp_path, capsys):
    write_tiff(slides / "bare.tif", gradient(600, 500), mpp=None)
    (slides / "cut.svs").write_bytes(real_slide().read_bytes()[:100_000])
    assert wsi("tile", slides, tmp_path / "out", "--mpp", "2") == 1
    said = "".join(capsys.readouterr())
    assert "bare.tif: the file does not say how many micrometres a pixel has" in said
    assert "--mpp-table" in said
    assert "cut" in said
    assert len(table(tmp_path / "out" / "real")) > 0
    (tmp_path / "mpp.csv").write_text("slide,mpp\nbare,0.5\n")
    assert wsi("tile", slides, tmp_path / "out", "--mpp", "2", "--mpp-table", tmp_path / "mpp.csv") == 1
    assert (tmp_path / "out" / "bare" / "tiles.csv").is_file()


def test_a_store_holds_the_same_tiles(slides, tmp_path):
    arguments = ("--mpp", "1", "--tissue-min", "0.9")
    assert wsi("tile", slides, tmp_path / "files", *arguments) == 0
    assert wsi("tile", slides, tmp_path / "store", *arguments, "--tiles", "store") == 0
    files, stored = TileDataset(tmp_path / "files"), TileDataset(tmp_path / "store")
    assert len(files) == len(stored) > 0
    for number in range(len(files)):
        assert files[number]["image"].equal(stored[number]["image"])


def test_edges_are_filled_or_dropped(tmp_path):
    path = write_tiff(tmp_path / "a.tif", gradient(300, 200))
    for edge, count in (("pad", 6), ("drop", 2)):
        assert wsi("tile", path, tmp_path / edge, "--tile-um", "64", "--tissue-min", "0", "--edge", edge) == 0
        assert len(table(tmp_path / edge / "a")) == count
    last = np.asarray(Image.open(tmp_path / "pad" / "a" / "tiles" / "x000256_y000128.png"))
    np.testing.assert_array_equal(last[:72, :44], gradient(300, 200)[128:, 256:])
    assert (last[72:] == 255).all()


REGIONS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [[700, 1200], [1500, 1300], [1300, 2500], [800, 2400], [700, 1200]],
                    [[900, 1500], [1100, 1500], [1100, 1700], [900, 1700], [900, 1500]],
                ],
            },
            "properties": {"classification": {"name": name}},
        }
        for name in ("stroma", "ulcer")[:1]
    ],
}


@pytest.fixture
def masks(slides, tmp_path):
    folder = tmp_path / "regions"
    folder.mkdir()
    (folder / "real.geojson").write_text(json.dumps(REGIONS))
    assert wsi("mask", slides, folder, tmp_path / "masks", "--mpp", "1", "--labels", "4=stroma") == 0
    return tmp_path / "masks"


def test_masks_and_back_is_exact(masks, slides, tmp_path):
    found = tifffile.imread(masks / "real.ome.tif")
    assert found.shape == (1481, 1108)
    assert set(np.unique(found)) == {0, 4}
    area = 0.5 * abs(
        700 * 1300 - 1500 * 1200 + 1500 * 2500 - 1300 * 1300 + 1300 * 2400 - 800 * 2500 + 800 * 1200 - 700 * 2400
    )
    assert (found == 4).sum() * (1 / 0.499) ** 2 == pytest.approx(area - 200 * 200, rel=0.005)
    assert wsi("annotate", masks, tmp_path / "back") == 0
    (region,) = read_annotations(tmp_path / "back" / "real.geojson")
    assert region.name == "stroma"
    assert len(region.polygons[0]) == 2
    assert wsi("mask", slides, tmp_path / "back", tmp_path / "again", "--mpp", "1", "--labels", "4=stroma") == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again" / "real.ome.tif"), found)


def test_unnamed_classes_and_lone_files_are_said(slides, tmp_path, capsys):
    folder = tmp_path / "regions"
    folder.mkdir()
    (folder / "real.geojson").write_text(json.dumps(REGIONS))
    (folder / "other.xml").write_text("<Annotations/>")
    assert wsi("mask", slides, folder, tmp_path / "masks", "--mpp", "4", "--labels", "1=tumour") == 0
    said = "".join(capsys.readouterr())
    assert "regions of stroma are left out" in said
    assert "other" in said
    assert wsi("annotate", tmp_path / "masks", tmp_path / "back") == 0
    assert wsi("mask", slides, tmp_path / "back", tmp_path / "again", "--mpp", "4") == 0
    assert "has no slide" not in "".join(capsys.readouterr())  # annotate's own index is no annotation
    assert wsi("mask", slides, folder, tmp_path / "masks", "--labels", "tumour") == 2
    assert "--labels: expected VALUE=NAME" in capsys.readouterr().err


def test_tiles_with_masks_train(slides, masks, tmp_path):
    assert wsi("tile", slides, tmp_path / "tiles", "--mpp", "1", "--tile-um", "128") == 0
    data = TileDataset(tmp_path / "tiles", masks)
    whole = np.pad(tifffile.imread(masks / "real.ome.tif"), [(0, 128), (0, 128)])
    for number, record in enumerate(data.records):
        item = data[number]
        assert item["image"].shape == (3, 128, 128)
        np.testing.assert_array_equal(
            item["label"], whole[record.y : record.y + 128, record.x : record.x + 128], err_msg=record.file.name
        )
    assert any(item["label"].any() for item in map(data.__getitem__, range(len(data))))


def test_a_process_opens_each_mask_once(slides, masks, tmp_path, monkeypatch):
    shutil.copy(slides / "real.svs", slides / "twin.svs")
    shutil.copy(masks / "real.ome.tif", masks / "twin.ome.tif")
    assert wsi("tile", slides, tmp_path / "tiles", "--mpp", "1", "--tile-um", "512") == 0
    opened = []
    monkeypatch.setattr(tile_dataset, "open_slide", lambda path: opened.append(path.name) or open_slide(path))
    data = TileDataset(tmp_path / "tiles", masks)
    labels = [data[number]["label"] for number in [*range(len(data)), 0]]
    assert opened == ["real.ome.tif", "twin.ome.tif"]
    copied = pickle.loads(pickle.dumps(data))  # as a worker process of a loader receives it
    assert copied[0]["label"].equal(labels[0])
    assert opened.count("real.ome.tif") == 2
    for number, batch in enumerate(DataLoader(data, num_workers=1, multiprocessing_context="fork")):
        assert batch["label"][0].equal(labels[number])
    monkeypatch.setattr(tile_dataset, "_MOST_OPEN", 1)
    few, opened[:] = TileDataset(tmp_path / "tiles", masks), []
    assert [few[number]["label"].equal(labels[number]) for number in (0, len(data) - 1, 0)] == [True] * 3
    assert opened == ["real.ome.tif", "twin.ome.tif", "real.ome.tif"]


def test_tiles_are_stitched_to_the_slide_again(slides, tmp_path):
    options = ("--mpp", "2", "--tile-um", "256", "--overlap", "0.25", "--tissue-min", "0")
    assert wsi("tile", slides, tmp_path / "tiles", *options) == 0
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "whole", "--quality", "95") == 0
    with open_slide(tmp_path / "whole" / "real.ome.tif") as slide:
        assert slide.size_xy == (554, 741)
        assert slide.mpp == pytest.approx(2.0)
        found = slide.read_region(level_px=(0, 0), size=slide.size_xy).astype(float)
    wanted = np.asarray(
        Image.fromarray(tifffile.imread(real_slide())).resize((554, 741), Image.Resampling.BILINEAR), float
    )
    assert np.abs(found - wanted).mean() < 5


def test_predictions_overlap_as_promised(slides, tmp_path):
    options = ("--mpp", "2", "--tile-um", "256", "--overlap", "0.5", "--tissue-min", "0")
    assert wsi("tile", slides, tmp_path / "tiles", *options) == 0
    rows = table(tmp_path / "tiles" / "real")
    for kind in ("classes", "scores"):
        folder = tmp_path / kind / "real"
        folder.mkdir(parents=True)
        for number, row in enumerate(rows):
            stem = row["file"].rpartition("/")[2].removesuffix(".png")
            if kind == "classes":
                Image.fromarray(np.full((128, 128), 1 + number % 200, np.uint8)).save(folder / f"{stem}.png")
            else:
                x = np.arange(128) + round(float(row["x_um"]) / 2)
                later = np.broadcast_to((x >= 300).astype(np.float32), (128, 128))
                np.save(folder / f"{stem}.npy", np.stack([0.4 * np.ones_like(later), later]))
        assert wsi("stitch", tmp_path / "tiles", tmp_path / "out" / kind, "--predictions", tmp_path / kind) == 0
    classes = tifffile.imread(tmp_path / "out" / "classes" / "real.ome.tif")
    assert classes[:96, :96].min() == classes[:96, :96].max() == 1  # to half way between two centres
    assert set(np.unique(classes[:96, 96:160])) == {2}
    scores = tifffile.imread(tmp_path / "out" / "scores" / "real.ome.tif")
    assert (scores == (np.arange(554) >= 300)).all()


def test_predictions_may_lie_beside_the_tiles_or_in_their_place(slides, tmp_path):
    options = ("--mpp", "2", "--tile-um", "256", "--edge", "drop", "--tissue-min", "0")
    assert wsi("tile", real_slide(), tmp_path / "tiles", *options) == 0
    folder = tmp_path / "tiles" / real_slide().stem
    rows = table(folder)
    (folder / "predictions").mkdir()
    for number, row in enumerate(rows, 1):
        classes = np.full((128, 128), number, np.uint8)
        classes[:, ::2] = 200  # JPEG would change it
        Image.fromarray(classes).save(folder / "predictions" / row["file"].rpartition("/")[2])
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "beside") == 0
    (folder / "tiles").rename(folder / "pictures")
    (folder / "predictions").rename(folder / "tiles")
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "in_place") == 0
    for out in (tmp_path / "beside", tmp_path / "in_place"):
        found = tifffile.imread(next(out.glob("*.ome.tif")))
        for number, row in enumerate(rows, 1):
            x, y = (round(float(row[name]) / float(row["mpp"])) for name in ("x_um", "y_um"))
            tile = found[y : y + 128, x : x + 128]
            assert (set(tile[:, 1::2].flat), set(tile[:, ::2].flat)) == ({number}, {200})


def test_a_missing_prediction_is_named_and_a_strange_one_fails(slides, tmp_path, capsys):
    assert wsi("tile", slides, tmp_path / "tiles", "--mpp", "2", "--tissue-min", "0") == 0
    stems = [row["file"].rpartition("/")[2].removesuffix(".png") for row in table(tmp_path / "tiles" / "real")]
    folder = tmp_path / "predicted" / "real"
    folder.mkdir(parents=True)
    Image.fromarray(np.ones((128, 128), np.uint8)).save(folder / f"{stems[0]}.png")
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "out", "--predictions", tmp_path / "predicted") == 0
    assert f"{len(stems) - 1} tiles have no prediction" in "".join(capsys.readouterr())
    Image.fromarray(np.ones((64, 128), np.uint8)).save(folder / f"{stems[1]}.png")
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "out", "--predictions", tmp_path / "predicted") == 1
    assert "expected 128 x 128 pixels" in "".join(capsys.readouterr())


def test_a_table_never_leads_out_of_its_folder(slides, tmp_path, capsys):
    assert wsi("tile", slides, tmp_path / "tiles", "--mpp", "2") == 0
    path = tmp_path / "tiles" / "real" / "tiles.csv"
    path.write_text(path.read_text().replace("tiles/x", "../../../x"))
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "out") == 1
    assert "no file of this folder" in "".join(capsys.readouterr())


def test_check_names_what_is_wrong(slides, tmp_path, capsys):
    write_tiff(slides / "bare.tif", gradient(600, 500), mpp=None)
    damaged = write_tiff(slides / "hurt.tif", gradient(600, 500), levels=2)
    with tifffile.TiffFile(damaged) as file:
        page = file.series[0].levels[1].keyframe
        start, length = page.dataoffsets[0], page.databytecounts[0]
    data = bytearray(damaged.read_bytes())
    data[start : start + length] = bytes(length)
    damaged.write_bytes(data)
    assert wsi("check", slides) == 1
    said = "".join(capsys.readouterr())
    assert "bare: the file does not say how many micrometres" in said
    assert "hurt: level 1 (300 x 250)" in said
    assert "images that may show a patient's name: label, macro" in said
    assert "aperio.Filename" in said
    assert "1 of 3 slides are as they should be" in said


def test_slides_that_were_not_judged_are_not_called_good(slides, capsys, monkeypatch):
    monkeypatch.setattr("itkit.pathology.checking.problems", lambda slide: 1 / 0)
    assert wsi("check", slides) == 1
    assert "0 of 1 slides are as they should be" in "".join(capsys.readouterr())


def test_without_the_extra_nothing_runs(slides, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    for words in (["check", slides], ["tile", slides, tmp_path / "tiles", "--mpp", "2"]):
        assert wsi(*words) == 2
        assert "pip install 'itkit[pathology]'" in capsys.readouterr().err
    assert not (tmp_path / "tiles").exists()


def test_deidentified_copies_keep_every_pixel_and_no_name(slides, tmp_path, capsys):
    before = (slides / "real.svs").read_bytes()
    assert wsi("deidentify", slides, tmp_path / "out") == 0
    assert (slides / "real.svs").read_bytes() == before
    copy = tmp_path / "out" / "real.svs"
    np.testing.assert_array_equal(tifffile.imread(copy), tifffile.imread(real_slide()))
    with tifffile.TiffFile(real_slide()) as file:
        label = next(series for series in file.series if series.name == "Label").pages[0]
        start, length = label.dataoffsets[0], label.databytecounts[0]
    assert not any(copy.read_bytes()[start : start + length])
    for name in (b"CMU-1", b"b414003d", b"12/29/09"):
        assert name not in copy.read_bytes()
    with open_slide(copy) as slide:
        assert slide.associated == ("thumbnail",)
        assert slide.mpp == pytest.approx(0.499)
    capsys.readouterr()
    assert wsi("check", tmp_path / "out") == 0
    assert "may" not in "".join(capsys.readouterr())


def test_a_tile_has_at_least_a_pixel(slides, tmp_path, capsys):
    assert wsi("tile", slides, tmp_path / "out", "--tile-um", "0.1", "--mpp", "0.5") == 2
    assert "--tile-um: 0.1 µm are less than a pixel of --mpp 0.5" in capsys.readouterr().err


def test_folders_are_asked_for(tmp_path, capsys):
    assert wsi("mask", tmp_path, tmp_path / "out") == 2
    assert "mask needs three folders" in capsys.readouterr().err
    assert wsi("tile", tmp_path) == 2
    assert wsi("check", tmp_path, tmp_path / "out") == 2
    assert wsi("tile", tmp_path, tmp_path / "out") == 2
    assert "no slide found" in capsys.readouterr().err


def test_a_pyramid_of_ours_is_deidentified_too(tmp_path):
    rgb = gradient(1200, 700)
    path = tmp_path / "one.ome.tif"
    write_pyramid(path, (1200, 700), lambda x, y, w, h: rgb[y : y + h, x : x + w], mpp_xy=(0.5, 0.5), kind="image")
    assert wsi("deidentify", path, tmp_path / "out") == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "one.ome.tif"), tifffile.imread(path))


def test_what_is_no_tiff_is_refused(tmp_path, capsys):
    (tmp_path / "a.mrxs").write_bytes(b"no slide")
    assert wsi("deidentify", tmp_path / "a.mrxs", tmp_path / "out") == 1
    assert "only TIFF-like slides" in "".join(capsys.readouterr())
    assert not (tmp_path / "out" / "a.mrxs").exists()


def test_a_dataset_of_tiles_and_its_labels_are_stitched_to_the_mask_again(slides, masks, tmp_path, capsys):
    options = ("--mpp", "1", "--tile-um", "200", "--tissue-min", "0", "--tiles", "dataset", "--masks", masks)
    assert wsi("tile", slides, tmp_path / "set", *options) == 0
    assert json.loads((tmp_path / "set" / "dataset.json").read_text())["labels"] == {"0": "background", "4": "stroma"}
    assert main("itk_check", ["check", str(tmp_path / "set")]) == 0
    volume = read_volume(tmp_path / "set" / "image" / "real_x000401_y000802.mha", channels=True)
    assert volume.array_zyx.shape == (1, 200, 200, 3)
    assert volume.spacing_zyx == pytest.approx((0.001, 0.001, 0.001))
    assert volume.geometry.origin_xyz == pytest.approx((0.2, 0.4, 0))
    assert wsi("stitch", tmp_path / "set", tmp_path / "out", "--predictions", tmp_path / "set" / "label") == 0
    found, wanted = (tifffile.imread(folder / "real.ome.tif") for folder in (tmp_path / "out", masks))
    np.testing.assert_array_equal(found, wanted)
    options = ("--mpp", "2", "--tile-um", "200", "--tiles", "dataset", "--masks", masks)
    assert wsi("tile", slides, tmp_path / "other", *options) == 1
    assert "its mask has 1 µm per pixel, its tiles 2" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--overlap", "0.999999"), "512² cover each pixel"),
        (("--tile-um", "0.0001", "--mpp", "0.0001"), "1 pixels apart; at most 4194304"),
        (("--tile-um", "1e9"), "at most 16384 along a side"),
        (("--tile-um", "0.01", "--mpp", "0.01", "--slide-mpp", "0.015"), "less than a pixel of the finest level apart"),
    ],
)
def test_tiles_without_end_are_refused_by_name(options, said, tmp_path, capsys):
    mpp = None if "--slide-mpp" in options else 0.5
    path = write_tiff(tmp_path / "one.tif", gradient(600, 500), mpp=mpp)
    assert wsi("tile", path, tmp_path / "out", *options) == 1
    assert said in "".join(capsys.readouterr())


def test_the_resolution_for_all_is_for_slides_that_tell_none(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    write_tiff(folder / "bare.tif", gradient(256, 256), mpp=None)
    write_tiff(folder / "telling.tif", gradient(256, 256), mpp=0.5)
    (tmp_path / "mpp.csv").write_text("slide,mpp\ntelling,2\n")
    options = ("--mpp", "0.5", "--tile-um", "64", "--tissue-min", "0", "--slide-mpp", "1")
    assert wsi("tile", folder, tmp_path / "out", *options) == 0
    assert len(table(tmp_path / "out" / "bare")) == 16
    assert len(table(tmp_path / "out" / "telling")) == 4
    assert wsi("tile", folder, tmp_path / "out", *options, "--mpp-table", tmp_path / "mpp.csv") == 0
    assert len(table(tmp_path / "out" / "telling")) == 64


def test_tiles_are_made_anew_when_their_mask_is_another(slides, masks, tmp_path, capsys):
    options = ("--mpp", "1", "--tile-um", "200", "--tiles", "dataset", "--masks", masks)
    assert wsi("tile", slides, tmp_path / "set", *options) == 0
    assert wsi("tile", slides, tmp_path / "set", *options) == 0
    assert "0 done, 1 skipped" in "".join(capsys.readouterr())
    (masks / "real.ome.tif").touch()
    assert wsi("tile", slides, tmp_path / "set", *options) == 0
    assert "1 done, 0 skipped" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size_px": [2**30, 100]}, "impossible size"),
        ({"tile_px": 2**30}, "impossible size"),
        ({"mpp": 1e-320}, "line 2"),
        ({"size_px": [10, 10]}, "lies outside the slide"),
    ],
)
def test_a_table_that_claims_the_impossible_is_refused(change, said, slides, tmp_path, capsys):
    assert wsi("tile", slides, tmp_path / "tiles", "--mpp", "2", "--tile-um", "400") == 0
    file = tmp_path / "tiles" / "real" / "tiles_meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert wsi("stitch", tmp_path / "tiles", tmp_path / "out") == 1
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize("scores", [np.zeros((300, 4, 4), np.float32), np.full((2, 4, 4), np.nan, np.float32)])
def test_scores_that_make_no_classes_are_refused(scores, tmp_path):
    np.save(tmp_path / "a.npy", scores)
    mosaic = Mosaic((Placed(tmp_path / "a.npy", 0, 0),), (4, 4), (4, 4), 1.0, "mask")
    with pytest.raises(ReadError, match=r"a\.npy"):
        Stitched(mosaic).piece(0, 0, 4, 4)


def test_names_in_xmp_private_tags_and_ome_xml_are_removed(tmp_path):
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        "<Experimenter ID='Experimenter:0' LastName='JaneDoe'/>"
        '<Image ID="Image:0" Name="JaneDoe.svs"><Description>of JaneDoe</Description>'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="300" SizeY="200" SizeC="3" SizeZ="1"'
        ' SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5"><Channel ID="Channel:0:0" SamplesPerPixel="3"/>'
        '<TiffData IFD="0" PlaneCount="1"/></Pixels></Image>'
        "<StructuredAnnotations><XMLAnnotation ID='Annotation:0'><Value>JaneDoe</Value></XMLAnnotation>"
        "</StructuredAnnotations></OME>"
    )
    path = tmp_path / "one.ome.tif"
    tags = [(700, 1, 14, b"<x>JaneDoe</x>", True), (65000, 2, 8, "JaneDoe", True), (65001, 7, 7, b"JaneDoe", True)]
    options = {"photometric": "rgb", "tile": (128, 128), "metadata": None, "extratags": tags}
    tifffile.imwrite(path, gradient(300, 200), description=xml, **options)
    assert path.read_bytes().count(b"JaneDoe") == 7
    assert wsi("deidentify", path, tmp_path / "out") == 0
    copy = tmp_path / "out" / "one.ome.tif"
    assert b"JaneDoe" not in copy.read_bytes()
    with open_slide(copy) as slide:
        assert slide.mpp == 0.5
        np.testing.assert_array_equal(slide.read_region(level_px=(0, 0), size=(300, 200)), gradient(300, 200))


def test_a_slide_of_another_maker_is_not_called_clean(tmp_path, capsys):
    path = tmp_path / "one.tiff"
    text = '<DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_UFS_BARCODE">JaneDoe</Attribute></DataObject>'
    options = {"photometric": "rgb", "tile": (128, 128), "metadata": None, "software": "Philips DP v1.0"}
    tifffile.imwrite(path, gradient(300, 200), description=f'<?xml version="1.0"?>{text}', **options)
    assert wsi("deidentify", path, tmp_path / "out") == 1
    assert "keeps names in places of its own" in "".join(capsys.readouterr())
    assert not (tmp_path / "out" / "one.tiff").exists()


def test_a_mask_that_is_too_large_for_memory_is_named_not_tried(tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    write_tiff(tmp_path / "masks" / "a.tif", np.zeros((3000, 4000, 3), np.uint8), mpp=1)
    words = ("annotate", tmp_path / "masks", tmp_path / "out", "--slide-mpp", "0.5", "--max-memory")
    assert wsi(*words, "700MB") == 1
    assert "memory" in "".join(capsys.readouterr())
    assert wsi(*words, "1GB") == 0


KILLED = """
import os, re, runpy, signal, sys
tiles = 0
def count(event, what):
    global tiles
    if event == "open" and re.search(r"x[^/]*\\.png$", str(what[0])):
        tiles += 1
        if tiles == 150:
            os.killpg(os.getpgrp(), signal.SIGKILL)
os.setpgrp()
sys.addaudithook(count)
sys.argv[:] = ["itkit", "wsi", *sys.argv[1:]]
runpy.run_module("itkit", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_killed_run_is_completed_with_the_same_bytes(slides, tmp_path):
    for name in ("second", "third"):
        shutil.copy(slides / "real.svs", slides / f"{name}.svs")
    words = ["tile", str(slides), "--mpp", "2", "--tile-um", "128", "--tissue-min", "0"]
    start = [sys.executable, "-m", "itkit", "wsi"]
    out = tmp_path / "out"
    killed = [sys.executable, "-c", KILLED, *words[:2], str(out), *words[2:]]
    assert subprocess.run(killed, stdout=subprocess.DEVNULL, check=False).returncode == -9
    assert not (out / "third" / "tiles.csv").exists()
    again = subprocess.run([*start, *words[:2], str(out), *words[2:]], capture_output=True, text=True, check=True)
    assert re.search(r"[123] done, [012] skipped, 0 failed", again.stdout + again.stderr)
    assert wsi(*words[:2], tmp_path / "whole", *words[2:]) == 0
    files = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    files = {path for path in files if ".itkit" not in path.parts}
    assert len(files) > 300
    for path in files:
        assert (out / path).read_bytes() == (tmp_path / "whole" / path).read_bytes(), path
    assert not leftovers(out)
