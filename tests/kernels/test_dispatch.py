from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from itkit.kernels import dispatch
from itkit.kernels.dispatch import backend, forced_backend, run_slabs


def test_the_environment_switches_the_compiled_kernels_off(monkeypatch):
    assert backend() == "native"
    monkeypatch.setenv("ITKIT_NATIVE", "0")
    assert backend() == "numpy"
    with forced_backend("native"):
        assert backend() == "native"


def test_a_forced_backend_ends_with_its_block():
    with forced_backend("numpy"):
        with forced_backend("native"):
            assert backend() == "native"
        assert backend() == "numpy"
    assert backend() == "native"


def test_a_stale_library_is_not_used_and_asking_for_it_says_what_to_do():
    code = (
        "import itkit.kernels.dispatch as d; d.ABI += 1; print(d.backend())\n"
        "try:\n  d.forced_backend('native').__enter__()\nexcept RuntimeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.startswith("numpy\n")
    assert "build_ext --inplace" in done.stdout
    assert "_native" in done.stderr
    assert "was built from other sources; numpy does its work" in done.stderr


def test_a_library_that_lacks_a_function_or_can_not_be_loaded_is_named(tmp_path):
    for change, said in (
        ("d._SIGNATURES['itkit_of_tomorrow'] = 'p'", "was built from other sources"),
        (
            "d.ctypes.CDLL = lambda path: (_ for _ in ()).throw(OSError('wrong ELF class'))",
            "can't be loaded (wrong ELF",
        ),
    ):
        code = f"import itkit.kernels.dispatch as d; {change}; print(d.backend(), d.backend())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
        assert done.stdout == "numpy numpy\n"
        assert done.stderr.count(said) == 1


def test_the_number_of_the_interface_changes_with_it():
    """When this fails: raise ``ABI`` here and in ``native/module.c``, and put the new digest beside it below."""
    table = repr((sorted(dispatch._SIGNATURES.items()), sorted(dispatch._LARGE_RESULTS)))
    assert (dispatch.ABI, hashlib.sha256(table.encode()).hexdigest()[:12]) == (7, "364dfd6e4bfd")


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_slabs_cover_the_range_once(threads):
    seen = []
    run_slabs(lambda begin, end: seen.extend(range(begin, end)), 7, threads)
    assert sorted(seen) == list(range(7))


def test_an_error_in_a_slab_is_raised():
    def fail(begin, end):
        raise MemoryError(begin, end)

    with pytest.raises(MemoryError):
        run_slabs(fail, 4, 2)
