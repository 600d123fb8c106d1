"""Cases of tiny files are measured by the worker that reads them; large volumes among them wait for memory."""

import numpy as np
import pytest

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine.needs import SMALL_FILES_BYTES, SMALL_TASK_BYTES
from itkit.engine.resources import BASE_BYTES
from itkit.testing import phantoms

LARGE = Geometry((60, 300, 310), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    for number in range(6):
        itkit.write(phantoms.noise(Geometry((6, 7, 8), (1.0, 1.0, 1.0)), number), folder / f"case_{number}.mha")
    itkit.write(Volume(np.full(LARGE.size_zyx, -7, np.int16), LARGE), folder / "case_2.mha")
    assert 2 * np.prod(LARGE.size_zyx) > 10 * SMALL_TASK_BYTES
    assert (folder / "case_2.mha").stat().st_size < SMALL_FILES_BYTES
    (folder / "case_4.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    return folder


def orient(source, dest, **options):
    result = itkit.run("itk_orient", source=source, dest=dest, orient="RAI", mp=True, workers=2, **options)
    return {record.case_id: record for record in result.records}


def test_a_tiny_file_of_a_large_volume_is_done_among_tiny_ones(source, tmp_path):
    records = orient(source, tmp_path / "out")
    assert [records[f"case_{number}"].status for number in range(6)] == ["done"] * 4 + ["failed", "done"]
    turned = itkit.read(tmp_path / "out" / "case_2.mha")
    assert turned.shape_zyx == LARGE.size_zyx
    assert (turned.array_zyx == -7).all()


def test_a_tiny_file_of_a_volume_that_exceeds_the_memory_fails_alone(source, tmp_path):
    records = orient(source, tmp_path / "out", max_memory=2 * BASE_BYTES + 4 * SMALL_TASK_BYTES)
    assert [records[f"case_{number}"].status for number in range(6)] == [
        "done",
        "done",
        "failed",
        "done",
        "failed",
        "done",
    ]
    assert "raise --max-memory" in records["case_2"].message
    assert not (tmp_path / "out" / "case_2.mha").exists()
