"""The demo: its data is what it says, and the chain runs on any dataset."""

from pathlib import Path

import numpy as np
import pytest

from itkit.cli import demo, umbrella
from itkit.core.errors import LayoutError
from itkit.io.dataset_meta import find_dataset_meta
from itkit.io.layouts import find_dataset
from itkit.io.sitk_toolkit import read_volume
from itkit.testing import phantoms


def test_the_torso_has_its_licence_names_and_one_grid():
    folder = demo._TORSO
    image, label = read_volume(folder / "image.nii.gz"), read_volume(folder / "label.nii.gz", "label")
    assert image.geometry.same_grid(label.geometry)
    assert max(image.spacing_zyx) <= 3
    names = find_dataset_meta(folder).labels
    assert {value for value in np.unique(label.array_zyx).tolist() if value} == names.keys() - {0}
    assert len(names) > 60
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert "TotalSegmentator 2.18.0" in (folder / "README.md").read_text()
    liver, lung = (
        next(value for value, name in names.items() if name == word) for word in ("liver", "lung_lower_lobe_right")
    )
    means = {value: image.array_zyx[label.array_zyx == value].mean() for value in (liver, lung)}
    assert 0 < means[liver] < 120  # HU: the labels lie where the organs are
    assert -900 < means[lung] < -500
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2 << 20


def test_the_cases_are_one_patient_in_three_storage_orders(tmp_path):
    demo.write_torso_dataset(tmp_path)
    volumes = {case: read_volume(files["image"]) for case, files in find_dataset(tmp_path).pairs.items()}
    assert [volume.geometry.orientation for volume in volumes.values()] == ["RAS", "RAS", "SAR"]
    plain, turned = volumes["torso"], volumes["torso_reversed"]
    index = turned.geometry.index_zyx(plain.geometry.point_xyz((20, 30, 40)))
    z, y, x = (round(value) for value in index)
    assert turned.array_zyx[z, y, x] == plain.array_zyx[20, 30, 40]


def test_the_chain_runs_on_a_dataset_of_ones_own(tmp_path, capsys):
    phantoms.write_dataset(tmp_path / "raw", 2)
    code = umbrella.main(["demo", "--data", str(tmp_path / "raw"), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert code == 0, told
    page = (tmp_path / "out" / "report.html").read_text()
    for planned in demo.plan_chain(tmp_path / "raw", tmp_path / "out"):
        assert planned.command in page
    assert "Before and after" in page
    assert "Augmented copies" in page
    assert str(Path("out", "report.html")) in told


def test_an_empty_dataset_is_refused(tmp_path):
    for name in ("image", "label"):
        (tmp_path / name).mkdir()
    with pytest.raises(LayoutError, match="no pair"):
        demo.run_chain(tmp_path, tmp_path / "out", print)


def test_the_ct_alone_is_written_as_a_dataset(tmp_path, capsys):
    assert umbrella.main(["demo", "--only-data", str(tmp_path / "raw")]) == 0
    assert "raw: one CT" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["dataset.json", "image", "label"]
    assert len([*(tmp_path / "raw" / "label").iterdir()]) == 3


def test_only_data_joins_no_other_dataset_and_leaves_no_option_unused(tmp_path, capsys):
    phantoms.write_dataset(tmp_path / "raw", 1)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "raw").rglob("*")) if path.is_file()}
    assert umbrella.main(["demo", "--only-data", str(tmp_path / "raw")]) == 2
    assert "which is not of the demo; name a folder of its own" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in sorted((tmp_path / "raw").rglob("*")) if path.is_file()} == before
    assert umbrella.main(["demo", "--only-data", str(tmp_path / "x"), "--data", str(tmp_path / "raw")]) == 2
    assert "leave one of them out" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
