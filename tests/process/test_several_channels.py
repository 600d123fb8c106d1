"""A case of several images through every command: one grid, one transform, the same layout out, all files as one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.cli.main import main
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

sys.path.insert(0, str(Path(__file__).parents[1] / "dataset"))

BRATS = ("t1n", "t1c", "t2w", "t2f")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mha"))


@pytest.fixture(scope="module", params=["files", "vector"])
def brats(request, tmp_path_factory):
    """ITKIT's own conversion of a release of four channels, in both layouts."""
    from synthetic import release

    release = release("brats2024")
    dest = tmp_path_factory.mktemp("brats") / request.param
    assert itkit.run("convert_brats2024", source=release.source, dest=dest, channels=request.param).exit_code == 0
    return dest, request.param


def labelled(folder):
    return sorted(path.name.removesuffix(".mha") for path in (folder / "label").iterdir())


def expected(folder, layout, cases):
    endings = [f"_{channel}" for channel in BRATS] if layout == "files" else [""]
    return sorted([f"image/{case}{ending}.mha" for case in cases for ending in endings]
                  + [f"label/{case}.mha" for case in cases])  # fmt: skip


def test_a_converted_release_passes_through_every_command(brats, tmp_path):
    source, layout = brats
    cases = labelled(source)
    commands = {
        "check": ["itk_check", "copy", source, "-o", tmp_path / "check"],
        "orient": ["itk_orient", source, tmp_path / "orient", "RAS"],
        "resample": ["itk_resample", "dataset", source, tmp_path / "resample", "--spacing", 2, 2, 2],
        "patch": ["itk_patch", source, tmp_path / "patch", "--patch-size", 4, "--patch-stride", 64,
                  "--layout", "dataset"],
        "aug": ["itk_aug", source / "image", source / "label", "-oimg", tmp_path / "aug/image",
                "-olbl", tmp_path / "aug/label", "--random-rot", 9, 9, 9],
        "convert": ["itk_convert", "format", source, tmp_path / "convert", "--ext", ".mha"],
    }  # fmt: skip
    for command, *words in commands.values():
        main(command, list(map(str, words)))
    for name in ("check", "orient", "resample", "convert"):
        assert names(tmp_path / name) == expected(tmp_path / name, layout, cases), name
    assert names(tmp_path / "aug") == expected(tmp_path / "aug", layout, [f"{case}_0" for case in cases])
    patches = labelled(tmp_path / "patch")
    assert len(patches) > len(cases)
    assert names(tmp_path / "patch") == expected(tmp_path / "patch", layout, patches)


def test_vectors_are_resampled_as_itk_does(brats, tmp_path):
    source, layout = brats
    assert main("itk_resample", ["dataset", str(source), str(tmp_path), "--spacing", "2", "2", "2"]) == 0
    case = labelled(source)[0]
    ending = "" if layout == "vector" else "_t2w"
    image, new = (sitk.ReadImage(str(folder / f"image/{case}{ending}.mha")) for folder in (source, tmp_path))
    reference = sitk.Resample(image, new, sitk.Transform(), sitk.sitkLinear, 0.0, image.GetPixelID())
    inner = (slice(1, -1),) * 3
    found, wanted = (sitk.GetArrayFromImage(item)[inner].astype(float) for item in (new, reference))
    assert np.abs(found - wanted).max() <= max(1.0, 1e-4 * np.ptp(wanted))


def test_augmented_channels_share_a_transform_and_each_file_has_an_entry(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2)
    out = tmp_path / "aug"
    itkit.run("itk_aug", source=tmp_path / "raw/image", label_source=tmp_path / "raw/label",
              dest=out / "image", label_dest=out / "label", number=2, random_rot=(10, 5, 5))  # fmt: skip
    images, labels = (json.loads((out / name / "aug_meta.json").read_text()) for name in ("image", "label"))
    assert list(images) == [f"case_0{case}_{copy}_{channel}.mha"
                            for case in range(2) for copy in range(2) for channel in ("t1", "t2")]  # fmt: skip
    assert list(labels) == ["case_00_0.mha", "case_00_1.mha", "case_01_0.mha", "case_01_1.mha"]
    assert images["case_00_1_t1.mha"] == images["case_00_1_t2.mha"] == labels["case_00_1.mha"]


