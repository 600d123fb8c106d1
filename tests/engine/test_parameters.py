"""Names of parameters: one vocabulary, former names that still count, wrong ones named."""

import json
from pathlib import Path

import numpy as np
import pytest

import itkit
from itkit.catalogue import CATALOGUE, load
from itkit.cli.adapter import parse
from itkit.core.errors import ParamsError
from itkit.core.fields import PathRole, former_names, is_positional, marker, metavar, other_names
from itkit.dataset.convert.params import ConvertDatasetParams
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.testing import phantoms

WRITTEN_BEFORE = json.loads(Path(__file__).with_name("content_keys.json").read_text())
"""Parameters under their former names, and the keys that destinations of that time hold (made by commit 3667ee6)."""


def model_of(name):
    return load(name).params if name in CATALOGUE else ConvertDatasetParams


WITHOUT_SOURCE = {"tcia_download", "itk_combine", "itk_evaluate"}
"""They read nothing, a list of folders each with a name, or references and predictions."""
WITHOUT_DEST = {"itk_describe", "itk_split"}
"""They write a file into their source."""


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_operation_reads_source_and_writes_dest(name):
    """Folders beside these two have names of their own."""
    roles = {field: marker(info, PathRole) for field, info in model_of(name).model_fields.items()}
    read = {field for field, path in roles.items() if path is not None and path.role == "in_folder"}
    written = {field for field, path in roles.items() if path is not None and path.role == "out_folder"}
    assert ("source" in read) == (name not in WITHOUT_SOURCE)
    assert written - {"label_dest"} == (set() if name in WITHOUT_DEST else {"dest"})


@pytest.mark.parametrize(("name", "values", "key"), WRITTEN_BEFORE)
def test_a_renamed_parameter_keeps_the_key_of_what_was_made(name, values, key):
    model = model_of(name)
    assert make_params(model, values).content_key(operation=name) == key
    former = former_names(model.model_fields)
    present = {former.get(old, old): value for old, value in values.items()}
    params = make_params(model, present)
    assert params.content_key(operation=name) == key
    assert params == model(**values) == model.model_validate_json(json.dumps(values))
    assert params.content_key(operation=name, seed=1) != key


def test_former_names_count_in_python_and_config_files_and_their_options_too(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    folders = {"img_folder": tmp_path / "raw" / "image", "lbl_folder": tmp_path / "raw" / "label"}
    itkit.run("itk_aug", **folders, out_img_folder=tmp_path / "a", random_rot=(1, 2, 3))
    said = json.loads((tmp_path / "a" / ".itkit" / "run.json").read_text())["params"]
    assert (said["source"], said["dest"]) == (str(folders["img_folder"]), str(tmp_path / "a"))
    argv = ["raw/image", "raw/label", "--random-rot", "1", "2", "3"]
    assert command("itk_aug", *argv, "--out-img-folder", "b", cwd=tmp_path)[0] == 0
    assert command("itk_aug", *argv, "-oimg", "c", cwd=tmp_path)[0] == 0
    (tmp_path / "d.toml").write_text('out-img-folder = "d"\nimg_folder = "raw/image"\nlabel_source = "raw/label"\n')
    assert command("itk_aug", *argv[2:], "--config", "d.toml", cwd=tmp_path)[0] == 0
    made = [sorted((tmp_path / folder).glob("*.mha")) for folder in "abcd"]
    assert made[0]
    assert len({tuple(path.read_bytes() for path in paths) for paths in made}) == 1
    for option in ("-o", "--output", "--dest"):
        params, _ = parse(load("itk_check"), ["copy", "raw", option, "out"])
        assert params.dest == Path("out")


def test_a_parameter_under_two_names_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="'source' is given twice: 'src_dir' is another name of it"):
        itkit.run("itk_orient", src_dir="a", source="b", dest="c", orient="LPI")
    (tmp_path / "twice.toml").write_text('src_dir = "a"\nsource = "b"\n')
    with pytest.raises(ParamsError, match="source: given twice"):
        parse(load("itk_orient"), ["--config", str(tmp_path / "twice.toml")])


