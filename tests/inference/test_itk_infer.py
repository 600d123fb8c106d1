"""``itk_infer`` as a command: sources of all kinds, bad cases, resume, small memory, what it writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import leftovers
from threshold_network import CT, closest, write_thresholds

import itkit
from itkit.catalogue import load
from itkit.cli.main import main
from itkit.core.errors import ItkitError, LayoutError, ModelError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.inference import ModelFacts, write_model
from itkit.inference.itk_infer import InferParams, least_memory, memory
from itkit.inference.model_folder import NetworkFacts
from itkit.io.formats.store import PatchStore
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.models import create_model
from itkit.testing import phantoms
from itkit.testing.contracts import OperationContract

CENTRES = [-1001.0, 0.3, 55.0, 401.5]
TINY = {"n_channels": 2, "exp_r": 2, "block_counts": [1] * 9}


def infer(model, source, dest, **values):
    return itkit.run("itk_infer", model=model, source=source, dest=dest, **values)


def write_images(folder, count=3):
    grids = list(phantoms.GRIDS.values())
    for number in range(count):
        values = np.random.default_rng(number).integers(-1024, 900, grids[number].size_zyx).astype(np.int16)
        write_volume(Volume(values, grids[number]), folder / f"case_{number:02d}.nii.gz")


def check(source, label):
    image, found = read_volume(source), read_volume(label, "label")
    assert found.geometry == image.geometry
    np.testing.assert_array_equal(found.array_zyx, closest(image.array_zyx, CENTRES))


class TestContract(OperationContract):
    operation = load("itk_infer")
    needs_labels = False
    changed = {"overlap": 0.0, "window_scheme": "nnunet"}
    test_several_channels_are_one_case = test_a_vector_file_is_its_channels = None  # a model has its own channels

    def values(self, source, dest):
        channels = ("t1", "t2") if (source / "dataset.json").exists() else ("CT",)
        model = dest.parent / f"model_{len(channels)}"
        if source.exists() and not model.exists():
            import torch

            torch.manual_seed(0)
            network = create_model("mednext_s", in_channels=len(channels), num_classes=3, **TINY)
            facts = ModelFacts(
                network=NetworkFacts(name="mednext_s", options=TINY, in_channels=len(channels), num_classes=3),
                channels=channels,
                labels={1: "a", 2: "b"},
                spacing=(2.0, 1.5, 1.5),
                patch_size=(8, 8, 8),
            )
            write_model(model, facts, network)
        return {"model": model, "source": source, "dest": dest}


@pytest.fixture
def model(tmp_path):
    write_thresholds(tmp_path / "model", CENTRES)
    return tmp_path / "model"


def test_a_dataset_gives_label_maps_with_the_classes_of_training(tmp_path, model):
    write_images(tmp_path / "raw" / "image")
    result = infer(model, tmp_path / "raw", tmp_path / "out")
    assert result.exit_code == 0
    for number in range(3):
        check(tmp_path / "raw" / "image" / f"case_{number:02d}.nii.gz", tmp_path / f"out/label/case_{number:02d}.mha")
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["labels"] == {"0": "background", "1": "class 1", "2": "class 2", "3": "class 3"}
    assert described["history"][-1]["operation"] == "itk_infer"
    meta = json.loads((tmp_path / "out" / "infer_meta.json").read_text())
    assert (meta["operation"], meta["params"]["overlap"]) == ("itk_infer", 0.5)
    for case, facts in meta["cases"].items():
        label = read_volume(tmp_path / "out" / "label" / f"{case}.mha", "label").array_zyx
        assert facts["voxels"] == {str(value): int((label == value).sum()) for value in range(4)}
        assert facts["windows"] >= 1
        assert facts["seconds"] > 0
    assert len(meta["cases"]) == 3


def test_a_flat_folder_gives_a_flat_folder(tmp_path, model):
    write_images(tmp_path / "raw")
    assert infer(model, tmp_path / "raw", tmp_path / "out", ext=".nii.gz").exit_code == 0
    check(tmp_path / "raw" / "case_01.nii.gz", tmp_path / "out" / "case_01.nii.gz")
    assert (tmp_path / "out" / "dataset.json").exists()


def test_one_file(tmp_path, model):
    write_images(tmp_path / "raw")
    assert infer(model, tmp_path / "raw" / "case_01.nii.gz", tmp_path / "out").exit_code == 0
    check(tmp_path / "raw" / "case_01.nii.gz", tmp_path / "out" / "case_01.mha")
    assert [path.name for path in (tmp_path / "out").glob("*.mha")] == ["case_01.mha"]


def test_a_folder_of_a_dicom_series(tmp_path, model):
    pytest.importorskip("pydicom")
    from itkit.io.dcm_toolkit import write_series

    grid = Geometry((6, 9, 8), (2.5, 0.8, 0.8), (-3.0, 4.0, 50.0))
    values = np.random.default_rng(5).integers(-1024, 900, grid.size_zyx).astype(np.int16)
    write_series(Volume(values, grid), tmp_path / "series")
    result = infer(model, tmp_path / "series", tmp_path / "out")
    assert result.exit_code == 0, result.records
    label = read_volume(tmp_path / "out" / "series.mha", "label")
    np.testing.assert_array_equal(label.array_zyx, closest(values, CENTRES))
    assert label.geometry.same_grid(itkit.read(tmp_path / "series").geometry)
    again = infer(model, tmp_path / "series", tmp_path / "out")
    assert [record.status for record in again.records] == ["skipped"]


def test_channels_are_found_by_their_names(tmp_path):
    write_thresholds(tmp_path / "model", CENTRES, channels=("t2", "t1"), of="t2")
    for layout in ("files", "vector"):
        ids = phantoms.write_channels(tmp_path / layout, 2, layout=layout)
        result = infer(tmp_path / "model", tmp_path / layout, tmp_path / f"out_{layout}")
        assert result.exit_code == 0, result.records
    for case in ids:
        image = read_volume(tmp_path / "files" / "image" / f"{case}_t2.mha").array_zyx
        for layout in ("files", "vector"):
            label = read_volume(tmp_path / f"out_{layout}" / "label" / f"{case}.mha", "label")
            np.testing.assert_array_equal(label.array_zyx, closest(image, CENTRES))
    write_thresholds(tmp_path / "other", CENTRES, channels=("ct", "pet"))
    notes = []
    infer(tmp_path / "other", tmp_path / "files", tmp_path / "o2", on_event=lambda event: notes.append(str(event)))
    assert any("stand for the model's (ct, pet)" in text for text in notes)
    write_thresholds(tmp_path / "three", CENTRES, channels=("a", "b", "c"))
    with pytest.raises(ParamsError, match="3 channels"):
        infer(tmp_path / "three", tmp_path / "files", tmp_path / "o3")


def test_bad_cases_are_named_and_the_others_done(tmp_path, model):
    write_images(tmp_path / "raw", 4)
    (tmp_path / "raw" / "case_01.nii.gz").write_bytes(b"broken")
    nan = np.full((3, 4, 5), np.nan, np.float32)
    write_volume(Volume(nan, Geometry(nan.shape, (1.0, 1.0, 1.0))), tmp_path / "raw" / "case_02.nii.gz")
    result = infer(model, tmp_path / "raw", tmp_path / "out")
    said = {record.case_id: (record.status, record.message) for record in result.records}
    assert result.exit_code == 1
    assert [said[f"case_0{n}"][0] for n in range(4)] == ["done", "failed", "failed", "done"]
    assert "nan" in said["case_02"][1]


def test_another_model_or_other_weights_do_it_again(tmp_path, model):
    write_images(tmp_path / "raw", 2)

    def statuses(**values):
        return [record.status for record in infer(model, tmp_path / "raw", tmp_path / "out", **values).records]

    assert statuses() == ["done"] * 2
    assert statuses() == ["skipped"] * 2
    assert statuses(batch=4, device="cpu") == ["skipped"] * 2  # they change no result
    assert statuses(flips="X") == ["done"] * 2
    assert statuses(flips="X") == ["skipped"] * 2
    write_thresholds(model, [c + 30 for c in CENTRES])
    assert statuses(flips="X") == ["done"] * 2
    model.rename(tmp_path / "moved")
    result = infer(tmp_path / "moved", tmp_path / "raw", tmp_path / "out", flips="x")
    assert [record.status for record in result.records] == ["skipped"] * 2


def test_several_models(tmp_path, model):
    write_thresholds(tmp_path / "second", [c + 100 for c in CENTRES])
    write_images(tmp_path / "raw", 1)
    assert infer(model, tmp_path / "raw", tmp_path / "out", ensemble=[tmp_path / "second"]).exit_code == 0
    meta = json.loads((tmp_path / "out" / "infer_meta.json").read_text())
    assert len({item["digest"] for item in meta["models"]}) == 2
    label = read_volume(tmp_path / "out" / "case_00.mha", "label").array_zyx
    image = read_volume(tmp_path / "raw" / "case_00.nii.gz").array_zyx
    far = np.abs(image + 450) > 60
    np.testing.assert_array_equal((label > 0)[far], (image > -450)[far])
    write_thresholds(tmp_path / "third", CENTRES, values=[1, 2, 7])
    with pytest.raises(ModelError, match="classes differ"):
        infer(model, tmp_path / "raw", tmp_path / "out2", ensemble=[tmp_path / "third"])


def test_probabilities_and_logits_are_chunked_stores(tmp_path, model):
    pytest.importorskip("blosc2")
    write_images(tmp_path / "raw", 1)
    result = infer(model, tmp_path / "raw", tmp_path / "out", probabilities=True, save_logits=True)
    assert result.exit_code == 0, result.records
    image = read_volume(tmp_path / "raw" / "case_00.nii.gz")
    for name, dtype in (("probabilities", np.float16), ("logits", np.float32)):
        store = PatchStore(tmp_path / "out" / name / "case_00.b2z")
        array = store.arrays[name]
        assert array.dtype == dtype
        assert array.shape == (*image.shape_zyx, 4)
    assert PatchStore(tmp_path / "out" / "probabilities" / "case_00.b2z").geometry == image.geometry
    np.testing.assert_array_equal(
        store.arrays["logits"][:].argmax(-1), read_volume(tmp_path / "out" / "case_00.mha", "label").array_zyx
    )
    assert [r.status for r in infer(model, tmp_path / "raw", tmp_path / "out").records] == ["done"]


def test_what_the_disk_can_not_hold_is_refused_before(tmp_path, model, monkeypatch):
    pytest.importorskip("blosc2")
    write_images(tmp_path / "raw", 1)
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("itkit.inference.needs.shutil.disk_usage", lambda _: usage)
    with pytest.raises(LayoutError, match="--save-logits"):
        infer(model, tmp_path / "raw", tmp_path / "out", save_logits=True)
    assert not (tmp_path / "out").exists()


def test_small_memory_puts_sums_into_a_file(tmp_path, monkeypatch):
    write_thresholds(tmp_path / "model", [float(c) for c in range(-1000, 1000, 20)], patch_size=(32, 64, 64))
    grid = Geometry((40, 80, 80), (1.0, 1.0, 1.0))
    values = np.random.default_rng(0).integers(-1024, 900, grid.size_zyx).astype(np.int16)
    write_volume(Volume(values, grid), tmp_path / "raw" / "a.mha")
    params = InferParams(model=tmp_path / "model", source=tmp_path / "raw", dest=tmp_path / "small")
    from itkit.core.operation import CaseInput

    inputs = {"image": CaseInput(grid, "int16", 2 * values.size)}
    most, least = memory(inputs, params), least_memory(inputs, params)
    sums = 4 * 101 * 80 * (24 * 80 + 8 * 64)
    assert most - least == sums
    seen = []
    from itkit.models import window_sums

    monkeypatch.setattr(window_sums.np, "memmap", lambda *a, **k: seen.append(1) or np.zeros(k["shape"], np.float32))
    infer(tmp_path / "model", tmp_path / "raw", tmp_path / "large")
    assert not seen
    base = 2 * 192 * 2**20
    result = infer(tmp_path / "model", tmp_path / "raw", tmp_path / "small", max_memory=least + base + sums // 2)
    assert result.exit_code == 0, result.records
    assert seen
    for name in ("large", "small"):
        label = read_volume(tmp_path / name / "a.mha", "label").array_zyx
        if name == "large":
            first = label
    np.testing.assert_array_equal(first, label)
    result = infer(tmp_path / "model", tmp_path / "raw", tmp_path / "none", max_memory=least // 2)
    assert "needs about" in result.records[0].message


def test_what_can_not_run_is_refused_before_anything_is_written(tmp_path, model):
    write_images(tmp_path / "raw", 1)
    (tmp_path / "empty").mkdir()
    for source, dest, message in (
        ("nothing", "out", "does not exist"),
        ("raw", "raw", "source folder"),
        ("raw", "out.nii.gz", "give a folder"),
        ("empty", "out", "no volume"),
        ("model/model.json", "out", "not a volume file"),
    ):
        with pytest.raises(LayoutError, match=message):
            infer(model, tmp_path / source, tmp_path / dest)
    for values, message in (
        ({"flips": "Q"}, "flips"),
        ({"overlap": 1.0}, "overlap"),
        ({"device": "gpu"}, "device"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"batch": 0}, "batch"),
    ):
        with pytest.raises(ItkitError, match=message):
            infer(model, tmp_path / "raw", tmp_path / "out", **values)
    with pytest.raises(ModelError, match="no such model"):
        infer(tmp_path / "missing", tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out" / "case_00.mha").exists()


def test_a_mirror_along_z_is_refused_for_a_network_of_planes(tmp_path, model):
    facts = json.loads((model / "model.json").read_text())
    facts["network"]["spatial_dims"], facts["patch_size"][0] = 2, 1
    (model / "model.json").write_text(json.dumps(facts))
    write_images(tmp_path / "raw", 1)
    with pytest.raises(ParamsError, match=r"--flips ZYX: .*model sees single planes: expected some of the axes YX"):
        infer(model, tmp_path / "raw", tmp_path / "out", flips="ZYX")


def test_a_killed_run_is_completed(tmp_path, model):
    """The run is killed while it works; the same command then gives the same files as an undisturbed run."""
    write_images(tmp_path / "raw", 3)
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import threshold_network, itkit
from itkit.inference import predicting
if sys.argv[1] == "kill":
    real, count = predicting.Predictor.predict, []
    def predict(self, *a, **k):
        count.append(1)
        return os._exit(9) if len(count) == 2 else real(self, *a, **k)
    predicting.Predictor.predict = predict
r = itkit.run("itk_infer", model={str(model)!r}, source={str(tmp_path / "raw")!r}, dest=sys.argv[2])
print(sorted(x.status for x in r.records))
"""
    run = [sys.executable, "-c", script]
    assert subprocess.run([*run, "kill", str(tmp_path / "a")], check=False).returncode == 9
    done = subprocess.run([*run, "go", str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['done', 'done', 'skipped']"
    subprocess.run([*run, "go", str(tmp_path / "b")], capture_output=True, check=True)
    for path in (tmp_path / "b").glob("*.mha"):
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    assert not leftovers(tmp_path / "a")


def test_from_the_command_line(tmp_path, capsys):
    write_images(tmp_path / "raw", 1)
    import torch

    torch.manual_seed(0)
    facts = ModelFacts(
        network=NetworkFacts(name="mednext_s", options=TINY, num_classes=2),
        channels=("CT",),
        labels={5: "organ"},
        spacing=(-1, -1, -1),
        patch_size=(16, 16, 16),
        intensity=CT,
    )
    write_model(tmp_path / "model", facts, create_model("mednext_s", num_classes=2, **TINY))
    words = [str(tmp_path / name) for name in ("model", "raw", "out")]
    assert main("itk_infer", [*words, "--flips", "zx", "--overlap", "0.25", "--device", "cpu"]) == 0
    assert set(np.unique(read_volume(tmp_path / "out" / "case_00.mha", "label").array_zyx)) <= {0, 5}
    params = json.loads((tmp_path / "out" / "infer_meta.json").read_text())["params"]
    assert params["flips"] == "ZX"
    assert main("itk_infer", [*words[:2], words[2] + "2", "--dry-run"]) == 0
    assert not (tmp_path / "out2").exists()
