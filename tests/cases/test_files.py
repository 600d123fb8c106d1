"""Volume files as other programs leave them: values and points right, or refused by name."""

import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

SIZE = (4, 5, 6)
VALUES = (np.arange(120).reshape(SIZE) * 7 - 300).astype(np.int16)  # Z Y X
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 6 5 4\nspace directions: {directions}\n"
    "kinds: domain domain domain\nendian: {endian}\nencoding: {encoding}\nspace origin: (-10,20,30)\n"
)
PLAIN = {"space": "left-posterior-superior", "directions": "(0.7,0,0) (0,0.8,0) (0,0,2)", "endian": "little"}
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = {matrix}\nOffset = -10 20 30\nElementSpacing = 0.7 0.8 2\nDimSize = 6 5 4\n"
    "ElementType = MET_SHORT\nElementDataFile = {data}\n"
)


def turned(first, second):
    """A direction that is a rotation about two axes, columns X Y Z."""
    c, s, d, t = np.cos(first), np.sin(first), np.cos(second), np.sin(second)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]])


def assert_point(volume, direction, tol_mm):
    expected = np.array([-10, 20, 30]) + direction @ (np.array([0.7, 0.8, 2]) * (3, 2, 1))
    assert np.linalg.norm(np.subtract(volume.geometry.point_xyz((1, 2, 3)), expected)) < tol_mm


def test_a_matrix_with_three_decimals_is_a_direction(tmp_path):
    direction = turned(0.61, 0.33).round(3)
    matrix = " ".join(f"{value:.3f}" for value in direction.T.ravel())
    (tmp_path / "a.mha").write_bytes(MHA.format(matrix=matrix, data="LOCAL").encode() + VALUES.tobytes())
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.array_zyx, VALUES)
    assert volume.geometry.spacing_zyx == (2.0, 0.8, 0.7)
    assert_point(volume, direction, 0.01)


def test_an_oblique_nrrd_with_blanks_and_windows_line_ends(tmp_path):
    direction = turned(0.5, 0.3)
    steps = (direction * [0.7, 0.8, 2]).T
    vectors = " ".join("(" + ", ".join(f"{value:.12g}" for value in step) + ")" for step in steps)
    head = NRRD.format(space="LPS", directions=vectors, endian="big", encoding="gz").replace("\n", "\r\n") + "\r\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + gzip.compress(VALUES.astype(">i2").tobytes()))
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.array_zyx, VALUES)
    assert_point(volume, direction, 1e-6)


@pytest.mark.parametrize(
    ("name", "encoding", "more", "data"),
    [
        ("ascii.nrrd", "ascii", "\n", " ".join(map(str, VALUES.ravel())).encode()),
        ("hex.nrrd", "hex", "\n", VALUES.tobytes().hex().encode()),
        ("below.nhdr", "raw", "byte skip: -1\ndata file: parts/x.raw\n", b""),
        ("list.nhdr", "raw", "data file: LIST\n" + "".join(f"p{k}.raw\n" for k in range(4)), b""),
        ("pattern.nhdr", "raw", "data file: p%d.raw 0 3 1\n", b""),
    ],
)
def test_every_way_to_store_a_nrrd_is_read(tmp_path, name, encoding, more, data):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/x.raw").write_bytes(b"head" * 9 + VALUES.tobytes())
    for k in range(4):
        (tmp_path / f"p{k}.raw").write_bytes(VALUES[k].tobytes())
    (tmp_path / name).write_bytes((NRRD.format(**PLAIN, encoding=encoding) + more).encode() + data)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array_zyx, VALUES)
    assert_point(volume, np.eye(3), 1e-6)