def test_patches_by_case_name_the_channel(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1)
    itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=4, patch_stride=8)
    (meta,) = json.loads((tmp_path / "out/crop_meta.json").read_text())["patch_meta"].values()
    said = [name for patch in meta["patches"] for name in patch["files"]]
    assert sorted(said) == sorted(path.name for path in (tmp_path / "out/case_00").glob("*_image_t[12].mha"))
    assert [patch["file"] for patch in meta["patches"]] == said[::2]


@pytest.mark.parametrize("layout", ["files", "vector"])
def test_a_store_holds_all_channels(tmp_path, layout):
    pytest.importorskip("blosc2")
    from itkit.io.formats.store import PatchStore

    phantoms.write_channels(tmp_path / "raw", 1, layout=layout)
    itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=4, patch_stride=4,
              store="blosc2")  # fmt: skip
    box = PatchStore(tmp_path / "out/case_00.b2z").read((1, 2, 3), (4, 4, 4))
    window = (slice(1, 5), slice(2, 6), slice(3, 7))
    for name in box:
        folder = "label" if name == "label" else "image"
        path = tmp_path / "raw" / folder / f"case_00{name.removeprefix(folder)}.mha"
        assert np.array_equal(box[name].array_zyx, read_volume(path, channels=True).array_zyx[window])
    assert list(box) == {"files": ["image_t1", "image_t2", "label"], "vector": ["image", "label"]}[layout]


def test_check_treats_the_files_of_a_case_as_one(tmp_path, capsys):
    ids = phantoms.write_channels(tmp_path / "raw", 4)
    (tmp_path / "raw/image" / f"{ids[1]}_t2.mha").unlink()
    crooked = tmp_path / "raw/image" / f"{ids[2]}_t2.mha"
    moved = read_volume(crooked)
    write_volume(moved.with_array(moved.array_zyx, moved.geometry.crop((0, 0, 1), moved.geometry.size_zyx)), crooked)
    assert main("itk_check", ["check", str(tmp_path / "raw")]) == 1
    said = capsys.readouterr().out
    assert f"\n{ids[1]}: 1 channel missing: no {ids[1]}_t2 beside {ids[1]}_t1.mha\n" in f"\n{said}"
    assert f"{ids[2]}: image_t1 and image_t2 differ in origin" in said
    assert main("itk_check", ["symlink", str(tmp_path / "raw"), "-o", str(tmp_path / "good")]) == 0
    assert labelled(tmp_path / "good") == [ids[0], ids[3]]
    described = json.loads((tmp_path / "good/dataset.json").read_text())
    assert list(described["cases"]) == [ids[0], ids[3]]
    assert described["history"][-1]["params"]["mode"] == "symlink"
    assert len(names(tmp_path / "good")) == 6
    assert main("itk_check", ["delete", str(tmp_path / "raw"), "--yes", "--max-size", "-1", "-1", "1"]) == 0
    assert names(tmp_path / "raw") == [f"image/{ids[1]}_t1.mha", f"label/{ids[1]}.mha"]  # it can't be read whole: kept


def test_deep_check_names_the_channel(tmp_path, capsys):
    phantoms.write_channels(tmp_path, 1, layout="vector")
    path = tmp_path / "image/case_00.mha"
    volume = read_volume(path, channels=True)
    array = volume.array_zyx.copy()
    array[..., 1] = 7
    write_volume(volume.with_array(array), path)
    assert main("itk_check", ["check", str(tmp_path), "--deep"]) == 1
    assert "image[1] is constant (7)" in capsys.readouterr().out


def test_a_vector_file_of_another_number_of_channels_fails_by_name(tmp_path):
    ids = phantoms.write_channels(tmp_path / "raw", 2, channels=("a", "b", "c"), layout="vector")
    path = tmp_path / "raw/image" / f"{ids[0]}.mha"
    volume = read_volume(path, channels=True)
    write_volume(volume.with_array(volume.array_zyx[..., :2]), path)
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="LPI")
    assert [record.status for record in result.records] == ["failed", "done"]
    assert "expected 3 values per voxel" in result.records[0].message


def test_vectors_that_no_dataset_json_lists_are_refused(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1, layout="vector")
    (tmp_path / "raw/dataset.json").unlink()
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="LPI")
    assert "RGB or vector" in result.records[0].message


