"""`itk_evaluate`: what it writes, in every format; missing and bad pairs; comparisons, groups, resumed runs."""

import csv
import io
import json
import math
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

import itkit
from itkit.cli.adapter import parse
from itkit.cli.operation import main
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine.parameters import make_params, to_argv
from itkit.io.sitk_toolkit import write_volume
from itkit.metrics import evaluate
from itkit.process.itk_evaluate import OPERATION, EvaluateParams
from itkit.report.workbook import Sheet, workbook
from itkit.testing import phantoms

HEAD = (
    "case,label,name,dice,iou,precision,recall,volume_similarity,volume_gt_ml,volume_pred_ml,"
    "hd_mm,hd95_mm,assd_mm,masd_mm,nsd,tp,fp,fn,flag"
)
NAMES = {"0": "background", "1": "arm", "2": "leg", "3": "foot"}
FILES = ["evaluation.html", "evaluation.json", "evaluation.xlsx", "per_case.csv", "summary.csv"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five references; predictions are shifted, one lacks a class, one has a class more; a second set is worse."""
    root = tmp_path_factory.mktemp("data")
    for number in range(5):
        grid = list(phantoms.GRIDS.values())[number % 4]
        gt = phantoms.l_shape(grid)
        write_volume(gt, root / "label" / f"case_{number}.nii.gz")
        write_volume(phantoms.noise(grid, number), root / "image" / f"case_{number}.nii.gz")
        for name, shift in (("a", 1), ("b", 2)):
            array = np.roll(gt.array_zyx, shift, axis=number % 3)
            if number == 1:
                array[array == 2] = 0
            if number == 2:
                array[0, 0, :2] = 7
            write_volume(gt.with_array(array), root / name / f"case_{number}.mha")
    (root / "dataset.json").write_text(json.dumps({"labels": NAMES}))
    (root / "sites.csv").write_text("case,site\n" + "".join(f"case_{n},{'ns'[n % 2]}\n" for n in range(5)))
    return root


def run(data, out, *, pred="a", **values):
    return itkit.run("itk_evaluate", gt=data / "label", pred=data / pred, dest=out, **values)


def read(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    result = run(data, out, instances=True, baseline=data / "b", table=data / "sites.csv", group_by="site")
    assert result.exit_code == 0
    return out


def test_the_rows_are_those_of_the_python_function(data, done):
    rows = read(done / "per_case.csv")
    assert (done / "per_case.csv").read_text().startswith(HEAD)
    assert len(rows) == 5 * 4  # 1, 2, 3 and 7 for every case
    value = json.loads((done / "evaluation.json").read_text())
    for row in rows:
        case, label = row["case"], int(row["label"])
        gt = itkit.read(data / "label" / f"{case}.nii.gz", kind="label")
        pred = itkit.read(data / "a" / f"{case}.mha", kind="label")
        expected = evaluate(gt, pred, labels=[label], instances=True)[label]
        assert row["name"] == NAMES.get(str(label), "7")
        assert row["site"] == "ns"[int(case[-1]) % 2]
        stored = value["cases"][case][str(label)]
        for name, number in expected.items():
            if isinstance(number, str):
                assert row[name] == stored[name] == number
            elif isinstance(number, list):
                assert row[name] == "; ".join(map(str, number))
                assert stored[name] == number
            else:
                assert float(row[name]) == pytest.approx(number, nan_ok=True)
                assert stored[name] == (number if math.isfinite(number) else None)
    flags = {(row["case"], row["label"]): row["flag"] for row in rows if row["flag"]}
    assert flags[("case_1", "2")] == "missed"
    assert flags[("case_2", "7")] == "invented"
    assert sum(flag == "both_empty" for flag in flags.values()) == 4


def test_json_holds_definitions_and_neither_nan_nor_infinity(done):
    def refuse(constant):
        raise AssertionError(constant)

    value = json.loads((done / "evaluation.json").read_text(), parse_constant=refuse)
    assert value["definition"]["dice"].startswith("2 tp / (2 tp + fp + fn)")
    assert "6 face neighbours" in value["definition"]["border"]
    assert value["failed"] == {}
    assert value["cases"]["case_1"]["2"]["hd95_mm"] is None
    assert value["cases"]["case_1"]["2"]["precision"] is None
    assert value["confusion"]["2"]["0"] > 0


def test_means_run_over_finite_values_and_leave_out_what_both_lack(done):
    value = json.loads((done / "evaluation.json").read_text())
    leg, seven = value["summary"]["2"], value["summary"]["7"]
    cases = [value["cases"][f"case_{n}"]["2"] for n in range(5)]
    distances = [row["hd95_mm"] for row in cases if row["hd95_mm"] is not None]
    assert (leg["n_missed"], leg["n_invented"], leg["name"]) == (1, 0, "leg")
    assert leg["dice"]["n"] == 5
    assert leg["dice"]["mean"] == pytest.approx(np.mean([row["dice"] for row in cases]))
    assert leg["hd95_mm"]["n"] == 4
    assert leg["hd95_mm"]["median"] == pytest.approx(np.median(distances))
    assert leg["hd95_mm"]["std"] == pytest.approx(np.std(distances, ddof=1))
    low, high = leg["dice"]["ci95"]
    assert 0 <= low < leg["dice"]["mean"] < high <= 1
    assert (seven["dice"]["n"], seven["n_invented"], seven["n_both_empty"]) == (1, 1, 4)
    assert seven["dice"]["ci95"] == [None, None]
    assert seven["hd_mm"]["mean"] is None
    rows = {(row["group"], row["label"], row["metric"]): row for row in read(done / "summary.csv")}
    assert float(rows[("", "2", "dice")]["mean"]) == leg["dice"]["mean"]
    assert rows[("", "2", "dice")]["n_missed"] == "1"
    north = [value["cases"][f"case_{n}"]["1"]["dice"] for n in (0, 2, 4)]
    assert float(rows[("n", "1", "dice")]["mean"]) == pytest.approx(np.mean(north))
    assert value["groups"]["summary"]["n"]["1"]["dice"]["n"] == 3


def test_a_baseline_is_compared_case_by_case(data, done):
    value = json.loads((done / "evaluation.json").read_text())
    ours, theirs = value["cases"], value["baseline"]["cases"]
    differences = [ours[f"case_{n}"]["1"]["dice"] - theirs[f"case_{n}"]["1"]["dice"] for n in range(5)]
    found = value["comparison"]["1"]["dice"]
    assert found["mean_difference"] == pytest.approx(np.mean(differences))
    assert found["median_difference"] == pytest.approx(np.median(differences))
    expected = stats.wilcoxon(differences)
    assert (found["statistic"], found["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert found["n"] == 5
    tested = [of["dice"]["p"] for of in value["comparison"].values() if of["dice"]["p"] is not None]
    assert found["p_holm"] == pytest.approx(min(1, max(sorted(tested)[0] * len(tested), found["p"])))
    rows = {(row["label"], row["metric"]): row for row in read(done / "comparison.csv")}
    assert float(rows[("1", "dice")]["mean_difference"]) == found["mean_difference"]


def test_the_workbook_opens_and_holds_the_rows(done):
    archive = zipfile.ZipFile(done / "evaluation.xlsx")
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    names = [
        sheet.get("name")
        for sheet in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter()
        if sheet.get("name")
    ]
    assert names == ["per_case", "summary", "comparison", "definitions"]
    sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    lines = sheet.findall(".//m:row", space)
    rows = read(done / "per_case.csv")
    assert len(lines) == len(rows) + 1
    assert [cell.findtext(".//m:t", "", space) for cell in lines[0]][:4] == ["case", "label", "name", "dice"]
    assert float(lines[1].find("m:c[@r='D2']/m:v", space).text) == float(rows[0]["dice"])


def test_a_workbook_is_the_same_at_any_time_and_runs_no_text():
    sheets = [Sheet("a/b", ["x", "y"], [["=1+1", 2.5], ["\x01<&>", None], [math.inf, True]])]
    data = workbook(sheets)
    assert data == workbook(sheets)
    text = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in text
    assert "&lt;&amp;&gt;" in text
    assert "\x01" not in text
    ElementTree.fromstring(text)
    with pytest.raises(ValueError, match="different names"):
        workbook([Sheet("a", ["x"], []), Sheet("A", ["x"], [])])


def test_the_page_shows_everything_by_itself(done):
    text = (done / "evaluation.html").read_text()
    for said in ("Against b", "By site", "Bland", "Worst cases", "Confusion", "Missed and invented", "Lesions"):
        assert said in text
    assert text.count("<img") == 15  # five cases in three planes
    assert "http" not in text.replace("http://www.w3.org", "")
    assert "2 leg" in text


def test_two_workers_and_a_resumed_run_change_no_byte(data, tmp_path):
    values = {"baseline": data / "b", "instances": True}
    run(data, tmp_path / "one", **values)
    run(data, tmp_path / "two", workers=2, **values)
    before = {name: (tmp_path / "one" / name).read_bytes() for name in [*FILES, "comparison.csv"]}
    assert before == {name: (tmp_path / "two" / name).read_bytes() for name in before}
    for shard in ("2/2", "1/2"):
        run(data, tmp_path / "parts", shard=shard, **values)
    assert before == {name: (tmp_path / "parts" / name).read_bytes() for name in before}
    again = run(data, tmp_path / "one", **values)
    assert {record.status for record in again.records} == {"skipped"}
    assert before == {name: (tmp_path / "one" / name).read_bytes() for name in before}
    manifest = tmp_path / "one" / ".itkit" / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:2]) + lines[2][:40])  # killed while it wrote the third line
    for name in before:
        (tmp_path / "one" / name).unlink()
    resumed = run(data, tmp_path / "one", **values)
    assert [record.status for record in resumed.records] == ["skipped"] * 2 + ["done"] * 3
    assert before == {name: (tmp_path / "one" / name).read_bytes() for name in before}
    assert not (tmp_path / "one" / "series_meta.json").exists()


def test_every_shard_tells_of_the_failures_of_all(data, tmp_path):
    for path in (data / "a").iterdir():
        (tmp_path / "pred").mkdir(exist_ok=True)
        (tmp_path / "pred" / path.name).write_bytes(path.read_bytes() if path.stem in ("case_1", "case_4") else b"cut")
    values = {"pred": tmp_path / "pred", "gt": data / "label"}
    itkit.run("itk_evaluate", dest=tmp_path / "one", **values)
    for shard in ("1/2", "2/2"):
        itkit.run("itk_evaluate", dest=tmp_path / "parts", shard=shard, **values)
    failed = json.loads((tmp_path / "parts" / "evaluation.json").read_text())["failed"]
    assert failed.keys() == {"case_0", "case_2", "case_3"}
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    for path in (data / "a").iterdir():
        (tmp_path / "pred" / path.name).write_bytes(path.read_bytes())
    for shard in ("1/2", "2/2"):
        itkit.run("itk_evaluate", dest=tmp_path / "parts", shard=shard, **values)
    assert json.loads((tmp_path / "parts" / "evaluation.json").read_text())["failed"] == {}


def test_a_changed_parameter_or_prediction_is_evaluated_again(data, tmp_path):
    run(data, tmp_path, labels=("arm",), metrics=("dice",))
    assert {record.status for record in run(data, tmp_path, labels=("arm",), metrics=("nsd",)).records} == {"done"}
    other = run(data, tmp_path, pred="b", labels=("arm",), metrics=("nsd",))
    assert {record.status for record in other.records} == {"done"}
    rows = read(tmp_path / "per_case.csv")
    assert {row["label"] for row in rows} == {"1"}
    assert {row["dice"] for row in rows} == {""}
    assert all(row["nsd"] for row in rows)


def test_a_missing_prediction_counts_as_missed_or_is_left_out(data, tmp_path):
    (tmp_path / "some").mkdir()
    for number in (0, 3):
        name = f"case_{number}.mha"
        (tmp_path / "some" / name).write_bytes((data / "a" / name).read_bytes())
    (tmp_path / "some" / "stranger.mha").write_bytes((data / "a" / "case_0.mha").read_bytes())
    values = {"gt": data / "label", "pred": tmp_path / "some"}
    result = itkit.run("itk_evaluate", **values, dest=tmp_path / "out")
    assert result.exit_code == 0
    assert set(result.summary.unpaired) == {"case_1", "case_2", "case_4", "stranger"}
    assert any("no prediction for case_1, case_2, case_4" in line for line in result.summary.lines)
    rows = read(tmp_path / "out" / "per_case.csv")
    assert {row["flag"] for row in rows if row["case"] == "case_4"} == {"missed"}
    assert {row["hd_mm"] for row in rows if row["case"] == "case_4"} == {"inf"}
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["missing"] == ["case_1", "case_2", "case_4"]
    common = itkit.run("itk_evaluate", **values, dest=tmp_path / "common", only_common=True)
    assert [record.case_id for record in common.records] == ["case_0", "case_3"]
    assert set(common.summary.unpaired) == {"case_1", "case_2", "case_4", "stranger"}
    with pytest.raises(LayoutError, match="--strict"):
        itkit.run("itk_evaluate", **values, dest=tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_cases_and_baselines_that_come_or_go_between_runs(data, tmp_path):
    some, base = tmp_path / "some", tmp_path / "base"
    for folder, numbers in ((some, (0, 3)), (base, (0, 1))):
        folder.mkdir()
        for number in numbers:
            name = f"case_{number}.mha"
            (folder / name).write_bytes((data / "a" / name).read_bytes())
    values = {"gt": data / "label", "pred": some, "dest": tmp_path / "out", "format": ("json",)}

    def cases(**more):
        itkit.run("itk_evaluate", **values, **more)
        return json.loads((tmp_path / "out" / "evaluation.json").read_text())

    assert len(cases()["cases"]) == 5
    assert cases(only_common=True)["cases"].keys() == {"case_0", "case_3"}
    assert cases(baseline=base)["baseline"]["cases"]["case_3"]["1"]["flag"] == "missed"
    assert cases(baseline=base, only_common=True)["cases"].keys() == {"case_0"}
    assert len(cases()["cases"]) == 5
    with pytest.raises(LayoutError, match="holds the results of 5 cases already"):
        cases(existing="error")


def test_one_bad_pair_is_one_failure(data, tmp_path):
    pred = tmp_path / "pred"
    pred.mkdir()
    for path in (data / "a").iterdir():
        (pred / path.name).write_bytes(path.read_bytes())
    (pred / "case_1.mha").write_bytes(b"nonsense")
    volume = itkit.read(data / "a" / "case_2.mha", kind="label")
    grid = volume.geometry
    moved = Geometry(
        grid.size_zyx, grid.spacing_zyx, (grid.origin_xyz[0] + 2, *grid.origin_xyz[1:]), grid.direction_xyz
    )
    write_volume(Volume(volume.array_zyx, moved, "label"), pred / "case_2.mha")
    result = itkit.run("itk_evaluate", gt=data / "label", pred=pred, dest=tmp_path / "out")
    assert result.exit_code == 1
    value = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert value["failed"].keys() == {"case_1", "case_2"}
    assert "--resample-prediction" in value["failed"]["case_2"]
    assert value["cases"].keys() == {"case_0", "case_3", "case_4"}
    assert "Failed" in (tmp_path / "out" / "evaluation.html").read_text()
    fits = itkit.run("itk_evaluate", gt=data / "label", pred=pred, dest=tmp_path / "out", resample_prediction=True)
    said = {record.case_id: record.warnings for record in fits.records}
    assert any("resampled onto the reference's grid" in text for text in said["case_2"])
    value = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert value["failed"].keys() == {"case_1"}
    assert 0 < value["cases"]["case_2"]["1"]["dice"] < 1


def test_labels_regions_and_tolerances_are_chosen_by_name_or_value(data, tmp_path):
    values = {
        "labels": ("leg", "1"),
        "regions": ("limb=arm,2",),
        "tolerance_mm": ("5", "0.1", "2"),
        "format": ("json",),
    }
    run(data, tmp_path / "listed", **values)
    run(data, tmp_path / "named", **values | {"tolerance_mm": ("2", "leg=5", "arm=0.1")})
    listed, named = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("listed", "named"))
    assert listed["cases"] == named["cases"]
    assert list(listed["summary"]) == ["2", "1", "limb"]
    assert listed["definition"]["tolerance_mm"] == {"2": 5.0, "1": 0.1, "limb": 2.0}
    assert listed["cases"]["case_0"]["2"]["nsd"] == 1 > listed["cases"]["case_0"]["1"]["nsd"]
    assert sorted(path.name for path in (tmp_path / "listed").iterdir()) == [".itkit", "evaluation.json"]


def test_a_class_that_is_nowhere_is_told(data, tmp_path):
    result = run(data, tmp_path / "out", labels=("leg", "77"), format=("json",))
    assert "warning: neither a reference nor a prediction holds class 77" in result.summary.lines


def test_voxels_that_the_reference_ignores_do_not_count(data, tmp_path):
    gt = itkit.read(data / "label" / "case_0.nii.gz", kind="label")
    for folder, ignored in (("whole", None), ("part", 3)):
        root = tmp_path / folder
        write_volume(gt, root / "gt" / "a.mha")
        (root / "gt" / "dataset.json").write_text(json.dumps({"labels": NAMES, **({"ignore": 3} if ignored else {})}))
        write_volume(gt.with_array(np.where(gt.array_zyx == 3, 1, gt.array_zyx)), root / "pred" / "a.mha")
        itkit.run("itk_evaluate", gt=root / "gt", pred=root / "pred", dest=root / "out", format=("json",))
    whole, part = (json.loads((tmp_path / name / "out" / "evaluation.json").read_text()) for name in ("whole", "part"))
    assert whole["cases"]["a"]["1"]["dice"] < 1
    assert part["cases"]["a"]["1"]["dice"] == 1
    assert list(part["summary"]) == ["1", "2"]


def test_a_penalty_stands_for_distances_to_nothing(data, tmp_path):
    run(data, tmp_path, penalty="diagonal", format=("json",))
    value = json.loads((tmp_path / "evaluation.json").read_text())
    grid = itkit.read(data / "label" / "case_1.nii.gz").geometry
    assert value["cases"]["case_1"]["2"]["hd_mm"] == pytest.approx(math.hypot(*grid.extent_zyx))
    assert value["summary"]["2"]["hd_mm"]["n"] == 5
    assert value["summary"]["2"]["n_missed"] == 1


def test_datasets_are_taken_by_their_labels(data, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "label").symlink_to(data / "a")
    itkit.run("itk_evaluate", gt=data, pred=tmp_path / "model", dest=tmp_path / "out", format=("json",))
    value = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert value["summary"]["1"]["name"] == "arm"


def test_the_seed_changes_intervals_alone(data, tmp_path):
    run(data, tmp_path, format=("json",))
    first = json.loads((tmp_path / "evaluation.json").read_text())
    again = run(data, tmp_path, format=("json",), seed=5)
    second = json.loads((tmp_path / "evaluation.json").read_text())
    assert {record.status for record in again.records} == {"skipped"}
    assert first["cases"] == second["cases"]
    names = [name for name, value in first["summary"]["1"].items() if isinstance(value, dict)]
    pairs = [(first["summary"][label][name], second["summary"][label][name]) for label in "123" for name in names]
    assert any(one["ci95"] != other["ci95"] for one, other in pairs)
    assert all({**one, "ci95": 0} == {**other, "ci95": 0} for one, other in pairs)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"labels": ("lge",)}, "no class 'lge'; did you mean 'leg'"),
        ({"regions": ("limb",)}, "expected NAME=CLASS"),
        ({"regions": ("4=1,2",)}, "that are no numbers"),
        ({"tolerance_mm": ("1", "2")}, "one for each of the 3 classes and regions"),
        ({"tolerance_mm": ("-1",)}, "expected a distance >= 0 mm"),
        ({"metrics": ("dise",)}, "did you mean 'dice'"),
        ({"group_by": "site"}, "--group-by only matters with --table"),
        ({"format": ()}, "expected at least one of csv"),
    ],
)
def test_what_is_refused_before_anything_is_written(data, tmp_path, values, says):
    with pytest.raises(ParamsError, match=says):
        run(data, tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()


def test_folders_without_a_common_case_are_refused(data, tmp_path):
    write_volume(phantoms.l_shape(phantoms.GRIDS["plain"]), tmp_path / "pred" / "x.mha")
    with pytest.raises(LayoutError, match=r"no case of .* has a prediction"):
        itkit.run("itk_evaluate", gt=data / "label", pred=tmp_path / "pred", dest=tmp_path / "out")
    with pytest.raises(LayoutError, match="inside the source"):
        run(data, data / "a" / "out")


def test_label_maps_without_any_class_make_empty_tables(tmp_path):
    empty = phantoms.l_shape(phantoms.GRIDS["plain"])
    empty = empty.with_array(np.zeros_like(empty.array_zyx))
    for name in ("gt", "pred"):
        for case in "ab":
            write_volume(empty, tmp_path / name / f"{case}.mha")
    result = itkit.run("itk_evaluate", gt=tmp_path / "gt", pred=tmp_path / "pred", dest=tmp_path / "out")
    assert result.exit_code == 0
    value = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (value["cases"], value["summary"]) == ({"a": {}, "b": {}}, {})
    assert read(tmp_path / "out" / "per_case.csv") == []


def test_what_is_no_label_map_is_a_named_failure(data, tmp_path):
    grid = phantoms.GRIDS["plain"]
    write_volume(phantoms.l_shape(grid), tmp_path / "gt" / "a.mha")
    write_volume(phantoms.l_shape(grid), tmp_path / "gt" / "b.mha")
    write_volume(Volume(phantoms.noise(grid).array_zyx + np.float32(0.5), grid), tmp_path / "pred" / "a.mha")
    write_volume(phantoms.l_shape(grid), tmp_path / "pred" / "b.mha")
    result = itkit.run("itk_evaluate", gt=tmp_path / "gt", pred=tmp_path / "pred", dest=tmp_path / "out")
    assert [record.status for record in result.records] == ["failed", "done"]
    assert "a" in json.loads((tmp_path / "out" / "evaluation.json").read_text())["failed"]


def test_metrics_are_at_hand_in_the_package():
    label = phantoms.l_shape(phantoms.GRIDS["plain"])
    assert itkit.metrics.evaluate(label, label)[1]["dice"] == 1
    assert "metrics" in dir(itkit)


def test_argv_and_back(tmp_path):
    values = {
        "gt": tmp_path / "a b", "pred": tmp_path / "p", "dest": tmp_path / "c", "tolerance_mm": 1.5,
        "regions": ("whole=1,2",), "labels": ("-1", "leg"), "format": ("csv", "html"),
    }  # fmt: skip
    params = make_params(EvaluateParams, values)
    assert params.tolerance_mm == ("1.5",)
    assert parse(OPERATION, to_argv(params))[0] == params


def test_instances_are_a_metric_too(data, tmp_path):
    run(data, tmp_path / "option", metrics=("dice",), instances=True, format=("csv",))
    run(data, tmp_path / "metric", metrics=("dice", "instances"), format=("csv",))
    first, second = ((tmp_path / name / "per_case.csv").read_text() for name in ("option", "metric"))
    assert first == second
    assert "detection_f1" in first.splitlines()[0]
    run(data, tmp_path / "alone", metrics=("instances",))
    alone, both = (read(tmp_path / name / "per_case.csv") for name in ("alone", "metric"))
    assert [row["detection_f1"] for row in alone] == [row["detection_f1"] for row in both]
    assert {row["dice"] for row in alone} == {""}


def test_a_dry_run_names_what_it_would_write(data, tmp_path):
    lines = run(data, tmp_path / "out", baseline=data / "b", format=("csv", "html"), dry_run=True).summary.lines
    files = ("per_case.csv", "summary.csv", "comparison.csv", "evaluation.html")
    assert lines == ("planned: for all cases -> " + ", ".join(str(tmp_path / "out" / name) for name in files),)
    assert not (tmp_path / "out").exists()


def test_many_missed_classes_and_other_names_are_told_in_a_few_lines(tmp_path, capsys):
    gt = Volume(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), Geometry((3, 4, 5), (1.0, 1.0, 1.0)), "label")
    write_volume(gt, tmp_path / "gt" / "a.mha")
    write_volume(gt.with_array(np.minimum(gt.array_zyx, 1)), tmp_path / "pred" / "a.mha")
    for folder, name in (("gt", "spleen"), ("pred", "bone")):
        (tmp_path / folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": name}}))
    folders = [str(tmp_path / name) for name in ("gt", "pred", "out")]
    assert main("itk_evaluate", [*folders, "--format", "csv"]) == 0
    told = capsys.readouterr()
    missed = [line for line in told.out.splitlines() if "not found in" in line]
    assert missed[0] == "note: 2: not found in 1 case: a"
    assert missed[-1] == "note: 48 other classes: not found in some of the cases: 12, 13, 14, 15, 16 and 43 more"
    assert len(missed) == 11
    assert "1 is 'spleen' in the reference and 'bone' in the prediction" in told.err
