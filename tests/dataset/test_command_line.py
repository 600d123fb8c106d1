"""``itkit convert-dataset`` and ``python -m itkit.dataset.<Name>.convert_…``."""

import json
import subprocess
import sys

import pytest
from synthetic import NAMES, release

import itkit
from itkit.catalogue import ALIASES, load, named
from itkit.cli.adapter import parse
from itkit.cli.umbrella import main
from itkit.dataset.convert.docs import load_spec
from itkit.engine.parameters import to_argv

DATASETS = [name.removeprefix("convert_") for name in named("convert")]
EXPORTS = [name.removeprefix("convert_") for name in named("export")]


def test_every_converter_is_tried_on_a_release():
    tried = {ALIASES.get(f"convert_{name}", (f"convert_{name}", {}))[0] for name in NAMES}
    assert tried == set(named("convert"))


def test_list_names_every_release(capsys):
    assert main(["convert-dataset", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in NAMES)


@pytest.mark.parametrize("words", [["help", "convert_brats2024_ped"], ["convert_brats2024_ped", "--help"]])
def test_another_name_of_a_converter_is_a_command_too(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: itkit convert-dataset brats2024_ped source dest")


@pytest.mark.parametrize("name", [*DATASETS, *EXPORTS])
def test_help_and_argument_round_trip(name, capsys):
    assert main(["convert-dataset", name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--existing" in shown
    operation = load(f"convert_{name}")
    given = ["in", "out", "--ext", ".nrrd"]
    if name in DATASETS:
        assert "order Z Y X" in shown
        given += ["--labels", "left kidney", "liver", "--spacing", "1", "2", "3", "--merge", "a b=c,d"]
    params, options = parse(operation, given)
    assert parse(operation, to_argv(params, options)) == (params, options)
    if name in DATASETS:
        assert params.labels == ("left kidney", "liver")
        assert params.spacing == (1, 2, 3)


@pytest.mark.parametrize(("arguments", "said"), [
    (["kits32", "a", "b"], "did you mean 'kits23'"),
    (["kits23", "nowhere", "b"], "does not exist"),
    (["kits23", ".", "b", "--spacing", "0", "1", "1"], "Z: expected > 0 mm"),
    (["kits23", "a"], "missing dest"),
])  # fmt: skip
def test_misuse_is_one_line_and_code_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert-dataset", *arguments]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_module_runs_with_workers(tmp_path):
    one = release("kits23")
    done = subprocess.run(
        [sys.executable, "-m", "itkit.dataset.KiTS23.convert_nii_mha", one.source, tmp_path, "--mp"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 done, 0 skipped, 0 failed, 1 unpaired" in done.stdout
    assert one.problems(tmp_path) == []


def test_a_release_by_its_own_name(tmp_path):
    one = release("totalsegmentator_mri_v1")
    arguments = [str(one.source), str(tmp_path), "--progress", "none"]
    assert main(["convert-dataset", "TotalSegmentator-MRI-v1", *arguments]) == 0
    assert json.loads((tmp_path / "dataset.json").read_text())["name"] == "totalsegmentator_mri_v1"


def test_a_release_by_its_own_name_in_python(tmp_path):
    one = release("totalsegmentator_mri_v1")
    result = itkit.run("convert_totalsegmentator_mri_v1", source=one.source, dest=tmp_path)
    assert result.exit_code == 0
    assert json.loads((tmp_path / ".itkit" / "run.json").read_text())["params"]["variant"] == "mri_v1"


def test_listing_imports_no_heavy_package():
    code = (
        "import sys; from itkit.cli.umbrella import main; main(['convert-dataset', '--list']);"
        "sys.exit(bool({'torch', 'SimpleITK', 'pydicom', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", DATASETS)
def test_every_pattern_matches_its_own_example(name):
    import re

    family = load_spec(f"convert_{name}").variants or (load_spec(f"convert_{name}"),)
    for spec in family:
        for number, pattern in enumerate(spec.patterns):
            assert re.fullmatch(pattern.regex, pattern.example), (spec.name, pattern.example)
            earlier = [other for other in spec.patterns[:number] if re.fullmatch(other.regex, pattern.example)]
            assert not earlier, (spec.name, pattern.example)
        assert spec.homepage
        assert spec.licence
        assert spec.citation
        assert spec.sources
    variants = {one.name.removeprefix(f"{name}_") for one in family}
    implied = {values["variant"] for operation, values in ALIASES.values() if operation == f"convert_{name}"}
    assert implied <= variants


def test_rerun_completes_a_conversion_with_its_parameters(tmp_path, capsys, monkeypatch):
    one = release("kits23")
    monkeypatch.chdir(tmp_path)
    assert (
        main(["convert-dataset", "kits23", str(one.source), "out", "--labels", "kidney", "--spacing", "3", "2", "2"])
        == 0
    )
    files = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.mha")}
    lost = min(files)
    lost.unlink()
    monkeypatch.chdir("/")
    capsys.readouterr()
    assert main(["rerun", str(tmp_path / "out" / ".itkit" / "run.json")]) == 0
    assert "1 done, 1 skipped" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.mha")} == files


def test_rerun_refuses_what_describes_no_run(tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"operation": "convert_nothing", "params": {}}))
    assert main(["rerun", str(tmp_path / "run.json")]) == 2
    assert "no operation 'convert_nothing'" in capsys.readouterr().err
