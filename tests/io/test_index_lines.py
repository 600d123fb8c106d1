"""The index is read and written line by line: the same file as before, and a damaged one is made anew."""

import json
import os

import pytest

from itkit.core import bounded
from itkit.io import meta
from itkit.io.layouts import find_images, find_pairs, find_volumes
from itkit.io.meta import refresh_index
from itkit.testing import phantoms

NAMES = ("a.mha", "a-b.mha", "a_1.nii.gz", "sub/z.mha", "ü\udcfc.mha", 'q"q.mha')


@pytest.fixture
def folder(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    whole = tmp_path / "raw" / "image" / "case_00.nii.gz"
    from itkit.io.sitk_toolkit import read_volume, write_volume

    made = tmp_path / "made"
    for name in NAMES:
        write_volume(read_volume(whole), made / "x.mha" if name.endswith(".mha") else made / "x.nii.gz")
        (made / name).parent.mkdir(exist_ok=True)
        (made / ("x.mha" if name.endswith(".mha") else "x.nii.gz")).rename(made / name)
    return made


def index_of(folder):
    return json.loads((folder / "series_meta.json").read_text())


def test_entries_are_sorted_and_an_index_that_holds_is_not_written_again(folder):
    refresh_index(folder)
    assert list(index_of(folder)) == sorted(NAMES)
    before = (folder / "series_meta.json").stat().st_ino
    refresh_index(folder)
    assert (folder / "series_meta.json").stat().st_ino == before


@pytest.mark.parametrize("change", ["first", "last", "more", "touched"])
def test_what_has_changed_is_written_and_the_rest_kept(folder, change):
    refresh_index(folder, lambda name, stamp: None)
    index = folder / "series_meta.json"
    marked = index.read_text().replace('"classes": null', '"classes": [7]')  # tells a kept entry from one made anew
    index.write_text(marked)
    expected = {name: [7] for name in NAMES}
    if change == "more":
        (folder / "b.mha").write_bytes((folder / "a.mha").read_bytes())
        expected["b.mha"] = None
    elif change == "touched":
        os.utime(folder / "a_1.nii.gz", ns=(1, 1))
        expected["a_1.nii.gz"] = None
    else:
        gone = sorted(NAMES)[0 if change == "first" else -1]
        (folder / gone).unlink()
        expected.pop(gone)
    refresh_index(folder)
    assert {name: entry["classes"] for name, entry in index_of(folder).items()} == expected
    assert list(index_of(folder)) == sorted(expected)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('},\n  "a.mha"', '}\n  "a.mha"'),  # a comma is missing
        lambda text: text.replace('"size": [', '"size": [0'),  # no JSON number
        lambda text: text.replace('"spacing": [', '"spacing": [1e999, '),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("\n", " "),
        lambda text: "{\n}\n",
        lambda text: text + "{}",
        lambda text: "{\n" + "\n".join(reversed(text.splitlines()[1:-1])) + "\n}\n",
    ],
)
def test_a_damaged_index_is_made_anew(folder, damage):
    refresh_index(folder)
    index = folder / "series_meta.json"
    whole = index.read_bytes()
    index.write_text(damage(whole.decode()))
    assert index.read_bytes() != whole
    refresh_index(folder)
    assert index.read_bytes() == whole


def test_an_index_of_another_form_counts_too(folder, monkeypatch):
    refresh_index(folder)
    index = folder / "series_meta.json"
    whole = index.read_bytes()
    index.write_text(json.dumps(json.loads(whole)))
    monkeypatch.setattr(meta, "read_any_header", None)  # no header is read
    refresh_index(folder)
    assert index.read_bytes() == whole


def test_pairs_are_found_without_an_object_for_each(tmp_path):
    phantoms.write_dataset(tmp_path, 3)
    (tmp_path / "label" / "case_01.nii.gz").rename(tmp_path / "label" / "other.nii.gz")
    pairs = find_pairs(tmp_path / "image", tmp_path / "label")
    assert dict(pairs.pairs) == {
        f"case_0{n}": {kind: tmp_path / kind / f"case_0{n}.nii.gz" for kind in ("image", "label")} for n in (0, 2)
    }
    assert len(pairs.pairs) == 2
    assert "case_01" not in pairs.pairs
    assert [(item.case_id, item.lacks) for item in pairs.unpaired] == [("case_01", "label"), ("other", "image")]
    assert list(find_images(tmp_path / "image").cases) == ["case_00", "case_01", "case_02"]
    assert find_volumes(tmp_path, recursive=True, but=("image",)) == {
        f"label/{name}": tmp_path / "label" / f"{name}.nii.gz" for name in ("case_00", "case_02", "other")
    }


def test_the_classes_of_more_files_than_one_text_may_list_are_read(folder, monkeypatch):
    root, index = folder.parent, folder.parent / "series_meta.json"
    refresh_index(root)
    index.write_text(index.read_text().replace('"classes": null', '"classes": [0, 7]'))
    os.utime(folder / "a.mha", ns=(1, 1))
    monkeypatch.setattr(bounded, "MOST_VALUES", 100)
    expected = {f"made/{name}": None if name == "a.mha" else [0, 7] for name in NAMES}
    assert meta.current_classes(root, "made") == expected
