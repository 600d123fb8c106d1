"""Headers that somebody else wrote: what they may name and claim, and what happens to the process when they lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.errors import ReadError
from itkit.io import child
from itkit.io.formats import itk_child
from itkit.io.formats.gate import data_file, named_files
from itkit.io.formats.headers import read_header, unit_files, volume_files
from itkit.io.formats.inspect import read_any_header
from itkit.io.transfer import copy_unit, files_of

MHA = "ObjectType = Image\nNDims = 3\n{more}DimSize = {size}\nElementType = MET_UCHAR\nElementDataFile = {file}\n"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: {size}\nencoding: {encoding}\nendian: little\n{more}\n"


def mha(path: Path, file: str = "LOCAL", *, size: str = "2 2 2", more: str = "", tail: bytes = b"") -> Path:
    path.write_bytes(MHA.format(more=more, size=size, file=file).encode() + tail)
    return path


def nrrd(path: Path, more: str = "", *, size: str = "2 2 2", encoding: str = "raw", tail: bytes = b"") -> Path:
    path.write_bytes(NRRD.format(more=more, size=size, encoding=encoding).encode() + tail)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder beside a file that no header in it may name."""
    (tmp_path / "key").write_bytes(b"SECRET--" * 8)
    (tmp_path / "in" / "below").mkdir(parents=True)
    return tmp_path / "in"


@pytest.mark.parametrize("how", ["dotdot", "absolute", "link", "link to a folder", "from below"])
def test_a_data_file_outside_the_folder_is_refused(folder: Path, how: str) -> None:
    secret = folder.parent / "key"
    (folder / "link").symlink_to("../key")
    (folder / "up").symlink_to("..")
    name = {
        "dotdot": "../key", "absolute": str(secret), "link": "link", "link to a folder": "up/key",
        "from below": "below/../../key",
    }[how]  # fmt: skip
    for path in (mha(folder / "a.mha", name), mha(folder / "b.mhd", f"LIST\n{name}\n{name}", size="2 2 1"),
                 nrrd(folder / "c.nrrd", f"data file: {name}\n"), nrrd(folder / "d.nhdr", f"data file: {name}\n"),
                 mha(folder / "e.mha", name, more="ElementToIntensityFunctionSlope = 2\n")):  # fmt: skip
        with pytest.raises(ReadError, match="outside the header's folder") as refusal:
            itkit.read(path)
        assert "SECRET" not in str(refusal.value)
        with pytest.raises(ReadError):
            volume_files(path)


def test_a_data_file_below_the_folder_is_read(folder: Path) -> None:
    (folder / "below" / "v").write_bytes(bytes(range(8)))
    assert itkit.read(mha(folder / "a.mhd", "below/v")).array_zyx.ravel().tolist() == list(range(8))


def test_linked_headers_have_their_data_where_they_lead_to(folder: Path, tmp_path: Path) -> None:
    (folder / "v").write_bytes(bytes(range(8)))
    mha(folder / "a.mhd", "v")
    links = tmp_path / "links"
    links.mkdir()
    for name in ("a.mhd", "v"):
        (links / name).symlink_to(f"../in/{name}")
    assert itkit.read(links / "a.mhd").array_zyx.ravel().tolist() == list(range(8))


def test_data_that_git_annex_keeps_are_read(folder: Path, tmp_path: Path) -> None:
    for name, content in (("a.mhd", mha(folder / "a.mhd", "a.raw").read_bytes()), ("a.raw", bytes(range(8)))):
        key = f"SHA256E-s8--{name[0] * 8}{len(name)}{len(content)}"
        kept = tmp_path / "annex" / key / f"{key}{name[1:]}"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(content)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(os.path.relpath(kept, folder))
    assert itkit.read(folder / "a.mhd").array_zyx.ravel().tolist() == list(range(8))


@pytest.mark.parametrize("name", ["%s%s%n", "a%1000000d", "no%snum%n.raw 1 2 1", "a\x1b[31m"])
def test_names_that_are_formats_or_escape_sequences_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(bytes(8))
    with pytest.raises(ReadError, match="refused"):
        itkit.read(mha(folder / "a.mha", name))
    with pytest.raises(ReadError):
        unit_files(folder / "a.mha")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_devices_and_folders_are_no_data_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    for name in ("pipe", "below", "loop"):
        for path in (mha(folder / "a.mha", name), nrrd(folder / "b.nhdr", f"line skip: 1\ndata file: {name}\n")):
            with pytest.raises(ReadError):
                itkit.read(path)


def test_numbered_names_are_spelt_out(folder: Path) -> None:
    for number in range(1, 3):
        (folder / f"p{number:02d}.raw").write_bytes(bytes([number] * 4))
    path = nrrd(folder / "a.nhdr", "data file: p%02d.raw 1 2 1\n")
    assert [file.name for file in volume_files(path)] == ["a.nhdr", "p01.raw", "p02.raw"]
    assert itkit.read(path).array_zyx.ravel().tolist() == [1] * 4 + [2] * 4
    for pattern in ("%s 1 2 1", "p%d 1 2 0", "p%d%d 1 2 1", "p%d 1 99999999 1", "p%999d 1 2 1"):
        with pytest.raises(ReadError):
            named_files(path, f"data file: {pattern}\n".encode(), is_nrrd=True)


