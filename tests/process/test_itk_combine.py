"""Label maps merged: the first rule wins, raters agree as SimpleITK says, every voxel is accounted for."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.errors import ParamsError
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid, resampled_grid
from itkit.core.volume import Volume
from itkit.io.json_files import write_json
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.combining import Rule, combine_labels, fuse_labels
from itkit.process.geometry import orient
from itkit.testing import phantoms

GRID = phantoms.GRIDS["oblique"]


def raters(count=4, n=5, seed=0):
    """Label maps of raters who agree on most voxels, in runs and in noise."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, n, (9, 14, 1)), 11, axis=2)
    found = {}
    for number in range(count):
        noise = rng.integers(0, n, truth.shape)
        array = np.where(rng.random(truth.shape) < 0.3, noise, truth)
        found[f"r{number}"] = Volume(array.astype(("uint8", "int16", "uint16")[number % 3]), GRID, "label")
    return found


def test_the_first_rule_that_claims_a_voxel_wins():
    sources = raters(3)
    rules = [Rule("r1", (2,), -7), Rule("r0", (1, 2), 300), Rule("r2", (0, 4), 1), Rule("r0", (2,), 5)]
    masks = [np.isin(sources[rule.source].array_zyx, rule.classes) for rule in rules]
    expected = np.select(masks, [rule.target for rule in rules], 0)
    combined = combine_labels(sources, rules)
    np.testing.assert_array_equal(combined.volume.array_zyx, expected)
    assert combined.volume.dtype == np.int16
    assert combined.volume.geometry == GRID
    taken = np.zeros(expected.shape, bool)
    for rule, mask in zip(rules, masks, strict=True):
        assert combined.won[rule] == (mask & ~taken).sum()
        assert combined.claimed[rule] == mask.sum()
        taken |= mask
    for one in range(4):
        for other in range(one + 1, 4):
            count = (masks[one] & masks[other]).sum()
            assert combined.overlaps.get((rules[one], rules[other]), 0) == count
    assert combined.unclaimed["r0"] == {
        3: (sources["r0"].array_zyx == 3).sum(),
        4: (sources["r0"].array_zyx == 4).sum(),
    }


def test_majority_is_the_vote_of_simpleitk():
    found = raters(4)
    images = [sitk.Cast(volume.to_sitk(), sitk.sitkUInt8) for volume in found.values()]
    voted = sitk.GetArrayFromImage(sitk.LabelVoting(images, 99))
    fused = fuse_labels(found, "majority")
    np.testing.assert_array_equal(fused.volume.array_zyx, np.where(voted == 99, 0, voted))
    assert fused.undecided == (voted == 99).sum() > 0
    assert fused.volume.dtype == np.uint8


def test_union_and_intersection():
    found = raters(3)
    stack = np.stack([volume.array_zyx for volume in found.values()])
    same = (stack == stack[0]).all(axis=0)
    np.testing.assert_array_equal(fuse_labels(found, "intersection").volume.array_zyx, np.where(same, stack[0], 0))
    union = fuse_labels(found, "union")
    array = union.volume.array_zyx
    np.testing.assert_array_equal(array > 0, (stack > 0).any(axis=0))
    votes = np.stack([(stack == value).sum(axis=0) for value in range(5)])
    votes[0] = 0
    best = votes.max(axis=0)
    assert (np.take_along_axis(votes, array[None].astype(int), 0)[0][best > 0] == best[best > 0]).all()
    tied = (votes == best).sum(axis=0) > 1
    assert union.undecided == (tied & (best > 0)).sum() > 0
    foreground = np.where(stack > 0, stack, -1)
    firsts = np.array([[next(v for v in column if v > 0) for column in foreground[:, tied & (best == 1)].T]])
    np.testing.assert_array_equal(array[tied & (best == 1)], firsts[0])


def test_staple_is_that_of_simpleitk():
    found = raters(4, n=3)
    fused = fuse_labels(found, "staple")
    probabilities = {}
    for value in (1, 2):
        masks = [sitk.Equal(sitk.Cast(volume.to_sitk(), sitk.sitkInt32), value) for volume in found.values()]
        probabilities[value] = sitk.GetArrayFromImage(sitk.STAPLE(masks, 1.0))
    expected = np.zeros(GRID.size_zyx, np.uint8)
    first, second = probabilities[1], probabilities[2]
    expected[first > 0.5] = 1
    expected[(second > 0.5) & (second > first)] = 2
    np.testing.assert_array_equal(fused.volume.array_zyx, expected)
    assert fused.facts["threshold"] == 0.5
    assert set(fused.facts["classes"]["1"]["sensitivity"]) == set(found)


