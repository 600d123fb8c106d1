"""Which files of a folder make a case: one image, a file a channel, vectors, nnU-Net's numbers."""

import json

import pytest

from itkit.io.layouts import find_images, find_pairs


def files(root, images, labels=(), **about):
    for folder, names in (("image", images), ("label", labels)):
        (root / folder).mkdir(exist_ok=True)
        for name in names:
            (root / folder / f"{name}.mha").write_bytes(b"")
    if about:
        (root / "dataset.json").write_text(json.dumps(about))
    return find_pairs(root / "image", root / "label")


def shape(pairs):
    return {case: {name: path.name for name, path in parts.items()} for case, parts in pairs.pairs.items()}


def test_channels_that_dataset_json_lists(tmp_path):
    pairs = files(tmp_path, ["a_t1", "a_T1-c", "b_t1", "b_T1-c"], "ab", channels=["t1", "T1 c"])
    assert shape(pairs) == {
        case: {"image_t1": f"{case}_t1.mha", "image_T1-c": f"{case}_T1-c.mha", "label": f"{case}.mha"} for case in "ab"
    }
    assert not pairs.unpaired


def test_the_longest_channel_that_fits_counts(tmp_path):
    pairs = files(tmp_path, ["a_c", "a_t1_c".replace("_c", "-c"), "b-c_c", "b-c_t1-c"], ["a", "b-c"],
                  channels=["c", "t1-c"])  # fmt: skip
    assert list(shape(pairs)) == ["a", "b-c"]


def test_a_missing_channel_is_a_problem_of_its_case_and_a_stray_file_is_named(tmp_path):
    pairs = files(tmp_path, ["a_t1", "b_t1", "b_t2", "b_seg"], "ab", channels=["t1", "t2"])
    assert pairs.images.problems == {"a": "1 channel missing: no a_t2 beside a_t1.mha"}
    assert [(item.case_id, item.lacks) for item in pairs.unpaired] == [("b_seg", "channel of this name (t1, t2)")]


def test_one_file_of_vectors(tmp_path):
    pairs = files(tmp_path, "ab", "ab", channels=["t1", "t2"])
    assert shape(pairs) == {case: {"image": f"{case}.mha", "label": f"{case}.mha"} for case in "ab"}
    assert pairs.images.components == (2,)


def test_one_channel_is_as_it_always_was(tmp_path):
    pairs = files(tmp_path, ["a_t1"], ["a_t1"], channels=["t1"])
    assert shape(pairs) == {"a_t1": {"image": "a_t1.mha", "label": "a_t1.mha"}}
    assert pairs.images.components == (1,)


@pytest.mark.parametrize("about", [{}, {"channel_names": {"0": "T1", "1": "T2"}}])
def test_numbers_of_nnunet(tmp_path, about):
    pairs = files(tmp_path, ["p_01_0000", "p_01_0001", "q_0000", "q_0001"], ["p_01", "q"], **about)
    assert shape(pairs)["p_01"] == {"image_0000": "p_01_0000.mha", "image_0001": "p_01_0001.mha", "label": "p_01.mha"}
    assert list(pairs.pairs) == ["p_01", "q"]


def test_numbers_of_cases_are_no_channels(tmp_path):
    names = ["amos_0000", "amos_0001", "amos_0002"]
    assert list(files(tmp_path, names, names).pairs) == names
    assert list(find_images(tmp_path / "image").cases) == names
    assert list(find_images(tmp_path / "image", labels=()).cases) == names


def test_a_single_numbered_channel_pairs_where_dataset_json_says_so(tmp_path):
    pairs = files(tmp_path, ["a_0000"], ["a"], channel_names={"0": "CT"})
    assert shape(pairs) == {"a": {"image_0000": "a_0000.mha", "label": "a.mha"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object"),
        ('{"channels": "t1"}', "channels: expected a list"),
        ('{"channels": ["t1", "t 1", "t-1"]}', "must differ"),
        ('{"channels": ["../a", ""]}', "must differ"),
        ('{"labels": {"a": NaN}}', "NaN"),
        ('{"labels": [1]}', "labels: expected"),
        ('{"splits": {"train": 3}}', "splits: expected"),
        ('{"cases": ["a"]}', "cases: expected"),
        ("[" * 100_000, "nested too deeply"),
        ('{"labels": {"0": ' + "9" * 6000 + "}}", "digits"),
    ],
)
def test_an_unusable_dataset_json_is_named_and_the_run_goes_on(tmp_path, text, why):
    (tmp_path / "dataset.json").write_text(text)
    pairs = files(tmp_path, ["a"], ["a"])
    assert list(pairs.pairs) == ["a"]
    (note,) = pairs.images.described.notes
    assert why in note
    assert str(tmp_path / "dataset.json") in note


def test_a_channel_never_leaves_the_folder(tmp_path):
    pairs = files(tmp_path, ["a_etc-passwd", "a_b"], ["a"], channels=["../../etc/passwd", "b"])
    assert pairs.images.problems == {"a": "1 channel missing: no a_..-..-etc-passwd beside a_b.mha"}
    assert [item.case_id for item in pairs.unpaired] == ["a_etc-passwd"]


def test_a_description_beside_a_folder_counts_only_for_a_part_of_its_dataset(tmp_path):
    files(tmp_path, ["a_t1", "a_t2"], ["a"], channels=["t1", "t2"])
    (tmp_path / "other").mkdir()
    for name in ("a_t1", "a_t2"):
        (tmp_path / "other" / f"{name}.mha").write_bytes(b"")
    assert list(find_images(tmp_path / "image").cases) == ["a"]
    assert list(find_images(tmp_path / "other").cases) == ["a_t1", "a_t2"]
