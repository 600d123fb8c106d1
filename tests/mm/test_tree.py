"""Which experiment and which models a user means."""

import pytest

from itkit.core.errors import LayoutError, ParamsError
from itkit.mm.cfg_options import parse_options, parse_value
from itkit.mm.tree import choose_models, experiments, find_experiment


@pytest.fixture
def root(tmp_path):
    for name in ("0.1_old", "0.1", "notes", "0.3.Config3", "0.3.1.Config3", "0.10.Late", "0.2.Twin", "0.2.Twain",
                 "1.2.x.Odd", ".3.Hidden", "0.4.", "0.5.3d"):  # fmt: skip
        (tmp_path / name).mkdir()
    (tmp_path / "0.6.File").write_text("")
    for name in ("mgam", "unet", "_base", "a_net"):
        (tmp_path / "0.3.Config3" / f"{name}.py").write_text("")
    (tmp_path / "0.3.Config3" / "readme.txt").write_text("")
    (tmp_path / "0.3.Config3" / "folder.py").mkdir()
    return tmp_path


def test_only_folders_that_fit_the_rule_are_experiments_in_numeric_order(root):
    names = [experiment.full_name for experiment in experiments(root)]
    assert names == ["0.2.Twain", "0.2.Twin", "0.3.Config3", "0.3.1.Config3", "0.10.Late"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("0.3", "0.3.Config3"),
        ("0.3.Config3", "0.3.Config3"),
        ("0.3.Con", "0.3.Config3"),
        ("0.3.1", "0.3.1.Config3"),
        ("0.3.1.C", "0.3.1.Config3"),
        ("0.2.Twi", "0.2.Twin"),
        ("0.10", "0.10.Late"),
        ("Late", "0.10.Late"),
        ("La", "0.10.Late"),
        ("Twi", "0.2.Twin"),
    ],
)
def test_a_version_a_name_or_a_beginning_finds_one_experiment(root, wanted, found):
    assert find_experiment(root, wanted).full_name == found


@pytest.mark.parametrize(
    "wanted", ["0", "0.1", "0.1_old", "notes", "0.5", "0.6", "0.9.X", ".Late", ".", "x", "", "1.2"]
)
def test_what_is_not_there_is_an_error_that_lists_what_is(root, wanted):
    with pytest.raises(ParamsError, match=r"no experiment .*there are 0\.2\.Twain, 0\.2\.Twin, 0\.3\.Config3"):
        find_experiment(root, wanted)


def test_a_longer_version_is_never_meant(root):
    (root / "0.3.Config3").rename(root / "moved")
    with pytest.raises(ParamsError, match=r"no experiment '0\.3'"):
        find_experiment(root, "0.3")


@pytest.mark.parametrize("wanted", ["0.2", "0.2.Tw", "Tw", "0.2."])
def test_several_are_ambiguous_and_listed(root, wanted):
    with pytest.raises(ParamsError, match=r"ambiguous.*: 0\.2\.Twain, 0\.2\.Twin; give the full name"):
        find_experiment(root, wanted)


@pytest.mark.parametrize("wanted", ["Config3", "Con"])
def test_a_name_of_two_versions_is_ambiguous(root, wanted):
    with pytest.raises(ParamsError, match=r"ambiguous.*: 0\.3\.Config3, 0\.3\.1\.Config3; give the full name"):
        find_experiment(root, wanted)


def test_a_whole_name_counts_more_than_a_beginning(root):
    (root / "0.4.Later").mkdir()
    assert find_experiment(root, "Late").full_name == "0.10.Late"


def test_a_config_root_that_is_no_folder_is_an_error(root):
    with pytest.raises(LayoutError, match="not a folder"):
        experiments(root / "0.6.File")


def test_models_are_python_files_but_shared_and_hidden_ones(root):
    experiment = find_experiment(root, "0.3")
    assert experiment.models == ("a_net", "unet")
    assert choose_models(experiment, [], []) == (["a_net", "unet"], "")
    assert choose_models(experiment, ["unet", "a_net"], ["a_net"]) == (["unet", "a_net"], "")
    chosen, note = choose_models(experiment, [], ["other", "unet"])
    assert chosen == ["unet"]
    assert choose_models(experiment, [], ["unet", "other", "a_net"])[0] == ["unet", "a_net"]
    assert "other" in note
    with pytest.raises(ParamsError, match=r"no model 'unett'; did you mean 'unet'\?; there are: a_net, unet"):
        choose_models(experiment, ["unett"], [])
    with pytest.raises(ParamsError, match="no model that supported_models names"):
        choose_models(experiment, [], ["other"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1e-3", -1e-3),
        ("True", True),
        ("false", False),
        ("None", None),
        ("word", "word"),
        ("a/b.py", "a/b.py"),
        ("[1, 2.5]", [1, 2.5]),
        ("[a,[b,2]]", ["a", ["b", 2]]),
        ("(1,2)", (1, 2)),
        ("1,2", [1, 2]),
        ("'a,b'", "a,b"),
        ("{'a': [1]}", {"a": [1]}),
        ("", ""),
        ("[]", []),
    ],
)
def test_values_of_options_are_read_as_mmengine_reads_them(text, value):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("texts", [["word"], ["=3"], ["a..b=1"], ["a=1", "a=2"]])
def test_options_without_key_or_value_or_twice_are_refused(texts):
    with pytest.raises(ParamsError, match="--cfg-options"):
        parse_options(texts)