def test_staple_of_a_class_that_fills_the_volume_is_what_all_say():
    full = Volume(np.full(GRID.size_zyx, 3, np.uint8), GRID, "label")
    fused = fuse_labels({"a": full, "b": full}, "staple")
    assert (fused.volume.array_zyx == 3).all()
    assert fused.facts["classes"]["3"]["sensitivity"] == {"a": None, "b": None}


def write_sources(root):
    for name, seed in (("organs", 0), ("tumours", 1)):
        for case, volume in zip(("a", "b b", "c"), raters(3, seed=seed).values(), strict=True):
            write_volume(volume, root / name / "label" / f"{case}{'.nii.gz' if seed else '.mha'}")
    (root / "tumours" / "label" / "c.nii.gz").unlink()
    (root / "more").mkdir()
    for path in (root / "organs" / "label").iterdir():
        (root / "more" / path.name).write_bytes(path.read_bytes())
    labels = {"0": "background", "1": "liver", "2": "spleen", "3": "kidney", "4": "lung"}
    write_json(root / "organs" / "dataset.json", {"labels": labels, "name": "two", "cases": {"a": {"classes": [1, 4]}}})


def test_a_case_that_several_sources_have_is_unpaired_once(tmp_path):
    write_sources(tmp_path)
    inputs = {"organs": tmp_path / "organs", "more": tmp_path / "more", "tumours": tmp_path / "tumours"}
    result = itkit.run("itk_combine", inputs=inputs, dest=tmp_path / "out", fuse="union")
    assert result.summary.unpaired == ("c",)
    assert "1 unpaired (c)" in result.summary.text()


def test_files_names_and_what_is_missing(tmp_path):
    write_sources(tmp_path)
    inputs = (f"organs={tmp_path}/organs", f"tumours={tmp_path}/tumours/label")
    rules = ("tumours:1->5", "organs:1,2->1", "organs:77->2")
    result = itkit.run("itk_combine", inputs=inputs, dest=tmp_path / "out", map=rules)
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mha")) == ["a.mha", "b b.mha"]
    assert list(result.summary.unpaired) == ["c"]
    assert result.summary.lines == (
        "warning: organs:77->2 found nothing: no label map of organs holds such a class",
        "note: without a rule, these classes of organs are left out: 3, 4",
        "note: without a rule, these classes of tumours are left out: 2, 3, 4",
    )
    meta = json.loads((tmp_path / "out" / "combine_meta.json").read_text())
    assert meta["operation"] == "itk_combine"
    assert list(meta["cases"]) == ["a", "b b"]
    one, two = (
        read_volume(tmp_path / n / "label" / f, "label").array_zyx
        for n, f in (("organs", "a.mha"), ("tumours", "a.nii.gz"))
    )
    won = {"tumours:1->5": (two == 1).sum(), "organs:1,2->1": (np.isin(one, (1, 2)) & (two != 1)).sum()}
    assert meta["cases"]["a"]["rules"] == {**won, "organs:77->2": 0}
    assert meta["cases"]["a"]["overlaps"] == {"tumours:1->5 | organs:1,2->1": (np.isin(one, (1, 2)) & (two == 1)).sum()}
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["labels"] == {"0": "background", "1": "liver+spleen", "2": "organs 77", "5": "tumours 1"}
    assert described["cases"] == {"a": {}}
    with pytest.raises(itkit.ItkitError, match="no tumours"):
        itkit.run("itk_combine", inputs=inputs, dest=tmp_path / "o", map=rules, strict=True)
    assert not (tmp_path / "o").exists()


def test_other_grids_fail_by_name_or_are_put_on_one(tmp_path):
    label = raters(1)["r0"]
    write_volume(label, tmp_path / "a" / "x.mha")
    grid = resampled_grid(oriented_grid(GRID, "RAS"), size_zyx=(5, 30, 9))
    other = Volume(np.arange(1350).reshape(5, 30, 9).astype(np.uint16) % 7, grid, "label")
    write_volume(other, tmp_path / "b" / "x.mha")
    values = {"inputs": (f"a={tmp_path}/a", f"b={tmp_path}/b"), "map": ("b:3->2", "a:1->1")}
    result = itkit.run("itk_combine", dest=tmp_path / "out", **values)
    assert result.exit_code == 1
    assert "a and b differ in size" in result.records[0].message
    assert "--on-grid a" in result.records[0].message
    result = itkit.run("itk_combine", dest=tmp_path / "on", on_grid="a", **values)
    assert result.exit_code == 0
    put = sitk.GetArrayFromImage(
        sitk.Resample(other.to_sitk(), label.to_sitk(), sitk.Transform(), sitk.sitkNearestNeighbor)
    )
    new = read_volume(tmp_path / "on" / "x.mha", "label")
    assert new.geometry.same_grid(GRID)
    np.testing.assert_array_equal(new.array_zyx, np.where(put == 3, 2, np.where(label.array_zyx == 1, 1, 0)))


