"""Statistics of a dataset: numpy's and scipy's numbers, nnU-Net's fingerprint, outliers by name."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from process.parity.nnunet_fingerprint import DATASETS, write_raw
from scipy import ndimage

import itkit
from itkit.catalogue import load
from itkit.core.errors import LayoutError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.json_files import write_json
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.dataset_statistics import label_numbers, outliers, pooled
from itkit.testing import phantoms
from itkit.testing.contracts import OperationContract

GOLDEN = json.loads((Path(__file__).parent / "parity" / "nnunet_fingerprint.json").read_text())
NAMES = {"mean": "mean", "median": "median", "std": "std", "min": "min", "max": "max"}
NAMES |= {"p0_5": "percentile_00_5", "p99_5": "percentile_99_5"}
FILES = ("stats.json", "stats.csv", "stats.html")


class TestStats(OperationContract):
    """Its outputs are three files about all cases, which are neither volumes nor a dataset."""

    operation = load("itk_stats")
    changed = {"recursive": True}

    def values(self, source, dest):
        return {"source": source, "dest": dest}

    @staticmethod
    def volumes(folder):
        found = {name: (folder / name).read_text() for name in FILES if (folder / name).exists()}
        return {name: text.replace(str(folder), "out") for name, text in found.items()}

    def test_second_run_skips_and_a_changed_parameter_does_not(self, tmp_path):
        phantoms.write_dataset(tmp_path / "raw", 2)
        self.run(tmp_path / "raw", tmp_path / "out")
        before = self.volumes(tmp_path / "out")
        again = self.run(tmp_path / "raw", tmp_path / "out")
        assert {record.status for record in again.records} == {"skipped"}
        assert self.volumes(tmp_path / "out") == before

    def test_unreadable_file_in_the_middle(self, tmp_path):
        ids = phantoms.write_dataset(tmp_path / "raw", 3)
        (tmp_path / "raw" / "label" / f"{ids[1]}.nii.gz").write_bytes(b"\x1f\x8b broken")
        result = self.run(tmp_path / "raw", tmp_path / "out")
        assert result.exit_code == 1
        assert [record.case_id for record in result.records if record.status == "failed"] == [ids[1]]
        assert list(stats(tmp_path / "out")["cases"]) == [ids[0], ids[2]]

    def test_several_channels_are_one_case(self, tmp_path):
        channels = ("t1", "t1c", "flair")
        phantoms.write_channels(tmp_path / "raw", 2, channels=channels)
        assert self.run(tmp_path / "raw", tmp_path / "out").exit_code == 0
        found = stats(tmp_path / "out")
        for channel in channels:
            phantoms.write_channels(tmp_path / channel, 2, channels=channels, layout=channel)
            self.run(tmp_path / channel, tmp_path / f"only_{channel}")
            only = stats(tmp_path / f"only_{channel}")
            assert found["dataset"]["intensity"][channel] == only["dataset"]["intensity"]
            for case, numbers in only["cases"].items():
                assert found["cases"][case]["intensity"][channel] == numbers["intensity"]
                assert found["cases"][case]["labels"] == numbers["labels"]

    def test_a_missing_channel_or_another_grid_fails_that_case_by_name(self, tmp_path):
        ids = phantoms.write_channels(tmp_path / "raw", 3)
        (tmp_path / "raw" / "image" / f"{ids[0]}_t2.mha").unlink()
        path = tmp_path / "raw" / "image" / f"{ids[1]}_t2.mha"
        write_volume(read_volume(path).with_array(np.zeros((2, 3, 4)), Geometry((2, 3, 4), (1.0, 1.0, 1.0))), path)
        result = self.run(tmp_path / "raw", tmp_path / "out")
        said = {record.case_id: record.message for record in result.records if record.status == "failed"}
        assert f"{ids[0]}_t2" in said[ids[0]]
        assert "image_t1 and image_t2 differ in size" in said[ids[1]]
        assert list(stats(tmp_path / "out")["cases"]) == [ids[2]]

    def test_a_vector_file_is_its_channels(self, tmp_path):
        for layout in ("vector", "files"):
            phantoms.write_channels(tmp_path / layout, 2, layout=layout)
            assert self.run(tmp_path / layout, tmp_path / f"of_{layout}").exit_code == 0
        both = [stats(tmp_path / f"of_{layout}") for layout in ("vector", "files")]
        assert both[0]["cases"] == both[1]["cases"]
        assert both[0]["dataset"] == both[1]["dataset"]

    def test_the_description_goes_on_and_says_what_was_done(self, tmp_path):
        phantoms.write_channels(tmp_path / "raw", 2)
        self.run(tmp_path / "raw", tmp_path / "out")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".itkit", *sorted(FILES)]
        assert stats(tmp_path / "out")["cases"]["case_00"]["labels"]["2"]["name"] == "leg"


def stats(folder):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((folder / "stats.json").read_text(), parse_constant=refuse)


def measured(source, dest, **options):
    result = itkit.run("itk_stats", source=source, dest=dest, workers=1, **options)
    return result, stats(dest) if (dest / "stats.json").exists() else {}


def test_the_box_of_all_voxels_that_are_not_0_in_any_channel(tmp_path):
    first, second = np.zeros((2, 6, 7, 8), np.int16)
    first[2, 3, 1], second[4, 3, 6] = -5, 9
    (tmp_path / "raw" / "image").mkdir(parents=True)
    empty = np.zeros_like(first)
    for name, array in {"a_T1": first, "a_T2": second, "b_T1": empty, "b_T2": empty}.items():
        write_volume(Volume(array, Geometry(array.shape, (3.0, 2.0, 1.0))), tmp_path / "raw" / "image" / f"{name}.mha")
    (tmp_path / "raw" / "dataset.json").write_text('{"channels": ["T1", "T2"]}')
    _, found = measured(tmp_path / "raw", tmp_path / "out")
    assert found["cases"]["a"]["nonzero_box"] == {"start": [2, 3, 1], "size": [3, 1, 6]}
    assert found["cases"]["b"]["nonzero_box"] is None


def test_each_case_has_the_numbers_of_numpy_and_scipy(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 4)
    _, found = measured(tmp_path / "raw", tmp_path / "out")
    for name, case in found["cases"].items():
        image = read_volume(tmp_path / "raw" / "image" / f"{name}.nii.gz")
        label = read_volume(tmp_path / "raw" / "label" / f"{name}.nii.gz", "label")
        assert case["size"] == list(image.shape_zyx)
        assert case["spacing"] == pytest.approx(image.spacing_zyx)
        assert (case["orientation"], case["dtype"]) == (image.geometry.orientation, "int16")
        for region, values in (("whole", image.array_zyx), ("foreground", image.array_zyx[label.array_zyx > 0])):
            numbers = case["intensity"][region]
            p = np.percentile(values, (0.5, 50, 99.5)).tolist()
            expected = [values.mean(), p[1], values.std(), values.min(), values.max(), p[0], p[2]]
            assert list(numbers) == ["mean", "median", "std", "min", "max", "p0_5", "p99_5"]
            assert list(numbers.values()) == pytest.approx(expected, rel=1e-9)
        assert list(case["labels"]) == ["1", "2", "3"]
        for value, numbers in case["labels"].items():
            mask = label.array_zyx == int(value)
            ((z, y, x),) = ndimage.find_objects(mask.astype(int))
            assert numbers["voxels"] == mask.sum()
            assert numbers["ml"] == pytest.approx(mask.sum() * np.prod(image.spacing_zyx) / 1000)
            assert numbers["components"] == ndimage.label(mask, np.ones((3, 3, 3)))[1]
            assert numbers["box"] == {
                "start": [z.start, y.start, x.start],
                "size": [z.stop - z.start, y.stop - y.start, x.stop - x.start],
            }
            inner = mask[1:-1, 1:-1, 1:-1].sum()
            assert numbers["touches_border"] == (inner < mask.sum())


def test_components_touch_at_corners_and_not_across_classes():
    array = np.zeros((3, 5, 5), np.int16)
    array[0, 0, 0] = array[1, 1, 1] = 300  # a corner: one component
    array[1, 3, 3] = 300  # apart: a second
    array[2, 2, 2] = -4
    numbers = label_numbers(Volume(array, Geometry(array.shape, (2.0, 1.0, 1.0)), "label"), {300: "x"})
    assert list(numbers) == ["-4", "300"]
    assert (numbers["300"]["components"], numbers["300"]["name"], numbers["300"]["touches_border"]) == (2, "x", True)
    assert numbers["300"]["box"] == {"start": [0, 0, 0], "size": [2, 4, 4]}
    assert (numbers["-4"]["ml"], numbers["-4"]["name"]) == (0.002, "-4")


@pytest.mark.parametrize("name", DATASETS)
def test_intensities_are_those_of_nnunets_fingerprint(tmp_path, name):
    write_raw(tmp_path / "raw", name)
    (tmp_path / "raw" / "imagesTr").rename(tmp_path / "raw" / "image")
    (tmp_path / "raw" / "labelsTr").rename(tmp_path / "raw" / "label")
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    assert result.exit_code == 0
    golden = GOLDEN[name]
    channels = list(DATASETS[name].values())

    def by_channel(intensity):
        return [intensity] if len(channels) == 1 else [intensity[channel] for channel in channels]

    for case, expected in golden["cases"].items():
        for own, theirs in zip(by_channel(found["cases"][case]["intensity"]), expected, strict=True):
            for ours, other in NAMES.items():
                if other in theirs:
                    assert own["foreground"][ours] == pytest.approx(theirs[other], rel=1e-5), ours
    for own, theirs in zip(by_channel(found["dataset"]["intensity"]), golden["dataset"], strict=True):
        spread = theirs["std"]
        for ours, other in NAMES.items():  # theirs is a sample of 1e8 voxels
            assert own["foreground"][ours] == pytest.approx(theirs[other], abs=2e-3 * spread), ours
    assert found["dataset"]["median_spacing"] == pytest.approx(golden["median_spacing"], rel=1e-6)
    assert found["dataset"]["median_size"] == np.median([case["size"] for case in found["cases"].values()], 0).tolist()


def write_cases(root, arrays, labels, spacings):
    for number, (array, label, spacing) in enumerate(zip(arrays, labels, spacings, strict=True)):
        grid = Geometry(array.shape, spacing)
        write_volume(Volume(array, grid), root / "image" / f"c{number}.mha")
        if label is not None:
            write_volume(Volume(label, grid, "label"), root / "label" / f"c{number}.mha")


def plain_cases(count):
    rng = np.random.default_rng(3)
    arrays = [rng.integers(-100, 100, (6, 7, 8)).astype(np.int16) for _ in range(count)]
    labels = [np.pad(np.ones((2, 3, 3), np.uint8), ((1, 3), (2, 2), (2, 3))) for _ in range(count)]
    return arrays, labels, [(2.0, 1.0, 1.0)] * count


def test_outliers_are_named_with_reason_and_z(tmp_path):
    arrays, labels, spacings = plain_cases(9)
    spacings[2] = (5.0, 1.0, 1.0)
    arrays[4] = (arrays[4] + 1500).astype(np.int16)
    labels[6][1:5, 1:5, 1:5] = 1
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    named = {(item["case"], item["what"]): item for item in found["outliers"]}
    assert named["c2", "spacing Z"]["z"] is None  # all others are equal
    assert named["c2", "spacing Z"]["value"] == 5
    assert "5 mm" in named["c2", "spacing Z"]["why"]
    assert named["c6", "volume of 1"]["value"] > 0.07
    item = named["c4", "intensity foreground mean"]
    means = [found["cases"][case]["intensity"]["foreground"]["mean"] for case in found["cases"]]
    median = np.median(means)
    assert item["z"] == pytest.approx(0.6745 * (item["value"] - median) / np.median(np.abs(means - median)))
    assert {case for case, _ in named} >= {"c2", "c4", "c6"}
    assert list(found["outliers"][0]) == ["case", "what", "value", "z", "why"]
    assert any("c2" in line and "outlying" in line for line in result.summary.lines)


def test_the_same_image_twice_is_a_warning(tmp_path):
    arrays, labels, spacings = plain_cases(4)
    arrays[3] = arrays[1].copy()
    spacings[3] = (3.0, 1.0, 1.0)
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    assert found["same_images"] == [["c1", "c3"]]
    same = [line for line in result.summary.lines if "same image" in line]
    assert same == ["warning: the same image, voxel for voxel: c1 = c3; keep one of them before you split"]


def test_robust_z_follows_its_formula_and_ignores_rounding():
    values = dict(zip("abcdefg", (9.0, 9.5, 10.0, 10.2, 10.4, 11.0, 20.0), strict=True))
    (far,) = outliers("x", values)
    assert far.case == "g"
    assert far.z == pytest.approx(0.6745 * (20 - 10.2) / 0.7)
    assert not list(outliers("x", {"a": 0.7, "b": 0.7, "c": 0.69999999}))
    assert [item.z for item in outliers("x", {"a": 1.0, "b": 1.0, "c": 1.00002})] == [None]
    assert not list(outliers("x", {"a": 1.0, "b": 1.0, "c": 1.00002}, tolerance=1e-4))
    assert not list(outliers("x", {"a": 1.0, "b": 9.0}))  # two cases have no median to stand out from
    noise = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1e-9}
    assert [item.case for item in outliers("x", noise)] == ["d"]
    assert not list(outliers("x", noise, scale=1.0))
    assert [item.case for item in outliers("x", {**noise, "e": 0.5}, scale=1.0)] == ["e"]


def test_a_dataset_pools_its_cases_alike():
    rng = np.random.default_rng(0)
    from itkit.kernels.distribution import distribution
    from itkit.process.dataset_statistics import intensity_numbers

    parts = [rng.normal(100 * n, 20, 200 * (n + 1)) for n in range(3)]
    found = pooled([(intensity_numbers(distribution(part)), distribution(part)) for part in parts]).numbers
    alike = np.concatenate([np.repeat(part, 6 // (n + 1)) for n, part in enumerate(parts)])
    assert found["mean"] == pytest.approx(alike.mean())
    assert found["std"] == pytest.approx(alike.std())
    assert found["median"] == pytest.approx(np.median(alike), abs=1)
    assert pooled([]).numbers is None


def test_images_without_labels_and_flat_folders_have_no_foreground(tmp_path):
    arrays, _, spacings = plain_cases(2)
    write_cases(tmp_path / "raw", arrays, [None, None], spacings)
    for source in (tmp_path / "raw", tmp_path / "raw" / "image"):
        result, found = measured(source, tmp_path / f"out_{source.name}")
        assert result.exit_code == 0
        assert found["cases"]["c0"]["intensity"]["foreground"] is None
        assert found["cases"]["c0"]["labels"] == {}
        assert found["dataset"]["intensity"]["foreground"] is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="no image"):
        measured(tmp_path / "empty", tmp_path / "none")


def test_what_is_wrong_is_said(tmp_path):
    arrays, labels, spacings = plain_cases(3)
    arrays[0] = arrays[0].astype(np.float32)
    arrays[0][0, 0, 0], arrays[0][0, 0, 1] = np.nan, np.inf
    arrays[1] = np.full_like(arrays[1], 7)
    labels[2] = np.zeros_like(labels[2])
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    write_json(tmp_path / "raw" / "dataset.json", {"labels": {"0": "background", "2": "tumour"}})
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    warnings = {record.case_id: " ".join(record.warnings) for record in result.records}
    assert "2 voxels nan or infinite" in warnings["c0"]
    assert "empty" in warnings["c2"]
    assert found["cases"]["c0"]["intensity"]["whole"]["max"] == np.nanmax(arrays[0][np.isfinite(arrays[0])])
    assert found["cases"]["c1"]["intensity"]["whole"]["std"] == 0
    assert found["cases"]["c2"]["intensity"]["foreground"] is None
    said = " ".join(result.summary.lines)
    assert "no case holds class 2 (tumour)" in said
    assert "no name for class 1" in said


def test_a_grid_that_differs_fails_that_case(tmp_path):
    arrays, labels, spacings = plain_cases(3)
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    grid = Geometry(labels[1].shape, (2.0, 1.0, 1.5))
    write_volume(Volume(labels[1], grid, "label"), tmp_path / "raw" / "label" / "c1.mha")
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    assert result.exit_code == 1
    assert list(found["cases"]) == ["c0", "c2"]


def test_cases_that_are_gone_are_no_longer_described(tmp_path):
    arrays, labels, spacings = plain_cases(3)
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    measured(tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw" / "label" / "c0.mha").unlink()
    (tmp_path / "raw" / "image" / "c1.mha").unlink()
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    assert [record.status for record in result.records] == ["skipped"]
    assert list(found["cases"]) == ["c2"]
    (tmp_path / "raw" / "image" / "c2.mha").write_bytes(b"broken")
    result, _ = measured(tmp_path / "raw", tmp_path / "none")
    assert result.exit_code == 1
    assert "no case was measured: the files were not written" in result.summary.lines
    assert not (tmp_path / "none" / "stats.json").exists()


def test_the_table_has_a_row_for_each_case(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)
    _, found = measured(tmp_path / "raw", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "stats.csv").read_text().splitlines()))
    assert [row["case"] for row in rows] == list(found["cases"])
    for row, case in zip(rows, found["cases"].values(), strict=True):
        assert [int(row[f"size_{axis}"]) for axis in "zyx"] == case["size"]
        assert float(row["foreground_p99_5"]) == case["intensity"]["foreground"]["p99_5"]
        assert float(row["2_ml"]) == case["labels"]["2"]["ml"]
        assert row["1_touches_border"] == str(int(case["labels"]["1"]["touches_border"]))


class Page(HTMLParser):
    """Tags that were opened and not closed, pictures, and links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.pictures, self.links = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [value for name, value in found.items() if name in ("src", "href", "xlink:href")]
        if tag == "img":
            self.pictures.append(found["alt"])
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_shows_the_outliers(tmp_path):
    arrays, labels, spacings = plain_cases(5)
    spacings[2] = (5.0, 1.0, 1.0)
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    measured(tmp_path / "raw", tmp_path / "out")
    text = (tmp_path / "out" / "stats.html").read_text()
    found = Page(text)
    assert found.open == []
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert [name for name in found.pictures if name.startswith("c2")] == ["c2, axial", "c2, coronal", "c2, sagittal"]
    assert text.count("<svg") >= 8
    assert not re.search(r"[>\"\s](nan|inf|None)[<\"\s]", text)