def test_what_an_older_version_wrote_is_run_again(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    params = {"src_dir": str(tmp_path / "raw"), "dst_dir": str(tmp_path / "out"), "orient": "RAI", "ext": ".nii"}
    (tmp_path / "run.json").write_text(json.dumps({"operation": "itk_orient", "params": params, "options": {}}))
    code, _, stderr = command("itkit", "rerun", "run.json", cwd=tmp_path)
    assert code == 0, stderr
    assert list((tmp_path / "out" / "image").glob("*.nii"))


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ParamsError, match=r"^unknown parameter 'sources'; did you mean 'source'\? \(there are .*dest"):
        itkit.run("itk_orient", sources="a", dest="b", orient="LPI")
    with pytest.raises(ParamsError, match=r"unknown parameter 'worker'; did you mean 'workers'\? \(there are mp, "):
        make_params(RunOptions, {"worker": 2})


def test_the_names_that_the_help_shows_are_accepted(tmp_path):
    stats = load("itk_stats").params
    assert make_params(stats, {"dataset": tmp_path, "out": "o"}) == make_params(
        stats, {"source": tmp_path, "dest": "o"}
    )
    for name in CATALOGUE:
        fields = load(name).params.model_fields
        names = {metavar(key, field): key for key, field in fields.items() if is_positional(field)}
        assert {shown: other_names(fields).get(shown, shown) for shown in names if shown.isidentifier()} == {
            shown: key for shown, key in names.items() if shown.isidentifier()
        }
    with pytest.raises(ParamsError, match="'dest' is given twice: 'out' is another name of it"):
        make_params(stats, {"source": tmp_path, "dest": "o", "out": "o"})


@pytest.mark.parametrize(
    ("operation", "given", "texts"),
    [
        ("itk_evaluate", {"labels": [1, "liver"], "metrics": "dice"}, {"labels": ("1", "liver"), "metrics": ("dice",)}),
        ("itk_evaluate", {"regions": {"whole": [1, 2], "core": 3}}, {"regions": ("whole=1,2", "core=3")}),
        ("itk_evaluate", {"tolerance_mm": 1.5, "format": "csv"}, {"tolerance_mm": ("1.5",), "format": ("csv",)}),
        ("itk_postprocess", {"largest": True}, {"largest": ("all",)}),
        ("itk_combine", {"inputs": {"a": Path("x"), "b": "y"}, "map": "a:1->2"}, {"inputs": ("a=x", "b=y")}),
        ("itk_extract", {"mappings": {1: 2, 300: -1}}, {"mappings": ("1:2", "300:-1")}),
    ],
)
def test_python_users_give_numbers_single_texts_and_pairs(operation, given, texts):
    model = load(operation).params
    needed = {name: "x" for name in ("source", "gt", "pred", "dest") if name in model.model_fields}
    made = make_params(model, {**needed, **given})
    assert {name: getattr(made, name) for name in texts} == texts


def test_numbers_and_arrays_of_numpy_count_like_those_of_python(tmp_path):
    values = {"gt": "a", "pred": "b", "dest": "c"}
    model = load("itk_evaluate").params
    made = make_params(model, {**values, "labels": np.array([1, 2]), "tolerance_mm": np.float64(1.5)})
    assert (made.labels, made.tolerance_mm) == (("1", "2"), ("1.5",))
    made = make_params(model, {**values, "labels": range(1, 3), "regions": {"whole": [np.int64(1), np.uint8(2)]}})
    assert (made.labels, made.regions) == (("1", "2"), ("whole=1,2",))
    given = {"mode": "image", "source": tmp_path, "dest": "o", "spacing": np.array([1, 2, 3], np.float32)}
    assert make_params(load("itk_resample").params, given).spacing == (1.0, 2.0, 3.0)
    assert make_params(RunOptions, {"workers": np.int64(2), "mp": np.True_}).workers == 2


def test_what_is_no_list_of_texts_is_still_refused():
    for value in (True, {"a": "b"}, [None]):
        with pytest.raises(ParamsError, match="--labels"):
            make_params(load("itk_evaluate").params, {"gt": "a", "pred": "b", "out": "c", "labels": value})