def test_nnunet_numbers_without_a_description(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2, layout="numbers")
    result = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "out", orient="LPI")
    assert [record.case_id for record in result.records] == ["case_00", "case_01"]
    assert names(tmp_path / "out") == [f"image/case_0{case}_000{k}.mha" for case in range(2) for k in range(2)] + [
        "label/case_00.mha", "label/case_01.mha"]  # fmt: skip


def test_a_flat_folder_of_images_keeps_its_cases_together(tmp_path):
    ids = phantoms.write_channels(tmp_path / "raw", 2)
    (tmp_path / "raw/image" / f"{ids[1]}_t2.mha").unlink()
    result = itkit.run("itk_resample", mode="image", source=tmp_path / "raw/image", dest=tmp_path / "out",
                       spacing=(2, 2, 2))  # fmt: skip
    assert [(record.case_id, record.status) for record in result.records] == [(ids[0], "done"), (ids[1], "failed")]
    assert names(tmp_path / "out") == [f"{ids[0]}_t1.mha", f"{ids[0]}_t2.mha"]


def test_every_channel_goes_to_the_grid_of_the_reference(tmp_path):
    ids = phantoms.write_channels(tmp_path / "raw", 1)
    itkit.run("itk_resample", mode="dataset", source=tmp_path / "raw", dest=tmp_path / "fine",
              spacing=(1, 1, 1))  # fmt: skip
    itkit.run("itk_resample", mode="dataset", source=tmp_path / "raw", dest=tmp_path / "on",
              target_folder=tmp_path / "fine/label")  # fmt: skip
    grid = read_volume(tmp_path / f"fine/label/{ids[0]}.mha", "label").geometry
    for name in names(tmp_path / "on"):
        assert read_volume(tmp_path / "on" / name).geometry == grid
    assert len(names(tmp_path / "on")) == 3


def test_images_alone_are_cut_channel_by_channel(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2, layout="numbers")
    for path in (tmp_path / "raw/label").iterdir():
        path.unlink()
    (tmp_path / "raw/label").rmdir()
    itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=(9, 14, 11),
              patch_stride=4, still_save_when_no_label=True, layout="dataset")  # fmt: skip
    assert names(tmp_path / "out") == [
        f"image/case_0{case}_z0_y0_x0_000{number}.mha" for case in range(2) for number in range(2)
    ]


def test_extract_renames_the_classes_of_the_description(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2)
    main("itk_extract", [str(tmp_path / "raw/label"), str(tmp_path / "out"), "3:1", "1:1", "--merge"])
    described = json.loads((tmp_path / "out/dataset.json").read_text())
    assert described["labels"] == {"0": "background", "1": "arm+foot"}
    assert described["splits"] == {"train": ["case_01"], "test": ["case_00"]}


def test_patches_keep_the_description_without_splits(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2)
    itkit.run(
        "itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=4, patch_stride=4, layout="dataset"
    )
    described = json.loads((tmp_path / "out/dataset.json").read_text())
    assert described.keys() == {"name", "channels", "labels", "history"}
    result = itkit.run("itk_orient", source=tmp_path / "out", dest=tmp_path / "turned", orient="LPI")
    assert {record.status for record in result.records} == {"done"}


def test_an_edited_description_of_the_destination_is_left_alone(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "orient": "LPI"}
    itkit.run("itk_orient", **values)
    path = tmp_path / "out/dataset.json"
    edited = path.read_text().replace("phantoms", "phantoms, with a licence")
    path.write_text(edited)
    result = itkit.run("itk_orient", **values)
    assert path.read_text() == edited
    assert any("left alone" in line for line in result.summary.lines)
    itkit.run("itk_orient", **values, existing="redo")
    assert "licence" not in path.read_text()


@pytest.mark.parametrize("text", ["{", '{"channels": 3}', '{"cases": {"a": 1e999}}'])
def test_an_unusable_description_is_named_and_ends_no_run(tmp_path, capsys, text):
    phantoms.write_dataset(tmp_path / "raw", 1)
    (tmp_path / "raw/dataset.json").write_text(text)
    assert main("itk_orient", [str(tmp_path / "raw"), str(tmp_path / "out"), "LPI"]) == 0
    assert "dataset.json is not usable and was ignored" in "".join(capsys.readouterr())
    assert not (tmp_path / "out/dataset.json").exists()
