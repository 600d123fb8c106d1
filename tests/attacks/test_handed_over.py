"""Descriptions and tables that somebody hands over: of any shape, too many cells, or without an end."""

import json
import os

import pytest
from attack_data import pair

from itkit.cli.main import main

DEEP = "[" * 100_000
SHAPES = (
    "null",
    "1",
    '"x"',
    "[]",
    "[null]",
    "{}",
    '{"a": NaN}',
    DEEP,
    '{"a":' * 100_000,
    "",
    "\0\0",
    "case\n../../x\n",
)
FILES = {
    "dataset.json": ("IN/dataset.json", ["itk_convert", "nnunet", "IN", "OUT"]),
    "nnU-Net": ("LAYOUT/dataset.json", ["itk_convert", "from-nnunet", "LAYOUT", "OUT"]),
    "MSD": ("LAYOUT/dataset.json", ["itk_convert", "from-msd", "LAYOUT", "OUT"]),
    "MONAI": ("LAYOUT/datalist.json", ["itk_convert", "from-monai", "LAYOUT", "OUT"]),
    "TorchIO": ("LAYOUT/subjects.csv", ["itk_convert", "from-torchio", "LAYOUT", "OUT"]),
    "BIDS": ("LAYOUT/dataset_description.json", ["itk_convert", "from-bids", "LAYOUT", "OUT"]),
    "BIDS participants": ("LAYOUT/participants.tsv", ["itk_convert", "from-bids", "LAYOUT", "OUT"]),
    "boxes": ("X", ["itk_crop", "IN", "OUT", "--paste-back", "X"]),
    "statistics": ("X", ["itk_enhance", "IN", "OUT", "--statistics", "X"]),
    "splits": ("X", ["itk_split", "IN", "-o", "X", "--folds", "2", "--stable"]),
    "pins": ("X", ["itk_split", "IN", "-o", "OUT/s.json", "--test", "0.5", "--pin", "X"]),
    "groups": ("X", ["itk_split", "IN", "-o", "OUT/s.json", "--folds", "2", "--group-by", "b", "--table", "X"]),
    "subgroups": ("X", ["itk_evaluate", "IN", "IN", "OUT", "--group-by", "b", "--table", "X"]),
    "what was learned": ("X.json", ["itk_postprocess", "IN", "OUT", "--config", "X.json"]),
}


@pytest.fixture
def tried(tmp_path):
    """Return the path of a file, the command that reads it, and what lies around."""

    def prepare(name):
        file, words = FILES[name]
        source, layout = pair(tmp_path / "in", 2), tmp_path / "layout"
        kind = next((word[5:] for word in words if word.startswith("from-")), "")
        if kind:
            assert main("itk_convert", [kind, str(source), str(layout), "--progress", "none"]) in (0, 2)
            layout.mkdir(exist_ok=True)
        places = {
            "IN": source,
            "OUT": tmp_path / "out",
            "LAYOUT": layout,
            "X": tmp_path / "x",
            "X.json": tmp_path / "x.json",
        }
        (tmp_path / "out").mkdir()

        def found(word):
            head, slash, tail = word.partition("/")
            return f"{places.get(head, head)}{slash}{tail}"

        path = tmp_path / found(file)
        path.unlink(missing_ok=True)
        return path, [*map(found, words)]

    return prepare


@pytest.mark.parametrize("name", FILES)
def test_any_shape_ends_in_a_sentence(tried, tmp_path, capsys, name):
    path, (command, *words) = tried(name)
    around = set(tmp_path.iterdir()) | {path}
    for shape in SHAPES:
        path.write_text(shape)
        code = main(command, [*words, "--progress", "none"])
        said = "".join(capsys.readouterr())
        assert code in (0, 1, 2), shape[:50]
        assert not [word for word in ("Traceback", "fault of ITKIT", "\0") if word in said], (shape[:50], said)
        assert set(tmp_path.iterdir()) <= around, shape[:50]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
@pytest.mark.parametrize("name", FILES)
def test_a_file_without_end_is_not_waited_for(attacked, tried, name):
    path, words = tried(name)
    os.mkfifo(path)
    assert attacked("itkit", words[0].removeprefix("itk_"), *words[1:]).is_calm
    path.unlink()
    path.symlink_to("/dev/zero")
    assert attacked("itkit", words[0].removeprefix("itk_"), *words[1:]).is_calm


@pytest.mark.slow
def test_a_long_text_is_refused_by_its_size(attacked, tried):
    path, words = tried("groups")
    with path.open("wb") as file:
        file.write(b'case,b\n"')
        file.truncate(1 << 30)  # a sparse file: a gigabyte of zeros
    ended = attacked("itkit", "split", *words[1:])
    assert ended.is_calm
    assert ended.code == 2
    assert "which are the most that is read" in ended.text
    path.write_text(json.dumps({"dataset": {"intensity": "x" * 1000}}))
    assert attacked("itkit", "split", *words[1:]).code == 2


@pytest.mark.parametrize("channel", ["x/../../../../../../evil", "a\0b", "..", "x" * 300, "\x1b[31m"])
def test_a_channel_of_any_name_is_written_inside(tmp_path, capsys, channel):
    source, out = pair(tmp_path / "a/b/c/in"), tmp_path / "a/b/c/out"
    row = "case_0,image/case_0.nii.gz,label/case_0.nii.gz\n"
    (source / "subjects.csv").write_text(f"subject,t1,{channel}\n{row}")
    code = main("itk_convert", ["from-torchio", str(source), str(out), "--progress", "none"])
    said = "".join(capsys.readouterr())
    assert code in (0, 1)
    assert not [word for word in ("Traceback", "fault of ITKIT", "\0", "\x1b") if word in said], said
    assert {path.name for path in (tmp_path / "a/b/c").iterdir()} == {"in", "out"}
    assert {path.name for path in tmp_path.rglob("*")} & {"evil"} == set()
    assert len(list(out.glob("image/*"))) == (2 if code == 0 else 0)
