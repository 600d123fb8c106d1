"""Every kind of hostile file in one dataset, and every command over it: it names what is bad and does the rest."""

import os
import shutil

import pytest
from attack_data import GRID, first_quick, meta, nrrd
from test_lying_headers import CLAIMS, FORMATS, OUTSIDE, PIPES, SECRET

from itkit.catalogue import CATALOGUE
from itkit.core.geometry import Geometry
from itkit.io.dicom.write import write_series
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

BROKEN = {
    "empty.mha": "",
    "zeros.nii.gz": bytes(400),
    "noise.nii": b"\x5c\x01\x00\x00" + bytes(range(256)) * 3,
    "half.nrrd": "NRRD0004\ntype: short\n",
    "folder.mhd": meta("2 2 2", "."),
    "self.mha": meta("2 2 2", "self.mha"),
    "\x1b[31mred\x07.mha": "x",
    "=cmd|' ;A0.nii": "x",
    "<script>alert(1)<.nrrd": nrrd("2 2 2", ""),
}
COMMANDS = {
    "check": ["itk_check", "check", "IN", "--deep", "--report", "OUT/r.html"],
    "check, table": ["itk_check", "check", "IN", "--report", "OUT/r.csv"],
    "check copy": ["itk_check", "copy", "IN", "-o", "OUT"],
    "check symlink": ["itk_check", "symlink", "IN", "-o", "OUT"],
    "check delete": ["itk_check", "delete", "IN", "--min-size", 1, 1, 1, "--delete-unreadable", "--yes"],
    "resample": ["itk_resample", "dataset", "IN", "OUT", "--spacing", 2, 1, 1],
    "resample on targets": ["itk_resample", "image", "IN/image", "OUT", "--target-folder", "IN/label"],
    "orient": ["itk_orient", "IN", "OUT", "LPI", "--ext", "keep"],
    "patch": ["itk_patch", "IN", "OUT", "--patch-size", 3, "--patch-stride", 3, "--pad"],
    "aug": ["itk_aug", "IN/image", "IN/label", "-oimg", "OUT", "-olbl", "OUT/l", "-n", 1, "--random-rot", 9, 0, 0],
    "extract": ["itk_extract", "IN/label", "OUT", "1:1"],
    "describe": ["itkit", "describe", "IN"],
    "stats": ["itkit", "stats", "IN", "OUT"],
    "evaluate": ["itkit", "evaluate", "IN/label", "IN/label", "OUT"],
    "collect": ["itkit", "collect", "IN", "OUT", "--image", "image/{case}.*", "--label", "label/{case}.*"],
    "collect --guess": ["itkit", "collect", "IN", "OUT", "--guess"],
    "enhance": ["itkit", "enhance", "IN", "OUT", "--clip", 0, 5, "--within", "IN/label"],
    "align": ["itkit", "align", "IN", "IN/image", "OUT", "--transform", "translation", "--mask", "IN/label"],
    "combine": ["itkit", "combine", "-i", "a=IN/label", "b=IN/label", "--fuse", "majority", "-o", "OUT"],
    "split": ["itkit", "split", "IN", "-o", "OUT/s.json", "--folds", 2, "--stratify", "classes"],
    "presegment": ["itkit", "presegment", "IN", "OUT", "--target", "nonzero"],
    "crop": ["itkit", "crop", "IN", "OUT", "--to", "label"],
    "crop by boxes": ["itkit", "crop", "IN", "OUT", "--box-from", "IN/label"],
    "postprocess": ["itkit", "postprocess", "IN", "OUT", "--largest", "--inside", "IN/label"],
    "postprocess --learn": ["itkit", "postprocess", "IN", "OUT", "--learn", "IN"],
    "convert format": ["itk_convert", "format", "IN", "OUT", "--ext", ".nii.gz"],
    **{
        f"convert {name}": ["itk_convert", name, "IN", "OUT"]
        for name in ("nnunet", "msd", "monai", "torchio", "bids", "dicom", "dicom-series")
    },
    **{
        f"convert from-{name}": ["itk_convert", f"from-{name}", "IN", "OUT"]
        for name in ("nnunet", "msd", "monai", "torchio", "bids")
    },
    **{
        f"convert {name}": ["itk_convert", name, "IN/label", "OUT", "--series", "SERIES"]
        for name in ("dicom-seg", "rtstruct")
    },
}
HAVE_NOTHING_TO_DO = {
    "convert dicom", "convert from-nnunet", "convert from-msd", "convert from-monai", "convert from-torchio",
    "convert from-bids",
}  # fmt: skip
"""Their kind of source is not there: exit code 2 is right."""


