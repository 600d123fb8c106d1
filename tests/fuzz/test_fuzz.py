"""The short form of ``make fuzz``: the same cases every time."""

import gzip
import sys

import pytest

from fuzz import encoder, readers, watch
from fuzz.sources import sources
from fuzz.watch import Finding
from itkit.core.errors import ReadError

pytestmark = pytest.mark.slow
CASES, PIECES, DICOM_CASES = 1500, 800, 150
WORKER = """
import os, pathlib, signal, sys, time
from fuzz.watch import each

def do(case, phase):
    phase("ours")
    if case == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if case == 4:
        time.sleep(99)
    if case == 5:
        phase("SimpleITK")
        os.kill(os.getpid(), signal.SIGABRT)
    return "fine"

each(do, range(int(sys.argv[3]), int(sys.argv[3]) + int(sys.argv[4])), pathlib.Path(sys.argv[1]))
"""
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and sanitizers as Linux has them")


@needs_linux
def test_no_damaged_file_crashes_a_reader_or_is_read_as_other_voxels():
    tally = watch.watch(20, CASES)
    assert tally.findings == []
    assert sum(tally.ended.values()) == CASES
    assert tally.ended["refused"] > CASES / 4  # the damage is real
    assert tally.ended["read by both"] > CASES / 8  # and not always fatal


@needs_linux
def test_no_damaged_dicom_file_costs_another_series():
    tally = watch.watch(20, DICOM_CASES, worker=watch.DICOM_WORKER)
    assert tally.findings == []
    assert sum(tally.ended.values()) == DICOM_CASES
    assert tally.ended["converted"] > DICOM_CASES / 8  # damage is not always fatal


@needs_linux
@pytest.mark.skipif(encoder.compiler() is None, reason="no C compiler")
def test_the_encoder_is_clean_under_sanitizers_and_zlib_reads_it():
    assert encoder.run(20, PIECES) == []


@needs_linux
@pytest.mark.skipif(encoder.compiler() is None, reason="no C compiler")
def test_the_sanitizers_see_a_byte_too_far(tmp_path, monkeypatch):
    native = tmp_path / "native" / "deflate"
    native.mkdir(parents=True)
    for path in (*encoder.NATIVE.iterdir(), *encoder.NATIVE.parent.glob("common.h")):
        target = native.parent if path.name == "common.h" else native
        (target / path.name).write_text(path.read_text().replace("plain_bytes / 512 + 64", "plain_bytes / 512 - 4"))
    monkeypatch.setattr(encoder, "NATIVE", native)
    (finding, *_) = encoder.run(20, PIECES)
    assert "heap-buffer-overflow" in finding


def test_findings_are_reported_with_their_case(tmp_path, monkeypatch):
    known = sources(tmp_path)
    source = next(source for source in known if source.name == "ours_int16_fast.nii.gz")
    plain = gzip.decompress(source.files[source.name])

    def checked(data, read):
        monkeypatch.setattr(readers, "read_volume", read)
        for path in tmp_path.iterdir():
            path.unlink()
        return readers.check(source, {source.name: data}, tmp_path, lambda name: None)

    real = readers.read_volume
    assert checked(gzip.compress(plain), real) == "read by both"
    assert checked(gzip.compress(plain)[:-5], real) == "refused"

    def fails(path, kind, *, channels):
        raise KeyError(path.name)

    def is_vague(path, kind, *, channels):
        raise ReadError("something is wrong")

    def is_wrong(path, kind, *, channels):
        volume = real(path, kind, channels=channels)
        return volume.with_array(volume.array_zyx + 1)

    for read, what in ((fails, "KeyError"), (is_vague, "names no file"), (is_wrong, "other voxels")):
        with pytest.raises(Finding, match=what):
            checked(gzip.compress(plain), read)


def test_a_case_is_the_same_every_time(tmp_path):
    known = sources(tmp_path)
    for number in range(50):
        first, again = (readers.files_of(3, number, known) for _ in "ab")
        assert first == again


@needs_linux
def test_deaths_and_hangs_are_findings_and_the_next_cases_follow(tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(watch, "LONGEST_S", 5)
    tally = watch.watch(0, 7, worker=(sys.executable, str(tmp_path / "worker.py")))
    assert tally.findings == ["case 2: ours ended with SIGSEGV", "case 4: ours hung"]
    assert tally.ended == {
        "fine": 4, "ours ended with SIGSEGV": 1, "ours hung": 1, "SimpleITK ended with SIGABRT": 1,
    }  # fmt: skip
