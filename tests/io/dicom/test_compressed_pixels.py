"""Compressed pixels are decoded in a child process: the same values, and a decoder's death is one failure."""

import os
import signal
import sys

import numpy as np
import pydicom
import pytest
from dicom_factory import save, slices
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from itkit.core.errors import UndecodableError
from itkit.io import child
from itkit.io.dcm_toolkit import find_series, read_series
from itkit.io.dicom import pixels
from itkit.io.formats.itk_child import read_information
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

HEIGHTS, SHAPE = (0.0, 2.5, 5.0, 7.5), (64, 71)
VALUES = np.random.default_rng(5).integers(-1000, 3000, (4, *SHAPE), np.int16)


def packed(one, syntax):
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plugin = {"encoding_plugin": "pylibjpeg"} if syntax == JPEG2000Lossless else {}
    one.compress(syntax, generate_instance_uid=False, **plugin)
    return one


def series(folder, syntax):
    for number, one in enumerate(slices(HEIGHTS, shape=SHAPE, values=VALUES)):
        save(packed(one, syntax), folder / f"{number}.dcm", syntax)
    (found,), _ = find_series(folder)
    return found


@pytest.fixture
def multi_frame(tmp_path):
    """A file of four frames that no functional groups describe."""
    (one,) = slices((0.0,), shape=SHAPE, values=VALUES)
    one.NumberOfFrames, one.PixelData = len(VALUES), VALUES.tobytes()
    return save(packed(one, RLELossless), tmp_path / "frames.dcm", RLELossless)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless], ids=lambda uid: uid.name)
def test_values_are_those_that_were_packed(tmp_path, syntax):
    found = series(tmp_path, syntax)
    assert all(frame.is_compressed for frame in found.frames)
    np.testing.assert_array_equal(read_series(found).array_zyx, VALUES)


def test_frames_of_one_file_come_in_pieces(multi_frame, monkeypatch):
    asked = []
    monkeypatch.setattr(pixels, "_HANDED_OVER", 2 * VALUES[0].nbytes)
    monkeypatch.setattr(child, "ask", lambda *args, real=child.ask, **how: asked.append(args[2]) or real(*args, **how))
    dataset = pydicom.dcmread(multi_frame, stop_before_pixels=True)
    got = list(pixels.decoded(dataset, multi_frame, [3, 0, 2], []))
    np.testing.assert_array_equal(got, VALUES[[3, 0, 2]])
    assert [request["indices"] for request in asked] == [[3, 0], [2]]


def test_nothing_is_decoded_where_the_case_is(tmp_path, monkeypatch):
    found = series(tmp_path, JPEG2000Lossless)
    monkeypatch.setattr(pydicom.pixels, "iter_pixels", None)
    np.testing.assert_array_equal(read_series(found).array_zyx, VALUES)


def test_a_decoder_that_dies_is_one_failure_and_the_next_series_is_read(tmp_path):
    found = series(tmp_path, JPEGLSLossless)
    read_series(found)
    os.kill(child._children[-1].process.pid, signal.SIGSEGV)
    child._children[-1].process.wait()
    np.testing.assert_array_equal(read_series(found).array_zyx, VALUES)


def test_a_decoder_that_never_ends_is_stopped(tmp_path, monkeypatch):
    found = series(tmp_path, JPEGLSLossless)
    read_series(found)
    monkeypatch.setattr(child, "HEADER_S", 0.3)
    monkeypatch.setattr(pixels, "_decode_with_gdcm", lambda path, dataset: None)
    os.kill(child._children[-1].process.pid, signal.SIGSTOP)
    with pytest.raises(UndecodableError, match=r"0\.dcm: .*took more than"):
        read_series(found)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_series(found).array_zyx, VALUES)


def test_damage_is_named_with_its_file(tmp_path):
    found = series(tmp_path, JPEGLSLossless)
    path = tmp_path / "2.dcm"
    one = pydicom.dcmread(path)
    one.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7" + bytes(60)])
    save(one, path, JPEGLSLossless)
    with pytest.raises(UndecodableError, match=r"2\.dcm: .*JPEG-LS.* pixels are damaged"):
        read_series(found)


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are Linux's")
def test_a_decoder_has_no_more_memory_than_its_frame_needs(tmp_path, monkeypatch):
    (one,) = slices((0.0,), shape=(4096, 4096), values=np.zeros((1, 4096, 4096), np.int16))
    path = save(packed(one, RLELossless), tmp_path / "a.dcm", RLELossless)
    (found,), _ = find_series(tmp_path)
    assert read_series(found).array_zyx.shape == (1, 4096, 4096)
    monkeypatch.setattr(child, "ROOM_BYTES", 0)
    monkeypatch.setattr(pixels, "_PIXEL_BYTES", 1)
    monkeypatch.setattr(pixels, "_decode_with_gdcm", lambda path, dataset: None)
    child.end_children()
    with pytest.raises(UndecodableError, match=path.name):
        read_series(found)
    (other,) = write_volume(phantoms.l_shape(phantoms.GRIDS["oblique"]), tmp_path / "a.mha")
    assert read_information(other)["components"] == 1  # the limit was that file's alone
