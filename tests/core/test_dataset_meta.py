"""What a dataset's description says, and what becomes of it."""

import pytest

from itkit.core.dataset_meta import DatasetMeta

OURS = {
    "name": "kits",
    "licence": "CC BY",
    "labels": {"0": "background", "1": "kidney", "2": "tumour", "3": "cyst"},
    "regions": {"lesion": [2, 3], "rest": [1]},
    "splits": {"train": ["a", "b"], "test": ["c"]},
    "counts": {"cases": 3, "with_label": 3, "train": 2, "test": 1},
    "cases": {"a": {"patient": 1, "classes": [1, 3]}, "b": {"patient": 2}, "c": {}},
    "warnings": {"c": ["w"]},
}
NNUNET = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "whole": [1, 2], "core": 2},
    "numTraining": 7,
    "file_ending": ".nii.gz",
}


def test_it_is_restricted_to_the_cases_that_are_there():
    meta = DatasetMeta(OURS).restricted({"a": "a", "b": "b"}, {"a"})
    assert meta.values["cases"].keys() == {"a", "b"}
    assert meta.splits == {"train": ("a", "b")}
    assert meta.values["counts"] == {"cases": 2, "with_label": 1, "train": 2}
    assert meta.values["warnings"] == {}
    assert list(meta.values) == list(OURS)


def test_copies_of_a_case_stay_in_its_split():
    meta = DatasetMeta(OURS).restricted({"a_1": "a", "a_0": "a", "c_0": "c"}, set())
    assert meta.splits == {"train": ("a_0", "a_1"), "test": ("c_0",)}
    assert meta.cases["a_1"] == OURS["cases"]["a"]


def test_classes_are_renamed_joined_and_dropped():
    meta = DatasetMeta(OURS).relabelled({2: 1, 3: 1, 1: 5})
    assert meta.values["labels"] == {"0": "background", "1": "tumour+cyst", "5": "kidney"}
    assert meta.values["regions"] == {"lesion": [1], "rest": [5]}
    assert meta.cases["a"]["classes"] == [1, 5]
    assert DatasetMeta(OURS).relabelled({3: 1}).values["labels"] == {"0": "background", "1": "cyst"}
    assert DatasetMeta(OURS).relabelled({3: 4}, keep_rest=True).labels == {
        0: "background", 1: "kidney", 2: "tumour", 4: "cyst"}  # fmt: skip


def test_nnunets_form_is_read_and_keeps_its_form():
    meta = DatasetMeta(NNUNET)
    assert (meta.channels, meta.endings, meta.labels) == (("T1", "T2"), ("0000", "0001"), {0: "background", 2: "core"})
    after = meta.relabelled({2: 9}).restricted({"a": "a"}, {"a"})
    assert after.values == {"channel_names": NNUNET["channel_names"],
                            "labels": {"background": 0, "core": 9, "whole": [9]}}  # fmt: skip


def test_history_grows_and_nothing_else_changes():
    meta = DatasetMeta(OURS).after("itk_orient", {"orient": "LPI"}).after("itk_patch", {})
    assert [entry["operation"] for entry in meta.history] == ["itk_orient", "itk_patch"]
    assert meta.history[0]["params"] == {"orient": "LPI"}
    assert {name: meta.values[name] for name in OURS} == OURS


@pytest.mark.parametrize("name", ["MSD", "other"])
def test_a_modality_of_another_shape_is_no_list_of_channels(name):
    modality = {"MSD": {"0": "CT"}, "other": {"scanner": "CT"}}[name]
    assert DatasetMeta({"modality": modality}).channels == {"MSD": ("CT",), "other": ()}[name]


@pytest.mark.parametrize(("stated", "is_"), [("CT", "CT"), (["MR"], "MR"), (["CT", "MR"], ""), (None, "")])
def test_a_modality_is_a_word_or_a_list(stated, is_):
    assert DatasetMeta({"modality": stated}).modality == is_