def test_values_too_large_to_square_fail_their_case_by_name(tmp_path):
    arrays, labels, spacings = plain_cases(3)
    arrays[1] = arrays[1].astype(np.float64) * 1e300
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    assert [record.case_id for record in result.records if record.status == "failed"] == ["c1"]
    assert "too large for their standard deviation" in result.records[1].message
    assert list(found["cases"]) == ["c0", "c2"]


def test_grids_and_means_that_differ_by_rounding_alone(tmp_path):
    """Spacings of NIfTI come from lengths of columns, and differ in the last bit; so do the means of z-scores."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, 6, 7)) for _ in range(4)]
    arrays = [((array - array.mean()) / array.std()).astype(np.float32) for array in arrays]
    labels = [(array > 1).astype(np.uint8) for array in arrays]
    spacings = [(float(np.nextafter(0.7, n % 2)), 1.1, 1.3) for n in range(4)]
    assert len({float(np.prod(spacing)) for spacing in spacings}) > 1
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    result, found = measured(tmp_path / "raw", tmp_path / "out")
    assert result.exit_code == 0
    assert not [item for item in found["outliers"] if "whole" in item["what"] or "spacing" in item["what"]]
    assert (tmp_path / "out/stats.html").is_file()


def test_grids_of_kilometres_have_a_page(tmp_path):
    """5e16 litres, to which half a litre adds nothing."""
    arrays = [np.arange(48000, dtype=np.int16).reshape(30, 40, 40)] * 2
    write_cases(tmp_path / "raw", arrays, [None, None], [(1e6, 1e6, 1e6)] * 2)
    result, _ = measured(tmp_path / "raw", tmp_path / "out")
    assert result.exit_code == 0
    assert "Volume that an image covers" in (tmp_path / "out/stats.html").read_text()


def test_the_page_of_the_last_shard_shows_outliers_of_all(tmp_path):
    arrays, labels, spacings = plain_cases(5)
    spacings[2] = (5.0, 1.0, 1.0)
    write_cases(tmp_path / "raw", arrays, labels, spacings)
    measured(tmp_path / "raw", tmp_path / "whole")
    for shard in ("1/2", "2/2"):
        measured(tmp_path / "raw", tmp_path / "parts", shard=shard)
    pages = [(tmp_path / name / "stats.html").read_text() for name in ("whole", "parts")]
    assert "c2, axial" in pages[0]
    assert pages[0] == pages[1]
