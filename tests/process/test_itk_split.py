"""Splits: seeded, balanced, no patient in two parts, and the same file whatever the order on disk."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import itkit
from itkit.core.errors import ItkitError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume
from itkit.process.splitting import Unit, balanced_parts, in_bins
from itkit.testing import phantoms

GRID = Geometry((1, 2, 3), (1.0, 1.0, 1.0))


def write_cases(root, cases, classes=lambda number: (1,)):
    """Write a tiny label for each case; it holds the given classes."""
    for number, case in enumerate(cases):
        array = np.zeros(GRID.size_zyx, np.uint8)
        array.ravel()[: len(classes(number))] = classes(number)
        write_volume(Volume(array, GRID, "label"), root / "label" / f"{case}.mha", compression="none")


def names(count=24, visits=1):
    return [f"p{number:02d}_{visit}" for number in range(count // visits) for visit in range(visits)]


def split(source, **values):
    result = itkit.run("itk_split", source=source, **values)
    path = values.get("output", source / "splits.json")
    return result, json.loads(path.read_text()) if path.is_file() else None


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    write_cases(root, names())
    return root


def test_every_case_validates_once_and_is_tested_or_trained_with(raw, tmp_path):
    result, found = split(raw, folds=5, test=0.2, seed=3, output=tmp_path / "s.json")
    assert result.exit_code == 0
    assert found["seed"] == 3
    assert len(found["test"]) == 5
    rest = sorted(set(names()) - set(found["test"]))
    assert sorted(case for fold in found["folds"] for case in fold["val"]) == rest
    assert sorted(len(fold["val"]) for fold in found["folds"]) == [3, 4, 4, 4, 4]
    for fold in found["folds"]:
        assert sorted(fold["train"] + fold["val"]) == rest
        assert fold["train"] == sorted(fold["train"])
    assert result.summary.lines[0].startswith("5 folds of ")


def test_train_validate_and_test_have_exact_sizes(raw, tmp_path):
    _, found = split(raw, test=0.25, val=0.1, output=tmp_path / "s.json")
    (fold,) = found["folds"]
    assert [len(found["test"]), len(fold["val"]), len(fold["train"])] == [6, 2, 16]
    assert sorted(found["test"] + fold["val"] + fold["train"]) == names()
    _, only_test = split(raw, test=0.25, output=tmp_path / "t.json")
    assert only_test["folds"][0]["val"] == []


def test_the_seed_decides_and_the_order_on_disk_does_not(tmp_path):
    write_cases(tmp_path / "a", names())
    write_cases(tmp_path / "b", names()[::-1])
    texts = []
    for root, workers in (("a", 1), ("b", 2)):
        split(tmp_path / root, folds=4, test=0.1, seed=1, workers=workers)
        texts.append((tmp_path / root / "splits.json").read_bytes())
    assert texts[0] == texts[1]
    split(tmp_path / "a", folds=4, test=0.1, seed=2)
    assert (tmp_path / "a" / "splits.json").read_bytes() != texts[0]


def parts_of(found):
    parts = dict.fromkeys(found["test"], "test")
    return parts | {case: str(n) for n, fold in enumerate(found["folds"]) for case in fold["val"]}


@pytest.mark.parametrize("stable", [False, True])
def test_nothing_of_a_patient_is_in_two_parts(tmp_path, stable):
    write_cases(tmp_path, names(30, visits=3))
    _, found = split(tmp_path, folds=3, test=0.2, group_by="^[^_]+", stable=stable)
    parts = parts_of(found)
    for patient in range(10):
        assert len({parts[f"p{patient:02d}_{visit}"] for visit in range(3)}) == 1
    assert found["groups"]["p04"] == ["p04_0", "p04_1", "p04_2"]
    if not stable:
        assert len(found["test"]) == 6


def test_groups_and_strata_of_a_table(tmp_path):
    cases = names(24)
    write_cases(tmp_path, cases)
    rows = [f"{case},site{number % 3},{'ab'[number % 4 == 0]}" for number, case in enumerate(cases)]
    (tmp_path / "t.csv").write_text("\n".join(["case,site,grade", *rows]))
    _, found = split(tmp_path, folds=3, table=tmp_path / "t.csv", group_by="site")
    sites = [{cases.index(case) % 3 for case in fold["val"]} for fold in found["folds"]]
    assert sorted(map(sorted, sites)) == [[0], [1], [2]]
    _, found = split(tmp_path, folds=3, table=tmp_path / "t.csv", stratify="grade")
    for fold in found["folds"]:
        assert sum(cases.index(case) % 4 == 0 for case in fold["val"]) == 2


def test_every_fold_has_its_share_of_every_class(tmp_path):
    def classes(number):
        return [value for value, step in ((1, 1), (2, 2), (3, 6)) if number % step == 0]

    write_cases(tmp_path, names(36), classes)
    _, found = split(tmp_path, folds=3, stratify="classes", seed=5)
    for fold in found["folds"]:
        counts = Counter(value for case in fold["val"] for value in classes(names(36).index(case)))
        assert counts == {1: 12, 2: 6, 3: 2}
    itkit.run("itk_check", mode="check", source=tmp_path / "label")
    assert split(tmp_path, folds=3, stratify="classes", seed=5)[1] == found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=4, max_size=30), st.integers(2, 4), st.integers(0, 99), st.randoms())
def test_sizes_are_kept_as_far_as_groups_allow(sizes, folds, seed, shuffle):
    units = [Unit(f"u{n}", tuple(f"{n}_{c}" for c in range(size)), {"s": n % 2}) for n, size in enumerate(sizes)]
    total = sum(sizes)
    wanted = {str(n): total // folds + (n < total % folds) for n in range(folds)}
    parts = balanced_parts(units, wanted, seed=seed)
    shuffled = list(units)
    shuffle.shuffle(shuffled)
    assert balanced_parts(shuffled, wanted, seed=seed) == parts
    got = Counter()
    for unit in units:
        got[parts[unit.name]] += len(unit.cases)
    if max(sizes) == 1:
        assert dict(got) == {part: size for part, size in wanted.items() if size}
    assert all(abs(got[part] - size) <= max(sizes) for part, size in wanted.items())


def test_a_new_case_never_moves_an_old_one(tmp_path):
    few, many = names(20), [*names(20), *(f"q{number}" for number in range(40))]
    write_cases(tmp_path / "few", few)
    write_cases(tmp_path / "many", many)
    for values in ({"folds": 4, "test": 0.2}, {"test": 0.2, "val": 0.2}):
        before, after = (
            parts_of(split(tmp_path / root, stable=True, seed=1, existing="redo", **values)[1])
            for root in ("few", "many")
        )
        assert {case: after.get(case) for case in before} == before
    sizes = Counter(parts_of(split(tmp_path / "many", folds=2, stable=True)[1]).values())
    assert min(sizes.values()) > 20


def test_pins_hold_and_count(raw, tmp_path):
    (tmp_path / "pin.csv").write_text("case,part\np00_0,test\np01_0,train\np02_0,3\np99_0,test\n")
    events = []
    values = {"pin": tmp_path / "pin.csv", "output": tmp_path / "s.json", "on_event": events.append}
    _, found = split(raw, folds=4, test=0.25, **values)
    assert "p00_0" in found["test"]
    assert len(found["test"]) == 6
    assert "p02_0" in found["folds"][3]["val"]
    assert all("p01_0" in fold["train"] for fold in found["folds"])
    assert "not here: p99_0" in str(events[0])
    (tmp_path / "pin.csv").write_text("case,part\np00_0,val\np01_0,test\n")
    _, found = split(raw, test=0.25, pin=tmp_path / "pin.csv", output=tmp_path / "t.json")
    assert found["folds"][0]["val"] == ["p00_0"]
    assert "p01_0" in found["test"]


def test_nnunets_form(tmp_path):
    write_cases(tmp_path, names(10))
    _, found = split(tmp_path, folds=5, nnunet=True)
    final = json.loads((tmp_path / "splits_final.json").read_text())
    assert final == [{"train": fold["train"], "val": fold["val"]} for fold in found["folds"]]
    assert split(tmp_path, folds=2, nnunet=True)[0].exit_code == 0
    (tmp_path / "splits_final.json").write_text("[]")
    result, _ = split(tmp_path, folds=3, nnunet=True)
    assert result.exit_code == 2
    assert "splits_final.json was not written by this command" in result.summary.lines[0]
    assert len(split(tmp_path, folds=2)[1]["folds"]) == 2


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    write_cases(tmp_path, names(6))
    assert split(tmp_path, folds=2)[0].exit_code == 0
    edited = (tmp_path / "splits.json").read_text().replace("p00_0", "p99_0")
    (tmp_path / "splits.json").write_text(edited)
    result, _ = split(tmp_path, folds=3)
    assert result.exit_code == 2
    assert "left alone" in result.summary.lines[0]
    assert (tmp_path / "splits.json").read_text() == edited
    assert len(split(tmp_path, folds=3, existing="redo")[1]["folds"]) == 3
    assert split(tmp_path, folds=2, existing="error")[0].exit_code == 2
    assert len(split(tmp_path, folds=2, dry_run=True)[1]["folds"]) == 3


@pytest.mark.parametrize("stable", [False, True])
def test_folds_may_validate_with_a_part_of_the_cases_alone(tmp_path, stable):
    cases = names(200, visits=2)
    write_cases(tmp_path, cases)
    values = {"folds": 3, "test": 0.2, "val": 0.1, "stable": stable, "group_by": "^[^_]+", "seed": 5}
    result, found = split(tmp_path, **values)
    assert result.exit_code == 0
    parts = [fold["val"] for fold in found["folds"]]
    rest = sorted(set(cases) - set(found["test"]))
    assert len({case for part in parts for case in part}) == sum(map(len, parts))  # none validates twice
    for fold in found["folds"]:
        assert sorted(fold["train"] + fold["val"]) == rest
        assert not {case[:4] for case in fold["train"]} & {case[:4] for case in fold["val"]}
        assert len(fold["val"]) == 20 or (stable and 8 <= len(fold["val"]) <= 36)
    turns = {"folds": 3, "test": 0.1, "stable": stable, "seed": 1}
    assert split(tmp_path, **turns)[1]["folds"] == split(tmp_path, **turns, val=0.3)[1]["folds"]


def test_a_dry_run_names_the_files(tmp_path):
    write_cases(tmp_path, names(4))
    result = itkit.run("itk_split", source=tmp_path, folds=2, nnunet=True, dry_run=True)
    assert result.summary.lines == (f"planned: for all cases -> {tmp_path / 'splits.json'}, "
                                    f"{tmp_path / 'splits_final.json'}",)  # fmt: skip
    assert not list(tmp_path.glob("*.json"))


def test_no_file_of_the_user_is_replaced(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 4)
    notes, image = tmp_path / "notes.txt", tmp_path / "raw" / "image" / f"{ids[0]}.nii.gz"
    notes.write_text("mine")
    assert itkit.run("itk_split", source=tmp_path / "raw", folds=2, output=notes).exit_code == 2
    assert notes.read_text() == "mine"
    (tmp_path / "pins.csv").write_text(f"case,part\n{ids[0]},0\n")
    for path in (image, tmp_path / "pins.csv"):
        before = path.read_bytes()
        with pytest.raises(ItkitError, match="is an input and would be overwritten"):
            itkit.run(
                "itk_split", source=tmp_path / "raw", folds=2, pin=tmp_path / "pins.csv", output=path, existing="redo"
            )
        assert path.read_bytes() == before


def test_unpaired_and_unreadable_cases_are_named_and_left_out(tmp_path):
    ids = phantoms.write_dataset(tmp_path, 6)
    (tmp_path / "image" / f"{ids[0]}.nii.gz").unlink()
    (tmp_path / "label" / f"{ids[1]}.nii.gz").write_bytes(b"broken")
    result, found = split(tmp_path, folds=2)
    assert result.exit_code == 1
    assert list(result.summary.unpaired) == [ids[0]]
    assert [record.case_id for record in result.records if record.status == "failed"] == [ids[1]]
    assert sorted(case for fold in found["folds"] for case in fold["val"]) == ids[2:]
    with pytest.raises(ItkitError, match="--strict"):
        split(tmp_path, folds=2, strict=True)
    assert split(tmp_path, folds=2, shard="1/2")[0].exit_code == 1


def test_channels_are_one_case_and_a_flat_folder_will_do(tmp_path):
    ids = phantoms.write_channels(tmp_path / "mr", 4)
    _, found = split(tmp_path / "mr", folds=2)
    assert sorted(case for fold in found["folds"] for case in fold["val"]) == ids
    shutil.copytree(tmp_path / "mr" / "label", tmp_path / "flat")
    assert split(tmp_path / "flat", val=0.5)[0].exit_code == 0


def test_many_numbers_become_quarters():
    assert in_bins({"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    ages = {str(number): f"{number + 0.5}" for number in range(20)}
    assert Counter(in_bins({**ages, "none": ""}).values()) == {f"quarter {n}": 5 for n in range(1, 5)} | {"": 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "nothing to divide"),
        ({"folds": 1}, "--folds: expected >= 2"),
        ({"folds": 25}, "there are only 24 cases"),
        ({"folds": 5, "val": 0.3}, "--val is at most 0.2 here"),
        ({"folds": 3, "val": 0.3, "test": 0.2}, "--val is at most 0.2667 here"),
        ({"test": 0.6, "val": 0.5}, "leave no case to train with"),
        ({"test": -0.1}, "--test: expected >= 0 and < 1"),
        ({"folds": 2, "stable": True, "stratify": "classes"}, "drop it or --stable"),
        ({"folds": 2, "stratify": "site"}, "a column of --table"),
        ({"folds": 2, "group_by": "("}, "neither a column nor a regular expression"),
        ({"folds": 2, "group_by": "xyz"}, "no case has such a group"),
        ({"folds": 24, "group_by": "p"}, "there are only 1 group"),
        ({"folds": 2, "table": "none.csv", "group_by": "site"}, "can't be read"),
        ({"folds": 2, "table": "none.csv"}, "--table only matters with --group-by"),
    ],
)
def test_what_is_unclear_is_refused(raw, tmp_path, values, said):
    with pytest.raises(ItkitError, match=said):
        split(raw, output=tmp_path / "s.json", **values)
    assert not (tmp_path / "s.json").exists()


def test_pins_that_contradict_are_refused(raw, tmp_path):
    for text, said in (
        ("case,part\np00_0,7\n", "expected one of train, test, 0, 1; got '7'"),
        ("case,part\np00_0,test\np01_0,0\n", "the group 'p0' would be in test and 0"),
    ):
        (tmp_path / "pin.csv").write_text(text)
        with pytest.raises(ItkitError, match=said):
            split(raw, folds=2, pin=tmp_path / "pin.csv", group_by="^p.", output=tmp_path / "s.json")
