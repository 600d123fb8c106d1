import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_cases import SUFFIXES, assert_same_geometry, dtypes, geometries, voxels

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io import sitk_toolkit
from itkit.io.formats import codecs, headers
from itkit.kernels.dispatch import forced_backend


@pytest.fixture
def by_itk(monkeypatch):
    monkeypatch.setenv("ITKIT_CODECS", "itk")


@given(geometries, dtypes, st.sampled_from(SUFFIXES), st.sampled_from(["none", "fast"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_of_either_backend_are_read_by_the_other(tmp_path, monkeypatch, geometry, dtype, suffix, compression):
    if suffix in (".nii", ".nii.gz") and dtype in ("int64", "uint64"):
        dtype = "int32"  # SimpleITK writes no such NIfTI
    volume = Volume(voxels(geometry.size_zyx, dtype), geometry)
    for writer, reader in (("native", "itk"), ("itk", "native"), ("isal", "itk"), ("itk", "isal"), ("isal", "native")):
        monkeypatch.setenv("ITKIT_CODECS", writer)
        path = tmp_path / f"{writer}_{suffix[1:]}" / f"a{suffix}"  # beside a.nii ITK reads that for a.nii.gz
        itkit.write(volume, path, compression=compression)
        monkeypatch.setenv("ITKIT_CODECS", reader)
        again = itkit.read(path)
        assert again.dtype == volume.dtype
        np.testing.assert_array_equal(again.array_zyx, volume.array_zyx)
        assert_same_geometry(again.geometry, geometry, tolerance=1e-5 if suffix.startswith(".nii") else 1e-6)


def test_the_switch_keeps_our_codecs_out(tmp_path, by_itk, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("our codec was called")

    for module, name in (
        (sitk_toolkit, "read_voxels"),
        (sitk_toolkit, "write_volume_file"),
        (codecs, "read_voxels"),
        (headers, "read_header"),
    ):
        monkeypatch.setattr(module, name, fail)
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), Geometry((2, 3, 4), (1.0, 2.0, 3.0)))
    itkit.write(volume, tmp_path / "a.mhd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mhd", "a.zraw"]
    np.testing.assert_array_equal(itkit.read(tmp_path / "a.mhd").array_zyx, volume.array_zyx)


def test_doctor_names_the_codecs_in_use(by_itk):
    from itkit.cli.doctor import report

    assert "ITKIT_CODECS=itk" in report()


@pytest.mark.parametrize(
    ("wanted", "backend", "codecs"),
    [
        ("native", "native", "ISA-L reads, ITKIT's encoder writes"),
        ("native", "numpy", "ISA-L reads and writes"),
        ("isal", "native", "ISA-L reads and writes (ITKIT_CODECS=isal)"),
    ],
)
def test_doctor_names_what_the_kernels_decide(wanted, backend, codecs, monkeypatch):
    from itkit.cli.doctor import report

    monkeypatch.setenv("ITKIT_CODECS", wanted)
    with forced_backend(backend):
        lines = {line[:12].strip(): line[12:] for line in report().splitlines()}
    assert (lines["kernels"], lines["codecs"]) == (backend, codecs)


def test_a_headers_only_command_starts_without_numpy_and_simpleitk():
    code = (
        "import sys, itkit.cli.terminal, itkit.process.itk_check;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'SimpleITK', 'multiprocessing.pool')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