def hostile(root):
    """Make a dataset of good and bad pairs, and things that are no files; beside it, a secret."""
    secret = root / "secret" / "key"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(SECRET * 40)
    files = {name: header(str(secret)) for name, header in OUTSIDE.items()}
    for group in (CLAIMS, PIPES):
        files |= {f"{what.replace('/', ' ')}{name[3:]}": content for what, (name, content) in group.items()}
    files |= {f"format_{number}.mha": meta("2 2 2", name) + "x" * 8 for number, name in enumerate(FORMATS)} | BROKEN
    for number, folder in enumerate(("image", "label")):
        place = root / "in" / folder
        place.mkdir(parents=True)
        for case in ("good_a", "good_b"):
            volume = phantoms.l_shape(GRID) if number else phantoms.noise(GRID, 1)
            write_volume(volume, place / f"{case}.nii.gz")
        for name, content in files.items():
            (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        (place / "innocent.raw").symlink_to("../../secret/key")
        (place / "loop.mha").symlink_to("loop.mha")
        (place / "away.nii.gz").symlink_to("../../secret/key")
        (place / "circle").symlink_to("..")
        for name in ("pipe", "pipe_a.nii", "pipe_b.mhd"):
            os.mkfifo(place / name)
    (root / "in" / "dataset.json").write_text(
        '{"name": "../../x", "labels": {"0": "background", "1": "../../evil", "2": "\\u001b[31m", "3": "=cmd()"}, '
        '"splits": {"train": ["../../evil", "good_a"]}, "history": [[[[1]]]]}'
    )
    return root / "in"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    hostile(root)
    write_series(phantoms.noise(Geometry((4, 6, 5), (2.0, 1.0, 1.0)), 0), root / "series")
    return root


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
@pytest.mark.parametrize("name", first_quick(COMMANDS, 1))
def test_a_command_names_what_is_bad_and_does_the_rest(attacked, whole, tmp_path, name):
    root = whole
    if "delete" in name:
        root = tmp_path / "own"
        hostile(root)
    places = {"IN": str(root / "in"), "OUT": str(tmp_path / "out"), "SERIES": str(root / "series")}
    words = []
    for word in map(str, COMMANDS[name]):
        start, equals, path = word.rpartition("=")
        head, slash, tail = path.partition("/")
        words.append(f"{start}{equals}{places.get(head, head)}{slash}{tail}")
    (tmp_path / "out").mkdir()
    before = {*root.rglob("*")}
    ended = attacked(*words, cwd=tmp_path)
    assert ended.is_calm, ended
    assert ended.code == (2 if name in HAVE_NOTHING_TO_DO else ended.code), ended
    if name in ("check", "check, table"):
        assert ended.code == 1, ended
        assert "empty: " in ended.text
    assert SECRET.decode() not in ended.text
    assert not {"\x1b", "\x07"} & set(ended.text)
    for path in (tmp_path / "out").rglob("*"):
        assert not (path.is_file() and not path.is_symlink() and SECRET in path.read_bytes()), path
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "own"}
    if "delete" not in name and name != "describe":
        assert {*root.rglob("*")} - before <= {root / "in" / "series_meta.json"}
        assert before <= {*root.rglob("*")}
    assert (root / "secret" / "key").read_bytes() == SECRET * 40
    shutil.rmtree(tmp_path)


def test_every_command_is_tried():
    tried = {words[0] if words[0] != "itkit" else f"itk_{words[1]}" for words in COMMANDS.values()}
    group = {name: entry for name, entry in CATALOGUE.items() if entry.group == "process" and name.startswith("itk_")}
    assert tried == {name for name, entry in group.items() if entry.extra in ("", "dicom")}  # others need a model
