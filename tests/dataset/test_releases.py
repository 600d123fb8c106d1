"""Every release, converted and compared with the truth."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import NAMES, convert, release, tree


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            dest = tmp_path_factory.mktemp(f"{name}_out")
            made[name] = dest, *convert(name, release(name).source, dest)
        return made[name]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_release_equals_the_truth(name, converted):
    dest, result, _ = converted(name)
    assert result.exit_code == 0
    assert {record.status for record in result.records} == {"done"}
    assert release(name).problems(dest, dest / ".itkit" / "manifest.jsonl") == []


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_does_nothing(name, converted):
    dest, _, _ = converted(name)
    before = tree(dest)
    result, _ = convert(name, release(name).source, dest)
    assert {record.status for record in result.records} == {"skipped"}
    assert tree(dest) == before


@pytest.mark.parametrize("name", NAMES)
def test_splits_and_label_names_are_those_of_the_release(name, converted):
    dest, _, _ = converted(name)
    cases, labels = {}, {}
    for path in dest.rglob("dataset.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["licence"]
        for case, facts in found["cases"].items():
            split = next((name for name, members in found["splits"].items() if case in members), "")
            cases[case] = split
            by_source = found.get("labels_by_source", {}).get(facts.get("source"), None)
            labels[case] = {"0": "background", **(by_source or facts.get("labels", found["labels"]))}
    for case in release(name).truth["cases"]:
        names = [accepted for accepted in case["accept"] if accepted in cases]
        assert names, case["case"]
        assert cases[names[0]] == case["split"]
        truth = case.get("label_map") or release(name).truth["labels"]
        if case["has_label"] and name != "nnunet":  # there the table has regions
            assert labels[names[0]] == truth


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_touches_nothing(name, tmp_path):
    dest = tmp_path / "out"
    result, _ = convert(name, release(name).source, dest, dry_run=True)
    assert {record.status for record in result.records} == {"planned"}
    assert not dest.exists()


@pytest.mark.parametrize("name", ["brats2024", "tcga", "totalsegmentator_v1", "sa_med2d_20m"])
def test_two_workers_give_the_same_bytes(name, converted, tmp_path):
    dest, _, _ = converted(name)
    result, _ = convert(name, release(name).source, tmp_path, workers=2)
    assert result.exit_code == 0
    assert tree(tmp_path) == tree(dest)


def test_nodules_keep_their_physical_points(converted):
    dest, _, _ = converted("luna16")
    found = json.loads((dest / "dataset.json").read_text(encoding="utf-8"))["cases"]
    for case in release("luna16").truth["cases"]:
        points = [item["point_xyz"] for item in found[case["case"]]["points"]]
        np.testing.assert_allclose(points, [item["coord"] for item in case["nodules"]])
        diameters = [item["diameter_mm"] for item in found[case["case"]]["points"]]
        assert diameters == pytest.approx([item["diameter_mm"] for item in case["nodules"]])


def test_overlaps_are_counted_and_named(converted):
    dest, result, events = converted("totalsegmentator_v2")
    found = json.loads((dest / "dataset.json").read_text(encoding="utf-8"))
    for case in release("totalsegmentator_v2").truth["cases"]:
        masks = sorted(release("totalsegmentator_v2").source.rglob(f"{case['case']}/segmentations/*.nii.gz"))
        claims = sum((sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0).astype(int) for path in masks)
        assert claims.max() > 2, "voxels of three classes count once, too"
        assert found["cases"][case["case"]]["overlap_voxels"] == (claims > 1).sum()
        assert "liver & stomach" in found["cases"][case["case"]]["overlaps"]
    assert any("in several classes" in line for line in result.summary.lines)
    assert any("rule: last" in warning for event in events for warning in event.get("warnings", ()))


@pytest.mark.parametrize("rule", ["first", "error", "multi"])
def test_other_rules_for_overlaps(rule, tmp_path):
    one = release("totalsegmentator_v2")
    result, _ = convert("totalsegmentator_v2", one.source, tmp_path, overlap=rule)
    truth = one.truth["cases"]
    if rule == "error":
        assert result.exit_code == 1
        assert all("claimed by several classes" in record.message for record in result.records)
        assert not list(tmp_path.rglob("*.mha"))
        return
    for case in truth:
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "label" / f"{case['case']}.mha")))
        if rule == "first":
            values, counts = np.unique(label, return_counts=True)
            found = {str(value): int(count) for value, count in zip(values, counts, strict=True)}
            assert found == case["label_alternatives"]["class_map_order_first_wins"]
        else:
            table = one.truth["labels"]
            expected = [case["class_voxels"].get(table[str(value)], 0) for value in range(1, len(table))]
            assert label.reshape(-1, label.shape[-1]).sum(0).tolist() == expected