def test_names_in_other_letters_lead_to_the_data_file(tmp_path, command):
    folder = tmp_path / "Säge 肺结节"
    folder.mkdir()
    (folder / "肺 1.raw").write_bytes(VALUES.tobytes())
    text = MHA.format(matrix="1 0 0 0 1 0 0 0 1", data="肺 1.raw")
    (folder / "肺.mhd").write_text(text, encoding="utf-8")
    write_volume(Volume(VALUES, Geometry(SIZE, (2.0, 0.8, 0.7))), folder / "Schädel ü.nii.gz")
    code, _, stderr = command("itk_orient", folder, tmp_path / "außen", "LPS")
    assert code == 0, stderr
    np.testing.assert_array_equal(read_volume(tmp_path / "außen/肺.mha").array_zyx, VALUES)
    np.testing.assert_array_equal(read_volume(tmp_path / "außen/Schädel ü.mha").array_zyx, VALUES)


def test_a_nifti_that_is_called_gz_is_read_as_what_it_is(tmp_path):
    write_volume(Volume(VALUES, Geometry(SIZE, (2.0, 0.8, 0.7))), tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array_zyx, VALUES)


def damaged_gzip(data):
    """Return a gzip stream in several states: each damaged one, and each that is whole but unusual."""
    packed = gzip.compress(data, mtime=0)
    middle = len(data) // 2
    stored = bytearray(packed[:10] + _stored(data) + packed[-8:])
    stored[200] ^= 1
    bad = {
        "sum": packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:],
        "length": packed[:-1] + bytes([packed[-1] ^ 1]),
        "cut": packed[: len(packed) // 2],
        "trailer": packed[:-5],
        "bit": bytes(stored),
        "empty": b"",
        "page": b"<!DOCTYPE html><html>quota exceeded</html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "short": gzip.compress(data[:-100]),
    }
    good = {
        "members": gzip.compress(data[:middle]) + gzip.compress(data[middle:]),
        "padded": packed + bytes(512),
        "plain": data,
    }
    return bad, good


def _stored(data):
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def test_broken_gzip_fails_by_name_and_joined_members_are_read(tmp_path, command):
    write_volume(Volume(VALUES, Geometry(SIZE, (2.0, 0.8, 0.7))), tmp_path / "a.nii")
    bad, good = damaged_gzip((tmp_path / "a.nii").read_bytes())
    (tmp_path / "raw").mkdir()
    for name, data in {**bad, **good}.items():
        (tmp_path / "raw" / f"{name}.nii.gz").write_bytes(data)
    code, stdout, stderr = command("itk_resample", "image", tmp_path / "raw", tmp_path / "out", "--size", 4, 5, 6)
    assert code == 1
    assert f"3 done, 0 skipped, 9 failed ({', '.join(sorted(bad))})" in stdout
    assert "Traceback" not in stderr
    for name in good:
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{name}.mha").array_zyx, VALUES)
    code, stdout, _ = command("itk_check", "check", tmp_path / "raw", "--deep")
    assert (code, "3 conforming, 9 nonconforming" in stdout) == (1, True)


THIN = {"slice": (1, 22, 20), "voxel": (1, 1, 1), "column": (30, 1, 1), "plane": (30, 20, 1)}


@pytest.mark.parametrize("name", THIN)
def test_thin_volumes_keep_their_slices(tmp_path, name):
    grid = Geometry(THIN[name], (5.0, 0.7, 0.7), (3.0, -4.0, 9.0), phantoms.GRIDS["oblique"].direction_xyz)
    write_volume(phantoms.noise(grid), tmp_path / "raw/image/a.nii.gz")
    write_volume(Volume(np.ones(grid.size_zyx, np.uint8), grid, "label"), tmp_path / "raw/label/a.nii.gz")
    common = {"source": tmp_path / "raw"}
    assert itkit.run("itk_resample", mode="dataset", spacing=(40, 30, 30), dest=tmp_path / "a", **common).exit_code == 0
    coarse = read_volume(tmp_path / "a/label/a.mha", "label")
    assert coarse.geometry.size_zyx == tuple(
        max(1, int(n * old / new + 0.5))
        for n, old, new in zip(grid.size_zyx, grid.spacing_zyx, (40, 30, 30), strict=True)
    )
    assert (coarse.array_zyx == 1).all()
    assert itkit.run("itk_orient", orient="ASL", dest=tmp_path / "b", **common).exit_code == 0
    assert sorted(read_volume(tmp_path / "b/image/a.mha").geometry.size_zyx) == sorted(grid.size_zyx)
    augmented = {"source": tmp_path / "raw/image", "label_source": tmp_path / "raw/label"}
    assert itkit.run("itk_aug", **augmented, dest=tmp_path / "c", random_rot=(10, 10, 10)).exit_code == 0