@pytest.mark.parametrize("axes", ["0", "-1", "8", "2147483648", "100000000", "3 3"])
@pytest.mark.parametrize("kind", ["BinaryData = True\n", "BinaryData = 3\n", "strange line\n"])
def test_a_header_has_one_to_seven_axes(folder: Path, axes: str, kind: str) -> None:
    path = folder / "a.mha"
    text = MHA.format(more=kind, size="2 2 2", file="LOCAL").replace("NDims = 3", f"NDims = {axes}")
    path.write_bytes(text.encode() + bytes(8))
    with pytest.raises(ReadError):
        itkit.read(path)


@pytest.mark.parametrize("encoding", ["raw", "ascii", "hex", "gzip", "bzip2"])
def test_a_tiny_file_claims_no_gigabytes(folder: Path, encoding: str) -> None:
    sizes = "200000 200000 200000" if encoding == "bzip2" else "2000 2000 1000"
    with pytest.raises(ReadError, match="truncated"):
        read_any_header(nrrd(folder / "a.nrrd", size=sizes, encoding=encoding, tail=b"1 2 3\n"))
    for more in ("", "BinaryData = False\n", "CompressedData = True\n", "ElementToIntensityFunctionSlope = 2\n"):
        with pytest.raises(ReadError, match="truncated"):
            read_any_header(mha(folder / "b.mha", size="2000 2000 1000", more=more, tail=b"1 2 3\n"))


def test_a_field_that_stands_twice_is_refused_where_simpleitk_would_choose(folder: Path) -> None:
    slope = "ElementToIntensityFunctionSlope = 2\n"
    for more in ("ElementDataFile : ../key\n", "DimSize = 9 9 9\n", "Comment = x\rElementDataFile = ../key\n"):
        with pytest.raises(ReadError):
            itkit.read(mha(folder / "a.mha", more=slope + more, tail=bytes(8)))


def test_unusual_headers_have_simpleitks_voxels_from_another_process(folder: Path) -> None:
    values = b"3 1 4 1 5 9 2 6\n"
    for path in (mha(folder / "a.mha", more="BinaryData = False\n", tail=values),
                 mha(folder / "b.mha", more="ElementToIntensityFunctionSlope = 2\n", tail=bytes(range(8))),
                 nrrd(folder / "c.nrrd", encoding="ascii", tail=values),
                 nrrd(folder / "d.nrrd", encoding="hex", tail=bytes(range(8)).hex().encode())):  # fmt: skip
        image = sitk.ReadImage(str(path))
        volume = itkit.read(path)
        np.testing.assert_array_equal(volume.array_zyx, sitk.GetArrayFromImage(image))
        assert volume.dtype == sitk.GetArrayFromImage(image).dtype
        assert volume.geometry.spacing_zyx == image.GetSpacing()[::-1]


def test_simpleitk_is_not_loaded_where_a_strangers_file_is_read(folder: Path) -> None:
    path = mha(folder / "a.mha", more="BinaryData = False\n", tail=b"3 1 4 1 5 9 2 6\n")
    code = f"import sys, itkit; itkit.read({str(path)!r}); print('SimpleITK' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_a_reader_that_dies_is_one_failure_and_the_next_file_is_read(folder: Path) -> None:
    path = mha(folder / "a.mha", more="BinaryData = False\n", tail=b"3 1 4 1 5 9 2 6\n")
    assert itkit.read(path).array_zyx.sum() == 31
    os.kill(child._children[-1].process.pid, 11)
    child._children[-1].process.wait()
    assert itkit.read(path).array_zyx.sum() == 31


def test_a_reader_that_never_ends_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mha(folder / "a.mha", more="BinaryData = False\n", tail=b"3 1 4 1 5 9 2 6\n")
    assert itkit.read(path).array_zyx.sum() == 31
    monkeypatch.setattr(child, "HEADER_S", 0.5)
    os.kill(child._children[-1].process.pid, 19)  # stopped: it answers no more
    with pytest.raises(ReadError, match="took more than"):
        itk_child.read_information(path, "MetaImageIO")


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are Linux's")
def test_a_reader_that_takes_too_much_memory_is_one_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((64, 256, 256), np.int16)), str(path), False)
    monkeypatch.setattr(child, "ROOM_BYTES", -(1 << 23) * 4 - (80 << 20))
    with pytest.raises(ReadError, match="not readable"):
        itk_child.read_array(path, 1 << 23, "MetaImageIO")


@pytest.mark.parametrize("name", ["v.mha", "v.mhd", "v.nrrd", "v.nhdr"])
def test_every_header_of_another_file_makes_a_unit(folder: Path, name: str, tmp_path: Path) -> None:
    (folder / "v.dat").write_bytes(bytes(range(8)))
    path = folder / name
    (mha(path, "v.dat") if name.startswith("v.m") else nrrd(path, "data file: v.dat\n"))
    assert unit_files(path) == volume_files(path) == (path, folder / "v.dat")
    assert copy_unit(path, tmp_path / "copy") == []
    np.testing.assert_array_equal(itkit.read(tmp_path / "copy" / name).array_zyx, itkit.read(path).array_zyx)
    assert files_of([path]) == [path, folder / "v.dat"]
    other = mha(folder / "other.mha", "v.dat")
    assert files_of([path]) == [path], f"{other} needs the data"


def test_a_regular_name_costs_no_search_for_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "v").write_bytes(bytes(8))
    header = mha(folder / "a.mhd", "v")
    monkeypatch.setattr(os.path, "realpath", None)
    assert data_file(header, "v") == (folder / "v", 8)
    assert read_header(header).data_path == folder / "v"
