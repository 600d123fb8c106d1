"""Files that no command reads are named, and a folder that is laid out otherwise is told how it should be."""

import unicodedata

import pytest

from itkit.core.errors import LayoutError
from itkit.io.layouts import find_dataset
from itkit.io.overlooked import advice, not_read, pairs_in_one_folder


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("name", "help_"),
    [
        ("p.hdr", "nibabel"),
        ("p.IMG", "nibabel"),
        ("p.img.gz", "nibabel"),
        ("p.mgz", "mri_convert"),
        ("p.bz2", "unpack"),
        ("p.nii.bz2", "unpack"),
        ("p.dcm", "itk_convert dicom"),
        ("p.tif", "3D Slicer"),
        ("p.png", "3D Slicer"),
        ("p.mnc", "3D Slicer"),
        ("p.npz", "itkit.write"),
        ("p.raw", ".mhd"),
    ],
)
def test_a_file_of_another_format_is_counted_named_and_told_what_helps(tmp_path, name, help_):
    (note,) = not_read(touch(tmp_path, name, "a.nii.gz", "notes.txt", "series_meta.json", f".{name}"))
    assert "1 file not read" in note
    assert name in note
    assert help_ in note


def test_data_files_of_headers_and_other_files_are_no_matter(tmp_path):
    assert not_read(touch(tmp_path, "a.mhd", "a.raw", "b.nhdr", "b.zraw", "c.mha", "table.csv")) == ()
    assert not_read(touch(tmp_path, "deep/x.img")) == ()
    assert "deep/x.img" in not_read(tmp_path, recursive=True)[0]


def test_many_files_are_counted_and_some_named(tmp_path):
    (note,) = not_read(touch(tmp_path, *(f"p{number}.mgz" for number in range(9))))
    assert "9 files not read" in note
    assert "p0.mgz, p1.mgz, p2.mgz, p3.mgz and 5 more" in note


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ("images/a.mha", "labels/a.mha"),
            "holds images/ and labels/: pairs are looked for in image/ and label/; rename to image/ and label/",
        ),
        (("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"), "itkit convert-dataset nnunet"),
        (("Dataset001_X/imagesTr/a_0000.nii.gz",), "itkit convert-dataset nnunet"),
        (("p1/a.mha", "p1/b.mha", "p2/a.mha"), "volumes lie one level down, in p1/ (2 volumes), p2/ (1 volume)"),
        (("a/b/c.mha", "a/b/d.mha"), "volumes lie deeper, e.g. a/b/"),
        (("a.mha",), "move them to image/ and label/"),
        (("a.img", "a.hdr"), "2 files not read (Analyze or NIfTI pairs)"),
    ],
)
def test_a_folder_without_image_and_label_is_told_what_it_looks_like(tmp_path, names, says):
    touch(tmp_path, *names)
    assert says in advice(tmp_path)
    with pytest.raises(LayoutError) as error:
        find_dataset(tmp_path)
    assert says in str(error.value)


def test_pairs_that_lie_in_one_folder_are_seen():
    assert pairs_in_one_folder(["a_0000", "a_seg", "b", "b.seg", "c_mask", "d", "e1", "e2"]) == [
        ("a_0000", "a_seg"),
        ("b", "b.seg"),
    ]
    assert unicodedata.normalize("NFD", "ü") != "ü"
    assert pairs_in_one_folder([unicodedata.normalize("NFD", "ü"), "ü_label"]) == [("u\u0308", "ü_label")]


def test_the_images_of_a_dataset_are_called_a_part_of_it(tmp_path):
    dataset = touch(tmp_path / "raw", "image/a.mha", "label/a.mha")
    with pytest.raises(LayoutError, match=r"image/label; it is a part of the dataset .*raw: give that folder$"):
        find_dataset(dataset / "image")


def test_a_dataset_that_a_command_for_one_folder_gets_is_called_one(tmp_path):
    assert "it is a dataset" in advice(touch(tmp_path, "image/a.mha", "label/a.mha"))