def test_a_negative_pixdim_without_an_affine_is_named(tmp_path, command):
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(VALUES.T.shape)
    header["pixdim"][1:4] = (0.7, 0.8, -2)
    header["vox_offset"] = 352
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.nii").write_bytes(header.binaryblock + bytes(4) + VALUES.tobytes())
    code, _, stderr = command("itk_orient", tmp_path / "raw", tmp_path / "out", "LPS")
    assert code == 0
    assert "pixdim is negative along Z: taken without its sign" in stderr
    assert read_volume(tmp_path / "out/a.mha").geometry.spacing_zyx == pytest.approx((2.0, 0.8, 0.7))


KINDS = {
    "u8": ([0, 255], np.uint8, "uint8"),
    "i8": ([-1, 0, 1], np.int8, "int8"),
    "u16": ([0, 300, 65535], np.uint16, "uint16"),
    "i32": ([0, 14175, 70000], np.int32, "int32"),
    "u32": ([0, 2**32 - 1], np.uint32, "uint32"),
    "i64": ([-(2**40), 0, 2**53 + 1], np.int64, "int64"),
    "u64": ([0, 2**63 + 5], np.uint64, "uint64"),
    "f32": ([0, 14175], np.float32, "uint16"),
    "f64": ([-1, 0, 300], np.float64, "int16"),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Labels of every kind beside images; of four more, one is a CT, and three are no label maps."""
    root = tmp_path_factory.mktemp("kinds") / "raw"
    rng = np.random.default_rng(3)
    grid = Geometry((6, 7, 8), (1.0, 1.0, 1.0))
    for name, (values, dtype, _) in KINDS.items():
        write_label(root, name, np.array(values, dtype)[rng.integers(0, len(values), grid.size_zyx)])
    write_label(root, "ct", rng.normal(0, 300, grid.size_zyx).astype(np.int16))
    write_label(root, "nan", np.full(grid.size_zyx, np.nan, np.float32))
    write_label(root, "huge", np.full(grid.size_zyx, 3e38, np.float32))
    write_label(root, "vector", rng.integers(0, 2, (*grid.size_zyx, 3)).astype(np.uint8))
    for name in (*KINDS, "ct", "nan", "huge", "vector"):
        write_volume(phantoms.noise(grid), root / "image" / f"{name}.mha")
    return root


def write_label(root, name, array):
    (root / "label").mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=array.ndim == 4), str(root / "label" / f"{name}.mha"))


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("itk_resample", {"mode": "dataset", "spacing": (0.5, 1, 1)}),
        ("itk_orient", {"orient": "RAS"}),
        ("itk_patch", {"patch_size": (6, 7, 8), "patch_stride": 6, "layout": "dataset"}),
        ("itk_convert", {"mode": "format", "ext": ".nii.gz"}),
        ("itk_resample", {"mode": "dataset", "spacing": (1, 1, 1), "ext": ".nrrd"}),
    ],
)
def test_labels_of_every_kind_keep_their_values(kinds, tmp_path, operation, values):
    result = itkit.run(operation, source=kinds, dest=tmp_path / "out", **values)
    assert {one.case_id for one in result.records if one.status == "failed"} == {"nan", "huge", "vector"}
    for name, (labels, _, dtype) in KINDS.items():
        (path,) = (tmp_path / "out/label").glob(f"{name}*")
        label = read_volume(path, "label").array_zyx
        assert label.dtype == dtype
        assert [int(value) for value in np.unique(label)] == labels


def test_check_names_labels_that_are_none(kinds, command):
    code, stdout, stderr = command("itk_check", "check", kinds, "--deep")
    assert code == 1
    said = stdout + stderr
    for words in (
        "ct: label looks like an image",
        "nan: ",
        "nan or infinite",
        "no integer type holds",
        "RGB or vector",
    ):
        assert words in said, words