def test_raters_from_files_and_their_facts(tmp_path):
    for name, volume in raters(3).items():
        write_volume(volume, tmp_path / name / "x.mha")
    inputs = tuple(f"{name}={tmp_path / name}" for name in raters(3))
    for how in ("majority", "staple"):
        assert itkit.run("itk_combine", inputs=inputs, dest=tmp_path / how, fuse=how, workers=2).exit_code == 0
        expected = fuse_labels(raters(3), how)
        np.testing.assert_array_equal(read_volume(tmp_path / how / "x.mha").array_zyx, expected.volume.array_zyx)
        facts = json.loads((tmp_path / how / "combine_meta.json").read_text())["cases"]["x"]
        assert facts["voxels"] == {str(value): count for value, count in expected.voxels.items()}
        assert facts["undecided"] == expected.undecided
    assert facts["threshold"] == 0.5


def test_a_rule_that_is_covered_is_told(tmp_path):
    label = raters(1)["r0"]
    write_volume(label, tmp_path / "a" / "x.mha")
    result = itkit.run("itk_combine", inputs=(f"a={tmp_path}/a",), dest=tmp_path / "o", map=("a:1,2->1", "a:2->2"))
    assert "a:2->2 claims" in result.records[0].warnings[0]
    assert "gets none" in result.records[0].warnings[0]


def test_a_class_on_which_raters_never_agree_is_told(tmp_path):
    rows = {"a": [0, 1, 2, 2], "b": [1, 1, 2, 0], "c": [0, 1, 5, 5]}
    grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0))
    found = {name: Volume(np.array([[row]], np.uint8), grid, "label") for name, row in rows.items()}
    for name, volume in found.items():
        write_volume(volume, tmp_path / name / "x.mha")
    inputs = tuple(f"{name}={tmp_path / name}" for name in rows)
    for how, lost in (("majority", {5: 2}), ("intersection", {2: 2, 5: 2}), ("union", {5: 2})):
        assert fuse_labels(found, how).lost == lost
        result = itkit.run("itk_combine", inputs=inputs, dest=tmp_path / how, fuse=how)
        assert "5 (2 voxels) lost" in result.records[0].warnings[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"inputs": ("a=x",), "map": ("b:1->1",)}, "no source 'b'; there are a"),
        ({"inputs": ("a=x",), "map": ("a:1>1",)}, "--map: expected NAME:CLASS"),
        ({"inputs": ("a=x", "a=y"), "map": ("a:1->1",)}, "the name 'a' is given twice"),
        ({"inputs": ("x",), "map": ("a:1->1",)}, "expected NAME=FOLDER; got 'x'"),
        ({"inputs": ("a=x",)}, "give either --map"),
        ({"inputs": ("a=x", "b=y"), "map": ("a:1->1",), "fuse": "union"}, "give either --map"),
        ({"inputs": ("a=x",), "fuse": "union"}, "at least two sources"),
        ({"inputs": ("a=x",), "map": ("a:1->1",), "on_grid": "c"}, "no source 'c'"),
        ({"inputs": ("a=x",), "map": ("a:1->99999999999999999999",)}, "--map: "),
    ],
)
def test_what_is_unclear_is_refused(tmp_path, values, said):
    with pytest.raises(ParamsError, match=said):
        itkit.run("itk_combine", dest=tmp_path / "o", **values)


def test_turned_sources_go_onto_the_grid_of_one_exactly(tmp_path):
    label = phantoms.l_shape(Geometry((9, 14, 11), (2.5, 0.8, 0.7)))
    write_volume(label, tmp_path / "a" / "x.mha")
    write_volume(orient(label, "SRA"), tmp_path / "b" / "x.mha")
    inputs = (f"a={tmp_path}/a", f"b={tmp_path}/b")
    assert itkit.run("itk_combine", inputs=inputs, dest=tmp_path / "o", fuse="intersection", on_grid="a").exit_code == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "o" / "x.mha").array_zyx, label.array_zyx)
