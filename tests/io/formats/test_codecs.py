from __future__ import annotations

import gzip
import io
import os
import subprocess
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_cases import DTYPES, OBLIQUE, SUFFIXES, assert_same_geometry, dtypes, geometries, to_image, voxels

from itkit.core.axes import to_zyx
from itkit.core.errors import ReadError, WriteError
from itkit.core.geometry import Geometry
from itkit.io.formats import codecs
from itkit.io.formats.codecs import read_voxels, volume_writers, write_volume_file
from itkit.io.formats.headers import UnsupportedHeader, read_header
from itkit.io.nii_toolkit import affine_ras
from itkit.io.streams.checksums import adler32_combine

COMPRESSIONS = ("none", "fast", "small")


def geometry_of(image: sitk.Image) -> Geometry:
    return Geometry(
        to_zyx(image.GetSize()), to_zyx(image.GetSpacing()), tuple(image.GetOrigin()), tuple(image.GetDirection())
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "CHUNK_BYTES", 200)


def ct(slices: int = 24) -> np.ndarray:
    """Smooth tissue under noise inside a body, air around it: gzip reaches about 2.3."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :256]
    body = (y - 128) ** 2 / 125**2 + (x - 128) ** 2 / 122**2 < 1
    tissue = 60 * np.sin(x / 23 + np.arange(slices)[:, None, None] / 3) * np.cos(y / 31) + 40
    return np.where(body, tissue + rng.normal(0, 25, (slices, 256, 256)), -1000).round().astype(np.int16)


@settings(max_examples=60, deadline=None)
@given(
    geometry=geometries,
    dtype=dtypes,
    compression=st.sampled_from(COMPRESSIONS),
    suffix=st.sampled_from(SUFFIXES),
    seed=st.integers(0, 99),
)
def test_what_we_write_others_read(geometry: Geometry, dtype: str, compression: str, suffix: str, seed: int) -> None:
    array = voxels(geometry.size_zyx, dtype, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        files = write_volume_file(path, array, geometry, compression=compression)
        assert sorted(files) == sorted(Path(folder).iterdir())
        assert files[-1] == path
        image = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array, strict=True)
        assert_same_geometry(geometry_of(image), geometry, tolerance=2e-6 if ".nii" in suffix else 1e-9)
        ours = read_voxels(read_header(path))
        np.testing.assert_array_equal(ours, array, strict=True)
        assert ours.flags.c_contiguous
        if ".nii" in suffix:
            other = nibabel.load(path)
            np.testing.assert_array_equal(np.asanyarray(other.dataobj).T, array)
            np.testing.assert_allclose(other.affine, affine_ras(geometry), rtol=1e-6, atol=1e-4)
            np.testing.assert_allclose(other.get_qform(), other.affine, atol=0.05)
        if suffix in (".nrrd", ".nhdr"):
            data, header = nrrd.read(str(path), index_order="C")
            np.testing.assert_array_equal(data, array)
            np.testing.assert_allclose(header["space origin"], geometry.origin_xyz)
        if suffix == ".nii.gz":
            subprocess.run(["gzip", "-t", str(path)], check=True)


@settings(max_examples=40, deadline=None)
@given(geometry=geometries, dtype=dtypes, compressed=st.booleans(), suffix=st.sampled_from(SUFFIXES))
def test_what_simpleitk_writes_we_read(geometry: Geometry, dtype: str, compressed: bool, suffix: str) -> None:
    array = voxels(geometry.size_zyx, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        sitk.WriteImage(to_image(array, geometry), str(path), compressed)
        np.testing.assert_array_equal(read_voxels(read_header(path)), array, strict=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_bytes_do_not_depend_on_threads_or_memory_order(
    tmp_path: Path, suffix: str, compression: str, small_chunks: None
) -> None:
    array = voxels((5, 7, 9), "int16")
    geometry = OBLIQUE
    outcomes = []
    for index, (threads, given_array) in enumerate(
        (
            (1, array),
            (2, array),
            (3, np.asfortranarray(array)),
            (2, array[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]),
            (1, array.transpose(2, 0, 1).copy().transpose(1, 2, 0)),
            (1, array.astype(">i2")),
        )
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        files = write_volume_file(
            folder / f"a{suffix}", given_array, geometry, compression=compression, threads=threads
        )
        outcomes.append([file.read_bytes() for file in files])
    assert all(outcome == outcomes[0] for outcome in outcomes)
    np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "0" / f"a{suffix}")), array, strict=True)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2)])
def test_transposed_views_are_written_block_by_block(tmp_path: Path, order: tuple[int, int, int]) -> None:
    view = voxels((20, 37, 51), "int16").transpose(order)[:, ::-1]
    geometry = Geometry(view.shape, (1, 1, 1))
    write_volume_file(tmp_path / "a.mha", view, geometry)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha"))), view)


def test_many_chunks_make_one_stream(tmp_path: Path, small_chunks: None) -> None:
    array = voxels((5, 7, 9), "float32")
    write_volume_file(tmp_path / "a.nii.gz", array, OBLIQUE, threads=2)
    stream = zlib.decompressobj(31)
    plain = stream.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert stream.eof
    assert stream.unused_data == b""
    assert plain[352:] == array.tobytes()
    write_volume_file(tmp_path / "a.mha", array, OBLIQUE, threads=2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha"))), array)


def test_gzip_carries_no_time(tmp_path: Path) -> None:
    write_volume_file(tmp_path / "a.nii.gz", voxels((5, 7, 9), "int8"), OBLIQUE)
    assert (tmp_path / "a.nii.gz").read_bytes()[3:8] == bytes(5)


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_channels_are_kept(tmp_path: Path, suffix: str, components: int) -> None:
    array = voxels((5, 7, 9, components), "float32")
    path = tmp_path / f"a{suffix}"
    write_volume_file(path, array, OBLIQUE)
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == components
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).reshape(array.shape), array)
    assert_same_geometry(geometry_of(image), OBLIQUE)
    if ".nii" not in suffix:
        np.testing.assert_array_equal(read_voxels(read_header(path)).reshape(array.shape), array)


def test_masks_become_uint8(tmp_path: Path) -> None:
    mask = voxels((5, 7, 9), "int16") > 0
    write_volume_file(tmp_path / "a.nrrd", mask, OBLIQUE)
    np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "a.nrrd")), mask.astype(np.uint8), strict=True)


def test_metadata_come_back_and_cannot_break_a_header(tmp_path: Path) -> None:
    metadata = {
        "0008|0060": "CT", "note": "two\nlines", "DimSize": "1 1 1", "ITK_x": "y", "a b": "blank", "bad\nkey": "v",
        "": "v", "ElementDataFile": "x", "data file": "x", "a=b": "c", "a:b": "c", "umlaut": "ä",
    }  # fmt: skip
    array = voxels((5, 7, 9), "int16")
    for suffix in (".mha", ".mhd", ".nrrd", ".nhdr"):
        path = tmp_path / f"a{suffix}"
        write_volume_file(path, array, OBLIQUE, metadata=metadata)
        back = read_header(path)
        assert_same_geometry(back.geometry, OBLIQUE)
        assert back.metadata["0008|0060"] == "CT"
        assert back.metadata["umlaut"] == "ä"
        assert back.metadata["note"] == ("two lines" if suffix.startswith(".m") else "two\nlines")
        image = sitk.ReadImage(str(path))
        assert image.GetMetaData("0008|0060") == "CT"
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    write_volume_file(tmp_path / "a.nii", array, OBLIQUE, metadata={"descrip": "x" * 200, "aux_file": "y"})
    assert read_header(tmp_path / "a.nii").metadata == {"descrip": "x" * 79, "aux_file": "y"}


def test_detached_headers_name_the_final_data_file(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "int16")
    for name, compression, data in (
        ("case.1.mhd", "none", "case.1.raw"),
        ("case.1.mhd", "fast", "case.1.zraw"),
        ("case.1.nhdr", "none", "case.1.raw"),
        ("case.1.nhdr", "fast", "case.1.raw.gz"),
    ):
        writers = volume_writers(tmp_path / name, array, OBLIQUE, compression=compression)
        assert [path.name for path in writers] == [data, name]
        bytes_of = {}
        for path, write in writers.items():
            file = io.BytesIO()
            write(file)
            bytes_of[path.name] = file.getvalue()
        assert data.encode() in bytes_of[name]
        for written, content in bytes_of.items():
            (tmp_path / written).write_bytes(content)
        np.testing.assert_array_equal(read_voxels(read_header(tmp_path / name)), array)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_files_are_refused_wherever_they_end(tmp_path: Path, suffix: str, compressed: bool) -> None:
    array = voxels((5, 7, 9), "int16")
    files = write_volume_file(tmp_path / f"a{suffix}", array, OBLIQUE, compression="fast" if compressed else "none")
    whole = files[0].read_bytes()
    for length in sorted({1, 100, 400, len(whole) // 2, len(whole) - 9, len(whole) - 4, len(whole) - 1}):
        files[0].write_bytes(whole[:length])
        with pytest.raises(ReadError, match=r"a\."):
            read_voxels(read_header(files[-1]))


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_a_flipped_bit_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_volume_file(path, voxels((5, 7, 9), "int16"), OBLIQUE)
    header = read_header(path)
    whole = path.read_bytes()
    for at in range(-1, -330, -23):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ReadError):
            read_voxels(header)


def test_wrong_checksums_are_found(tmp_path: Path) -> None:
    for suffix, at in ((".nii.gz", -8), (".nii.gz", -1), (".mha", -1)):
        path = tmp_path / f"a{suffix}"
        write_volume_file(path, voxels((5, 7, 9), "int16"), OBLIQUE)
        damaged = bytearray(path.read_bytes())
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ReadError, match="corrupt"):
            read_voxels(read_header(path))


def test_gzip_members_join_and_padding_is_passed_over(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "int16")
    write_volume_file(tmp_path / "a.nii", array, OBLIQUE)
    plain = (tmp_path / "a.nii").read_bytes()
    parts = [gzip.compress(plain[at : at + 61]) for at in range(0, len(plain), 61)]
    for tail in (b"", bytes(512)):
        (tmp_path / "b.nii.gz").write_bytes(b"".join(parts) + tail)
        np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "b.nii.gz")), array, strict=True)


def test_members_that_end_where_a_read_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = voxels((5, 7, 9), "int16")
    write_volume_file(tmp_path / "a.nii", array, OBLIQUE)
    plain = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]))
    for size in (1, 2, 3, 7, len(gzip.compress(plain[:500])), len(gzip.compress(plain[:500])) + 1):
        monkeypatch.setattr("itkit.io.streams.inflate._READ_BYTES", size)
        monkeypatch.setattr("itkit.io.streams.inflate._INFLATE_BYTES", 258)
        np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "b.nii.gz")), array, strict=True)


def test_a_gzip_stream_in_a_zraw_file_is_read(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "int16")
    files = write_volume_file(tmp_path / "a.mhd", array, OBLIQUE)
    packed = gzip.compress(array.tobytes())
    files[0].write_bytes(packed)
    text = (tmp_path / "a.mhd").read_text().splitlines(keepends=True)
    (tmp_path / "a.mhd").write_text("".join(line for line in text if not line.startswith("CompressedDataSize")))
    np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "a.mhd")), array)


def test_big_endian_files_become_native(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "float32")
    write_volume_file(tmp_path / "a.mha", array, OBLIQUE, compression="none")
    head, _, _ = (tmp_path / "a.mha").read_bytes().partition(array.tobytes())
    swapped = head.replace(b"MSB = False", b"MSB = True") + array.astype(">f4").tobytes()
    (tmp_path / "a.mha").write_bytes(swapped)
    np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "a.mha")), array, strict=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha"))), array)


def test_raw_files_are_mapped_and_writes_stay_in_memory(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "int16")
    write_volume_file(tmp_path / "a.mha", array, OBLIQUE, compression="none")
    before = (tmp_path / "a.mha").read_bytes()
    mapped = read_voxels(read_header(tmp_path / "a.mha"), mapped=True)
    np.testing.assert_array_equal(mapped, array)
    mapped[...] = 0
    assert (tmp_path / "a.mha").read_bytes() == before


def test_raw_files_are_copied_so_that_nobody_can_cut_them(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "int16")
    write_volume_file(tmp_path / "a.mha", array, OBLIQUE, compression="none")
    found = read_voxels(read_header(tmp_path / "a.mha"))
    os.truncate(tmp_path / "a.mha", 10)  # a mapped array would end the process now
    np.testing.assert_array_equal(found, array)


def test_raw_files_that_change_while_they_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mha"
    write_volume_file(path, voxels((5, 7, 9), "int16"), OBLIQUE, compression="none")
    header, whole = read_header(path), path.read_bytes()

    def cut(*arguments: object) -> np.ndarray:
        os.truncate(path, 500)
        return np.empty(*arguments)

    monkeypatch.setattr(codecs, "empty", cut)
    with pytest.raises(ReadError, match="truncated"):
        read_voxels(header)
    path.write_bytes(whole)
    monkeypatch.undo()
    seen: list[os.stat_result] = []

    def later(descriptor: int) -> os.stat_result:
        seen.append(os.stat(descriptor))
        os.utime(path, ns=(0, len(seen)))
        return os.stat(descriptor)

    monkeypatch.setattr(codecs, "os", SimpleNamespace(fstat=later))
    with pytest.raises(ReadError, match="was changed while it was read"):
        read_voxels(header)


def test_series_of_volumes_are_read_as_tzyx(tmp_path: Path) -> None:
    array = voxels((4, 5, 7, 9), "int16")
    nibabel.Nifti1Image(array.T, np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_voxels(read_header(tmp_path / "a.nii.gz")), array)


class FullDisk(io.BytesIO):
    def write(self, data: object, /) -> int:
        if self.tell() > 1000:
            raise OSError(28, "No space left on device")
        return super().write(memoryview(data)[:100])  # and takes a little at a time


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz", "a.nii"])
def test_a_full_disk_raises(name: str, threads: int, small_chunks: None) -> None:
    array = voxels((50, 7, 9), "int16")
    (write,) = volume_writers(Path(name), array, Geometry((50, 7, 9), (1, 1, 1)), threads=threads).values()
    with pytest.raises(OSError, match="No space left"):
        write(FullDisk())


def test_short_writes_are_continued() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object, /) -> int:
            return super().write(memoryview(data)[:7])

    def written(file: BinaryIO) -> bytes:
        (write,) = volume_writers(Path("a.mha"), voxels((5, 7, 9), "int16"), OBLIQUE).values()
        write(file)
        return file.getvalue()

    assert written(Slow()) == written(io.BytesIO())


@pytest.mark.parametrize("dtype", ["float16", "complex64"])
def test_types_that_no_format_holds_are_refused(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(WriteError, match=r"a\.mha.*float"):
        write_volume_file(tmp_path / "a.mha", np.zeros((5, 7, 9), dtype), OBLIQUE)


def test_long_axes_are_refused_in_nifti_only(tmp_path: Path) -> None:
    array = np.zeros((1, 1, 40000), np.uint8)
    geometry = Geometry((1, 1, 40000), (1, 1, 1))
    with pytest.raises(WriteError, match=r"32767.*\.mha"):
        write_volume_file(tmp_path / "a.nii", array, geometry)
    assert not (tmp_path / "a.nii").exists()
    write_volume_file(tmp_path / "a.mha", array, geometry)


def test_an_array_that_is_not_the_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="shape"):
        write_volume_file(tmp_path / "a.mha", np.zeros((9, 7, 5), np.int16), OBLIQUE)


def test_headers_of_simpleitk_are_not_for_us(tmp_path: Path) -> None:
    write_volume_file(tmp_path / "a.mha", voxels((5, 7, 9), "int16"), OBLIQUE)
    with pytest.raises(UnsupportedHeader):
        read_voxels(replace(read_header(tmp_path / "a.mha"), encoding="itk"))


def test_sizes_are_near_those_of_simpleitk(tmp_path: Path) -> None:
    array = ct()
    geometry = Geometry(array.shape, (1, 1, 1))
    image = to_image(array, geometry)
    assert 2.1 < array.nbytes / len(zlib.compress(array.tobytes())) < 2.6
    for suffix, most in ((".mha", 1.02), (".nii.gz", 1.05)):
        sitk.WriteImage(image, str(tmp_path / f"r{suffix}"), True)
        reference = (tmp_path / f"r{suffix}").stat().st_size
        for compression in ("fast", "small"):
            write_volume_file(tmp_path / f"a{suffix}", array, geometry, compression=compression)
            assert (tmp_path / f"a{suffix}").stat().st_size <= most * reference, (suffix, compression)


def test_small_is_no_larger_than_fast(tmp_path: Path) -> None:
    image = ct(6)
    for name, array in (("image", image), ("label", (image > 30).astype(np.uint8).repeat(3, 1).repeat(3, 2))):
        sizes = []
        for compression in COMPRESSIONS:
            path = tmp_path / f"{name}.mha"
            write_volume_file(path, array, Geometry(array.shape, (1, 1, 1)), compression=compression)
            sizes.append(path.stat().st_size)
        assert sizes[0] > sizes[1] >= sizes[2], name


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_adler_sums_combine(first: bytes, second: bytes) -> None:
    joined = adler32_combine(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)


def test_all_types_fill_all_formats(tmp_path: Path) -> None:
    for dtype in DTYPES:
        for suffix in SUFFIXES:
            array = voxels((5, 7, 9), dtype)
            write_volume_file(tmp_path / f"a{suffix}", array, OBLIQUE)
            np.testing.assert_array_equal(
                sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{suffix}"))), array, strict=True
            )


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float64", "int64"])
def test_nrrd_text_is_read_as_simpleitk_and_pynrrd_read_it(tmp_path: Path, dtype: str) -> None:
    array, path = voxels((5, 7, 9), dtype), tmp_path / "a.nrrd"
    nrrd.write(str(path), array.T, {"encoding": "ascii"})
    header = read_header(path)
    assert header.encoding == "text"
    ours = read_voxels(header)
    np.testing.assert_array_equal(ours, array, strict=True)
    np.testing.assert_array_equal(nrrd.read(str(path), index_order="C")[0], ours)
    path.write_bytes(path.read_bytes().replace(b"\n1\n", b"\n1,\n") + b"\n1 2 3")
    np.testing.assert_array_equal(read_voxels(read_header(path)), sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [(b"\n7\n", b"\nseven\n", "int16"), (b"\n7\n", b"\n99999\n", "int16"), (b"\n7\n", b"\n", "truncated")],
)
def test_damaged_nrrd_text_is_named(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), np.arange(1000, 1027, dtype=np.int16).reshape(3, 3, 3).T, {"encoding": "ascii"})
    path.write_bytes(path.read_bytes().replace(b"\n1007\n", b"\n7\n").replace(old, new))
    with pytest.raises(ReadError, match=rf"a\.nrrd.*{reason}"):
        read_voxels(read_header(path))
