"""Other packages extend ITKIT by entry points: the examples are installed as a user installs them, and used."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from itkit.core.geometry import Geometry
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Install both example packages into a folder of their own."""
    folder = tmp_path_factory.mktemp("plug-ins")
    sources = shutil.copytree(EXAMPLES, folder / "sources")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    call = [*install, "--disable-pip-version-check", "--target", folder / "site"]
    packages = [sources / "itkit-plugin", sources / "itkit-totalsegmentator"]
    done = subprocess.run([*call, *packages], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def python(site, tmp_path):
    """Run Python where the packages are installed; returns (exit code, stdout, stderr)."""

    def run(*arguments, more=()):
        paths = [str(path) for path in (*more, site)] + [os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def clipped(folder, case):
    image = read_volume(folder / "image" / f"{case}.nii.gz").array_zyx
    return np.clip(image, -100, 200)


def test_an_operation_of_another_package_is_one_of_ours(python, tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    code, stdout, _ = python("-m", "itkit", "list")
    assert code == 0
    assert "  itk_window " in stdout
    assert "Clip the images of a dataset to a range of values (itkit-plugin 1.0)" in stdout
    code, stdout, _ = python("-m", "itkit", "window", "--help")
    assert code == 0
    assert stdout.startswith("usage: itkit window source dest [options]\n")
    assert "Lowest value that is kept" in stdout
    code, stdout, stderr = python("-m", "itkit", "window", "raw", "out", "--low", "-100", "--high", "200", "--mp")
    assert (code, stderr) == (0, "")
    assert "2 done" in stdout
    for case in ("case_00", "case_01"):
        image = read_volume(tmp_path / "out" / "image" / f"{case}.mha")
        np.testing.assert_array_equal(image.array_zyx, clipped(tmp_path / "raw", case))
    (tmp_path / "out" / "image" / "case_00.mha").unlink()
    code, stdout, stderr = python("-m", "itkit", "rerun", "out/.itkit/run.json")
    assert (code, stderr) == (0, "")
    assert "1 done, 1 skipped" in stdout
    code, _, stderr = python("-m", "itkit", "window", "raw", "out", "--low", "5", "--high", "1")
    assert (code, stderr) == (2, "itkit window: error: --low 5 is not below --high 1\n")
    code, stdout, _ = python("-m", "itkit", "completion", "bash")
    assert "itk_window|window) echo itk_window ;;" in stdout
    assert "itk_window) echo '--low --high " in stdout


def test_python_sees_the_operation_too(python, tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    code, stdout, stderr = python(
        "-c",
        "import itkit; from itkit.catalogue import load\n"
        "result = itkit.run('itk_window', source='raw', dest='out', low=-100, high=200, workers=2)\n"
        "print(result.exit_code, itkit.operations()['itk_window'])\n"
        "print(load('itk_window').params.model_json_schema()['properties']['low']['default'])\n",
    )
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == ["0 Clip the images of a dataset to a range of values", "-160"]


def test_a_dataset_of_another_package_has_a_converter(python, tmp_path):
    volumes = phantoms.write_dataset(tmp_path / "raw", 1)
    for kind, target in (("image", "ct/p001.nii.gz"), ("label", "seg/p001_seg.nii.gz")):
        (tmp_path / "release" / target).parent.mkdir(parents=True)
        shutil.copy(tmp_path / "raw" / kind / f"{volumes[0]}.nii.gz", tmp_path / "release" / target)
    code, stdout, _ = python("-m", "itkit", "convert-dataset", "--list")
    assert code == 0
    assert "Liver CT of our hospital" in stdout
    code, stdout, stderr = python("-m", "itkit", "convert-dataset", "example_liver", "release", "out")
    assert code in (0, 1), stderr  # the phantom's labels are no liver
    assert "1 done" in stdout
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["name"] == "example_liver"
    code, stdout, _ = python(
        "-c", "import itkit; print(itkit.run('convert_example_liver', source='release', dest='out').summary.counts)"
    )
    assert "'skipped': 1" in stdout


def test_a_reader_of_another_package_reads_for_every_command(python, tmp_path):
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "case.npy", array)
    np.save(tmp_path / "raw" / "flat.npy", array[0])
    (tmp_path / "raw" / "notes.txt").write_text("no volume")
    code, stdout, stderr = python("-m", "itkit", "orient", "raw", "out", "RPS")
    assert code == 1, stderr
    assert "1 done, 0 skipped, 1 failed" in stdout
    assert "flat: flat.npy: expected an array of 3 axes (Z, Y, X); got 2" in stderr
    turned = read_volume(tmp_path / "out" / "case.mha")
    np.testing.assert_array_equal(turned.array_zyx, array[:, :, ::-1])
    assert turned.geometry.orientation == "RPS"
    assert json.loads((tmp_path / "out" / "series_meta.json").read_text()).keys() == {"case.mha"}
    code, stdout, stderr = python("-c", "import itkit; print(itkit.read('raw/case.npy').geometry.size_zyx)")
    assert (stdout, stderr) == ("(2, 3, 4)\n", "")
    code, _, stderr = python("-c", "import itkit; itkit.write(itkit.read('raw/case.npy'), 'copy.npy')")
    assert "WriteError: copy.npy: expected an extension of .mha" in stderr


def test_a_network_and_a_loss_of_another_package_are_built(python):
    pytest.importorskip("torch")
    code, stdout, stderr = python(
        "-W", "ignore", "-c",
        "import torch; from itkit.criterion import create_loss; from itkit.models import create_model, list_models\n"
        "model = create_model('example_net', num_classes=3, spatial_dims=3, width=4)\n"
        "print(list_models('example*'), tuple(model(torch.zeros(1, 1, 4, 5, 6)).shape))\n"
        "print(create_loss('example_loss', smoothing=0.2).label_smoothing)",
    )  # fmt: skip
    assert (code, stdout) == (0, "['example_net'] (1, 3, 4, 5, 6)\n0.2\n"), stderr


FAKE = """
import nibabel, numpy as np
CALLS = []
def totalsegmentator(input, output=None, ml=False, nr_thr_resamp=1, nr_thr_saving=6, fast=False, nora_tag="None",
                     preview=False, task="total", roi_subset=None, statistics=False, radiomics=False, crop_path=None,
                     body_seg=False, force_split=False, output_type="nifti", quiet=False, verbose=False, test=0,
                     skip_saving=False, device="gpu", license_number=None, statistics_exclude_masks_at_border=True,
                     no_derived_masks=False, v1_order=False, fastest=False, roi_subset_robust=None):
    print("Using Device: cpu")
    assert isinstance(input, nibabel.Nifti1Image) and output is None and ml
    if task == "tissue_types":
        raise SystemExit(1)
    labels = np.where(np.asarray(input.dataobj) > (300 if fast else 0), 5, 0).astype(np.uint8)
    affine = input.affine + (np.eye(4) if task == "shifted" else 0)
    return nibabel.Nifti1Image(labels, affine)
"""


@pytest.fixture
def fake(tmp_path):
    """A package that is called as TotalSegmentator 2.4 and labels what is above a threshold."""
    package = tmp_path / "fake" / "totalsegmentator"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "map_to_binary.py").write_text("class_map = {'total': {1: 'spleen', 5: 'liver'}}\n")
    (package / "python_api.py").write_text(FAKE)
    return package.parent


def test_totalsegmentator_labels_images_on_their_grids(python, fake, tmp_path):
    pytest.importorskip("nibabel")
    volume = phantoms.noise(Geometry((4, 6, 5), (2.0, 1.0, 1.5), (3.0, -4.0, 5.0)))
    write_volume(volume, tmp_path / "raw" / "image" / "a.nrrd")
    words = ("-m", "itkit", "totalsegmentator", "raw", "labels")
    code, stdout, stderr = python(*words, "--progress", "json", more=[fake])
    assert code == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["event"] == "summary"  # what it prints is kept off stdout
    label = read_volume(tmp_path / "labels" / "a.mha", "label")
    assert label.geometry == read_volume(tmp_path / "raw" / "image" / "a.nrrd").geometry
    np.testing.assert_array_equal(label.array_zyx, np.where(volume.array_zyx > 0, 5, 0))
    told = json.loads((tmp_path / "labels" / "totalsegmentator_meta.json").read_text())
    assert told["labels"] == {"1": "spleen", "5": "liver"}
    assert told["cases"]["a"]["voxels"] == {"5": int((volume.array_zyx > 0).sum())}


@pytest.mark.parametrize(
    ("task", "said"), [("tissue_types", " fails (SystemExit: 1)"), ("shifted", "'s result is on another grid")]
)
def test_what_totalsegmentator_can_not_do_is_a_failed_case(python, fake, tmp_path, task, said):
    pytest.importorskip("nibabel")
    phantoms.write_dataset(tmp_path / "raw", 1)
    code, _, stderr = python("-m", "itkit", "totalsegmentator", "raw", "labels", "--task", task, more=[fake])
    assert code == 1
    assert f"failed: case_00: TotalSegmentator{said}" in stderr
    assert not list((tmp_path / "labels").glob("*.mha"))


def test_without_totalsegmentator_nothing_runs(python, tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    code, _, stderr = python("-m", "itkit", "totalsegmentator", "raw", "labels")
    assert code == 2
    assert "the package TotalSegmentator can't be imported" in stderr
    assert not (tmp_path / "labels").exists()


def register(folder, name, modules, entry_points):
    """Write a package as an installer leaves it."""
    (info := folder / f"{name}-1.0.dist-info").mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


TRIVIAL = '''
from pathlib import Path
from typing import Annotated
from itkit.core.fields import Positional
from itkit.core.operation import Operation, Outcome, Plan
from itkit.core.params import Params

class TrivialParams(Params):
    """Do nothing, to every case of no folder."""

    source: Annotated[Path, Positional("source")]
    """Folder to leave alone."""
    often: int = 1
    """How often nothing is done."""

OPERATION = Operation("itk_nothing", TrivialParams, lambda params: Plan(()), lambda *_: Outcome(),
                      example="itk_nothing raw --often 2")
'''


def test_an_operation_takes_one_registration(python, tmp_path):
    """Its own module and one line: command, list, help, Python, schema, doctor and completion follow."""
    more = [register(tmp_path / "trivial", "trivial", {"trivial": TRIVIAL},
                     "[itkit.operations]\nitk_nothing = trivial:OPERATION\n")]  # fmt: skip
    assert "  itk_nothing               Do nothing, to every case of no folder (trivial 1.0)" in python(
        "-m", "itkit", "list", more=more
    )[1].splitlines()  # fmt: skip
    shown = python("-m", "itkit", "nothing", "--help", more=more)[1]
    assert "How often nothing is done. [default: 1]" in shown
    assert "usage: itkit nothing source [options]" in shown
    code, stdout, stderr = python(
        "-c",
        "import itkit; from itkit.catalogue import load; from itkit.engine.functions import make_function\n"
        "print(itkit.run('itk_nothing', source='raw', often=3).exit_code)\n"
        "print(sorted(load('itk_nothing').params.model_json_schema()['properties']))\n"
        "print(make_function(load('itk_nothing'), 'nothing').__doc__.splitlines()[0])\n",
        more=more,
    )
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == ["0", "['often', 'source']", "Do nothing, to every case of no folder."]
    assert "  operation  itk_nothing             trivial 1.0" in python("-m", "itkit", "doctor", more=more)[1]
    assert "(itk_nothing|nothing) _itkit_itk_nothing ;;" in python("-m", "itkit", "completion", "zsh", more=more)[1]


BROKEN = {
    "broken_import": "raise SystemError('no licence')",
    "broken_value": "OPERATION = 5",
    "broken_name": TRIVIAL,
}


def test_a_broken_plug_in_is_named_and_breaks_nothing_else(python, tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    points = [f"itk_{module} = {module}:OPERATION" for module in BROKEN]
    more = [
        register(
            tmp_path / "bad",
            "bad",
            BROKEN,
            "\n".join(["[itkit.operations]", *points, "itk_check = broken_value:X", "[itkit.models]", "unetr = a:B"]),
        )
    ]
    said = [
        "  bad 1.0: the name 'itk_check' (itkit.operations) is taken by ITKIT; the package must rename it",
        "  bad 1.0: broken_import:OPERATION of the plug-in 'itk_broken_import' fails: SystemError: no licence",
        "  bad 1.0: broken_value:OPERATION is of type int; expected an Operation",
        "  bad 1.0: the entry point of 'itk_broken_name' names the operation 'itk_nothing'",
    ]
    for verb in ("list", "doctor"):
        code, stdout, _ = python("-m", "itkit", verb, more=more)
        assert code == 0
        assert set(said) <= set(stdout.splitlines())
        assert "itk_window" in stdout
    for kind, name in (("network", "example_net"), ("loss", "example_loss"), ("reader", "npy")):
        assert f"  {kind:<11}{name:<24}itkit-plugin 1.0" in stdout.splitlines()
    assert (
        "  bad 1.0: the name 'unetr' (itkit.models) is taken by ITKIT; the package must rename it"
        in stdout.splitlines()
    )
    code, stdout, stderr = python("-m", "itkit", "check", "check", "raw", more=more)
    assert (code, stderr) == (0, "")
    code, _, stderr = python("-m", "itkit", "broken_import", "raw", more=more)
    assert (code, stderr) == (2, f"itkit broken_import: error: {said[1].strip()}\n")


def test_our_own_help_looks_for_no_plug_in(python, tmp_path):
    code, stdout, stderr = python(
        "-c",
        "import sys; from itkit.cli.main import main; main('itk_check', ['--help'])\n"
        "print('importlib.metadata' in sys.modules)",
    )
    assert (code, stdout.splitlines()[-1], stderr) == (0, "False", "")
