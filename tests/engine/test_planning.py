"""What a run says of its source before it starts."""

import unicodedata

import pytest

from itkit.catalogue import load
from itkit.core.errors import LayoutError
from itkit.core.geometry import Geometry
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.engine.planning import make_plan
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

PARAMS = {
    "itk_resample": {"mode": "image", "spacing": (2, 1, 1)},
    "itk_orient": {"orient": "RAS"},
    "itk_convert": {"mode": "format", "ext": ".mha"},
    "itk_extract": {"mappings": ("1:1",)},
}


def volume(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(phantoms.l_shape(Geometry((6, 5, 4), (1.0, 1.0, 1.0))), path)


def notes(name, root, **more):
    values = {"source": root / "raw", "dest": root / "out", **PARAMS.get(name, {}), **more}
    operation = load(name)
    return make_plan(operation, make_params(operation.params, values), RunOptions()).notes


@pytest.mark.parametrize("name", ["itk_resample", "itk_orient", "itk_convert", "itk_extract"])
def test_every_command_names_what_it_does_not_read(tmp_path, name):
    volume(tmp_path / "raw/a.mha")
    for other in ("p.hdr", "p.img", "q.mgz"):
        (tmp_path / "raw" / other).write_bytes(b"")
    text = "\n".join(notes(name, tmp_path))
    assert "2 files not read (Analyze or NIfTI pairs): p.hdr, p.img" in text
    assert "q.mgz" in text


def test_a_folder_of_other_formats_alone_is_refused_by_their_names(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/p.mgz").write_bytes(b"")
    with pytest.raises(LayoutError, match=r"p\.mgz; convert them with mri_convert"):
        notes("itk_resample", tmp_path)


def test_a_folder_whose_volumes_lie_one_level_down_is_refused_by_their_place(tmp_path):
    volume(tmp_path / "raw/p1/a.mha")
    with pytest.raises(LayoutError, match=r"one level down, in p1/ \(1 volume\).*-r"):
        notes("itk_resample", tmp_path)


def dataset_notes(root, image, label):
    volume(root / f"raw/image/{image}.mha")
    volume(root / f"raw/label/{label}.mha")
    volume(root / "raw/image/good.mha")
    volume(root / "raw/label/good.mha")
    return "\n".join(notes("itk_resample", root, mode="dataset"))


@pytest.mark.parametrize(
    ("image", "label"), [("a_0000", "a"), ("a", "a_seg"), ("a", "a.seg"), ("a", "a_0000"), ("a_0000", "a_label")]
)
def test_pairs_whose_names_differ_by_a_mark_are_named(tmp_path, image, label):
    text = dataset_notes(tmp_path, image, label)
    assert f"1 pair of files looks like image and label ({image} and {label})" in text
    assert "rename" in text


def test_names_that_look_the_same_and_are_encoded_otherwise_are_named(tmp_path):
    assert "NFC and NFD" in dataset_notes(tmp_path, "M\u00fcller", unicodedata.normalize("NFD", "M\u00fcller"))


def test_files_that_are_no_pair_are_not_called_one(tmp_path):
    assert "looks like" not in dataset_notes(tmp_path, "a", "b")


def test_images_and_labels_in_one_folder_are_named(tmp_path):
    for name in ("a", "a_seg", "b"):
        volume(tmp_path / f"raw/{name}.mha")
    text = "\n".join(notes("itk_orient", tmp_path))
    assert "1 pair of files looks like image and label (a and a_seg); to pair them, move images to image/" in text
    assert "itk_collect can sort them" in text


@pytest.mark.parametrize(
    ("folders", "says"),
    [(("images", "labels"), "rename to image/"), (("imagesTr", "labelsTr"), "convert-dataset nnunet")],
)
def test_a_tree_of_another_layout_is_read_as_single_files_and_said_so(tmp_path, folders, says):
    for folder in folders:
        volume(tmp_path / "raw" / folder / "a.mha")
    text = "\n".join(notes("itk_orient", tmp_path))
    assert says in text
    with pytest.raises(LayoutError, match=says):
        notes("itk_resample", tmp_path)
    with pytest.raises(LayoutError, match=says):
        notes("itk_resample", tmp_path, mode="dataset")
