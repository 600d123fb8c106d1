"""Files that io has found, as jobs."""

import pytest

from itkit.core.errors import LayoutError
from itkit.process.plans import find_cases, find_many
from itkit.testing import phantoms


def test_cases_of_many_folders_pair_by_id_whatever_their_extension(tmp_path):
    phantoms.write_dataset(tmp_path / "a", 3)
    phantoms.write_dataset(tmp_path / "b", 2, suffix=".mha")
    many = find_many({"truth": tmp_path / "a" / "label", "model": tmp_path / "b" / "label"})
    assert list(many.complete()) == ["case_00", "case_01"]
    assert many.cases["case_00"]["model"].name == "case_00.mha"
    assert [(item.case_id, item.path.name, item.lacks) for item in many.unpaired] == [
        ("case_02", "case_02.nii.gz", "model")
    ]


def test_a_missing_folder_is_called_by_its_name(tmp_path):
    with pytest.raises(LayoutError, match="prediction folder"):
        find_many({"prediction": tmp_path / "none"})


def test_results_lie_as_the_source_does(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    whole = find_cases(tmp_path / "raw", tmp_path / "out", ".mha")
    assert whole.is_dataset
    assert [path.relative_to(tmp_path).as_posix() for path in whole.jobs[1].outputs()] == [
        "out/image/case_01.mha",
        "out/label/case_01.mha",
    ]
    flat = find_cases(tmp_path / "raw" / "image", tmp_path / "out", ".mha")
    assert not flat.is_dataset
    assert [path.relative_to(tmp_path).as_posix() for path in flat.jobs[1].outputs()] == ["out/case_01.mha"]
    (tmp_path / "raw" / "label").rename(tmp_path / "elsewhere")
    images = find_cases(tmp_path / "raw", tmp_path / "out", ".mha")
    assert [path.relative_to(tmp_path).as_posix() for path in images.jobs[1].outputs()] == ["out/image/case_01.mha"]
