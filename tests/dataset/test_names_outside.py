"""Names in a downloaded release's index that lead out of the destination, or out of the release."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import itkit
from itkit.cli.umbrella import main


def release(place: Path, case_id: str, image: str, channel: str = "CT") -> Path:
    source = place / "rel"
    (source / "imagesTr").mkdir(parents=True)
    volume = itkit.Volume(np.ones((3, 4, 5), np.int16), itkit.Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    for path in (source / "imagesTr" / "a_0000.mha", place / "private.mha"):
        itkit.write(volume, path)
    entry = {"images": [image]}
    about = {"channel_names": {"0": channel}, "labels": {"background": 0, "a": 1}, "file_ending": ".mha"}
    (source / "dataset.json").write_text(json.dumps({**about, "numTraining": 1, "dataset": {case_id: entry}}))
    return source


@pytest.mark.parametrize("case_id", ["../../private", "/private", "../.itkit/x", "a/../../../private"])
def test_an_id_that_leads_out_of_the_destination_is_refused(
    tmp_path: Path, case_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = release(tmp_path, case_id, "imagesTr/a_0000.mha")
    before = (tmp_path / "private.mha").read_bytes()
    code = main(["convert-dataset", "nnunet", str(source), str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert code in (1, 2)
    assert case_id in told
    assert (tmp_path / "private.mha").read_bytes() == before
    assert not list(tmp_path.rglob(".itkit/*.mha"))


@pytest.mark.parametrize("image", ["../private.mha", "imagesTr/../../private.mha"])
def test_a_file_outside_the_release_is_not_read(tmp_path: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = release(tmp_path, "a", image)
    assert main(["convert-dataset", "nnunet", str(source), str(tmp_path / "out")]) == 2
    assert "outside the release" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.mha"))


def test_a_name_may_begin_with_the_folder_itself(tmp_path: Path) -> None:
    source = release(tmp_path, "a", "./imagesTr/a_0000.mha")
    assert main(["convert-dataset", "nnunet", str(source), str(tmp_path / "out")]) == 0
