"""Plans of made datasets with known answers, and their costs against real steps."""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from itkit.cli.plan import chosen
from itkit.cli.umbrella import main
from itkit.core.dataset_meta import DatasetMeta
from itkit.core.errors import LayoutError, ModelError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume
from itkit.models.registry import model_card
from itkit.models.segmenter import fitting_size
from itkit.training import rules
from itkit.training.fingerprint import read_fingerprint
from itkit.training.networks import network_facts
from itkit.training.plan_file import plan_text, read_plan
from itkit.training.planning import plan_dataset
from itkit.training.probing import Cost, Facts, Machine, Prober, Run, Size
from itkit.training.wishes import PlanParams

from .cases import write_dataset

GB = 2**30
HU = {"mean": 50.0, "median": 40.0, "std": 90.0, "min": -1000.0, "max": 900.0, "p0_5": -200.0, "p99_5": 300.0}
AIR = {**HU, "p0_5": -1000.0}


def stats(cases, *, labels=None, channels=None, box=1.0):
    """Return measurements of cases, each as (size ZYX, spacing ZYX, orientation)."""
    labels = {"1": "liver", "2": "tumour"} if labels is None else labels
    regions = {"whole": AIR, "foreground": HU}
    intensity = regions if channels is None else dict.fromkeys(channels, regions)

    def case(size, spacing, orientation="LPS"):
        inner = [max(1, round(side * box ** (1 / 3))) for side in size]
        return {
            "size": list(size),
            "spacing": list(spacing),
            "orientation": orientation,
            "intensity": intensity,
            "nonzero_box": {"start": [0, 0, 0], "size": inner},
            "labels": {value: {"name": name} for value, name in labels.items()},
        }

    return {
        "cases": {f"case_{number}": case(*given) for number, given in enumerate(cases)},
        "dataset": {
            "intensity": intensity,
            "labels": {value: {"name": name, "cases": len(cases)} for value, name in labels.items()},
        },
    }


def fingerprint(cases, meta=None, orient=None, **more):
    return read_fingerprint(stats(cases, **more), DatasetMeta(meta or {}), orient=orient)


class Fake:
    """Networks whose costs are known: seconds and bytes a voxel."""

    def __init__(self, device="cuda", *, seconds=1e-7, nbytes=2000, image_size=None):
        self.device, self.seconds, self.nbytes, self.image_size = device, seconds, nbytes, image_size
        self.asked = []

    def machine(self):
        return Machine(self.device, f"a {self.device}", 80 * GB if self.device == "cuda" else 0, bf16=True)

    def facts(self, plan):
        card, dims = model_card(plan.network.name), network_facts(plan).spatial_dims
        size = plan.network.options.get("image_size", self.image_size)
        size = (size,) * dims if isinstance(size, int) else size
        return Facts(1000, (card.divisor,) * dims, (card.minimum_size,) * dims, size)

    def run(self, plan, sizes):
        self.asked += sizes
        return [self.step(size.voxels) for size in sizes]

    def step(self, voxels):
        nbytes = int(GB + voxels * self.nbytes)
        return Run(voxels, voxels * self.seconds, voxels * self.seconds / 4, nbytes, nbytes)

    def patch_seconds(self, plan):
        return 0.0


def planned(found, fake=None, **wishes):
    params = PlanParams(dataset="ct", **wishes)
    return plan_dataset(found, params, fake or Fake(), path="ct", cores=4, memory=64 * GB)


CUBES = [((128, 160, 192), (1.0, 1.0, 1.0))] * 5
SLICES = [((30, 512, 512), (z, 0.8, 0.8)) for z in (5.0, 5.0, 6.0, 6.0, 3.0)]


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([((10, 20, 30), (z, 2.0, x)) for z, x in ((1.0, 3.0), (2.0, 5.0), (3.0, 3.0))], (2, 2, 3)),
        # 5 mm is more than 3 times 0.8 mm; numpy: the 10th percentile of 3, 5, 5, 6, 6
        (SLICES, (3.8, 0.8, 0.8)),
        # exactly 3 times is not more
        ([((10, 20, 30), (z, 1.0, 1.0)) for z in (1.0, 3.0, 3.0, 9.0)], (3, 1, 1)),
        # the 10th percentile is never finer than the other axes
        ([((10, 20, 30), (z, 1.0, 1.0)) for z in (0.2, 0.2, 9.0, 9.0, 9.0)], (1, 1, 1)),
    ],
)  # fmt: skip
def test_spacing_is_the_median_and_of_a_coarse_axis_the_10th_percentile(cases, expected):
    assert rules.target_spacing(fingerprint(cases))[0] == pytest.approx(expected)


def test_axes_are_turned_before_they_are_compared():
    found = fingerprint([((20, 30, 40), (2.0, 3.0, 4.0), "ASL"), ((40, 20, 30), (4.0, 2.0, 3.0), "RAS")])
    # axes x, y, z of the first case are A, S, L: its array is L, S, A; as LPS it is S, P, L
    assert found.orient == "LPS"
    assert found.cases["case_0"].size_zyx == (30, 40, 20)
    assert found.cases["case_1"].size_zyx == (40, 20, 30)
    assert found.turned == 2
    sagittal = fingerprint([((20, 300, 310), (4.0, 1.0, 1.0), "AIR"), ((20, 300, 310), (4.0, 1.0, 1.0), "PSL")])
    assert (sagittal.orient, sagittal.turned) == ("PSL", 1)
    assert sagittal.median_spacing == (4, 1, 1)
    assert fingerprint(CUBES, orient="RAS").turned == 5


def test_ct_takes_the_foregrounds_numbers_and_mr_each_volumes_own():
    ct, why = rules.intensity_scheme(fingerprint(CUBES, {"modality": ["CT"]}))
    assert (ct.scheme, ct.numbers) == ("ct", (-200.0, 300.0, 50.0, 90.0))
    assert "percentile" in why
    by_values, why = rules.intensity_scheme(fingerprint(CUBES))
    assert by_values == ct
    assert "by its values" in why
    mr, _ = rules.intensity_scheme(fingerprint(CUBES, {"modality": ["MR"]}))
    assert (mr.scheme, mr.within) == ("zscore", "all")
    small, why = rules.intensity_scheme(fingerprint(CUBES, {"modality": ["MR"]}, box=0.5))
    assert (small.scheme, small.within) == ("zscore", "nonzero")
    assert "50%" in why


def test_channels_have_rules_of_their_own():
    meta = {"channels": ["CT", "PET"], "modality": ["CT", "PT"]}
    measured = stats(CUBES, channels=["PET", "CT"])
    measured["dataset"]["intensity"] = {"PET": {"whole": HU, "foreground": HU}, "CT": {"whole": AIR, "foreground": HU}}
    found = read_fingerprint(measured, DatasetMeta(meta))
    assert found.channels == ("CT", "PET")
    rule, why = rules.intensity_scheme(found)
    assert (rule.of("CT").scheme, rule.of("PET").scheme) == ("ct", "zscore")
    assert why.startswith("CT: CT: 0.5 and 99.5 percentile")
    assert planned(found).plan.preprocess.intensity == rule


def test_colours_take_the_numbers_of_all_pixels():
    meta = {"channels": ["red", "green", "blue"]}
    measured = stats(CUBES, channels=["red", "green", "blue"])
    pixels = {**HU, "min": 3.0, "max": 250.0, "mean": 180.0, "std": 40.0}
    measured["dataset"]["intensity"] = {name: {"whole": pixels, "foreground": HU} for name in ("red", "green")}
    measured["dataset"]["intensity"]["blue"] = {"whole": {**pixels, "std": 0.0}, "foreground": HU}
    found = read_fingerprint(measured, DatasetMeta(meta))
    rule, why = rules.intensity_scheme(found)
    assert rule.of("green").numbers == (0.0, 255.0, 180.0, 40.0)
    assert rule.of("blue").scheme == "none"
    assert why.startswith("colours")
    assert planned(found).plan.preprocess.intensity == rule


def test_what_has_sides_is_not_mirrored_across():
    values, reasons = rules.augmentation((64, 64, 64), (1, 1, 1), ["kidney_left", "kidney_right", "liver"], "LPS")
    assert values["mirror"] == "ZY"
    assert "kidney_left" in reasons["mirror"]
    assert rules.augmentation((64, 64, 64), (1, 1, 1), ["Left lung", "Right lung"], "PSL")[0]["mirror"] == "YX"
    assert "mirror" not in rules.augmentation((64, 64, 64), (1, 1, 1), ["left_only", "liver"], "LPS")[0]
    thin, _ = rules.augmentation((16, 160, 160), (5, 1, 1), ["liver"], "LPS")
    assert thin == {"in_plane": True, "rotation_degrees": 180.0}
    assert rules.augmentation((1, 256, 128), (1, 1, 1), ["a"], "LPS")[0] == {"rotation_degrees": 15.0, "mirror": "YX"}


def test_a_gpu_plan_is_nnunets_and_reads_back_equal(tmp_path):
    found = planned(fingerprint(CUBES))
    plan = found.plan
    training = plan.training
    assert (training.optimizer, training.learning_rate) == ("torch.optim.SGD", 0.01)
    assert (training.steps_per_epoch, training.epochs, training.precision) == (250, 1000, "bf16")
    stages = network_facts(plan).options
    assert stages["patch_size"] == list(training.patch_size)
    assert all(side % 16 == 0 for side in training.patch_size)
    assert found.timing.run.nbytes <= 8 * GB
    bigger = planned(fingerprint(CUBES), memory="16GB").plan.training
    assert math.prod(bigger.patch_size) * bigger.batch_size > math.prod(training.patch_size) * training.batch_size
    (tmp_path / "plan.toml").write_text(plan_text(plan, found.reasons))
    assert read_plan(tmp_path / "plan.toml") == plan
    assert not found.warnings


@pytest.mark.parametrize("gigabytes", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("cases", [CUBES, SLICES])
def test_a_step_keeps_to_the_memory(gigabytes, cases):
    fake = Fake()
    found = planned(fingerprint(cases), fake, memory=f"{gigabytes}GB")
    training = found.plan.training
    size = Size(training.batch_size, training.patch_size)
    assert GB + size.voxels * fake.nbytes <= gigabytes * GB
    # and hardly less: one more step along any axis, or half of the memory, would be too much
    assert (
        training.batch_size > 2
        or GB + 2 * size.voxels * fake.nbytes > gigabytes * GB
        or "fits" not in found.reasons["training.patch_size"]
    )
    assert min(training.patch_size[1:]) >= 16


def test_time_decides_patch_and_steps():
    found = planned(fingerprint(CUBES), Fake("cpu", seconds=2e-6), minutes=30)
    training = found.plan.training
    assert found.steps >= 1000
    assert 0.5 * 1800 < found.seconds < 1.1 * 1800
    assert "time" in found.reasons["training.patch_size"]
    assert found.plan.network.options["features_per_stage"][0] == 8
    assert (training.precision, training.optimizer) == ("32", "torch.optim.AdamW")
    small = planned(fingerprint(CUBES), Fake("cpu", seconds=1e-4))
    assert small.plan.training.patch_size == (32, 32, 32)
    assert any("steps fit into 10 min" in text for text in small.warnings)
    assert small.seconds < 660


def test_what_is_asked_for_is_written():
    found = planned(
        fingerprint(CUBES),
        network="resenc_unet", network_option=("n_blocks_per_stage=1", "norm=batch"),
        patch_size=(64, 96, 96), batch_size=3,
        steps=7, epochs=5, spacing=(2, 1.5, 1.5), folds=4, seed=9,
    )  # fmt: skip
    plan, training = found.plan, found.plan.training
    assert plan.network.name == "resenc_unet"
    assert (
        plan.network.options.items() >= {"n_blocks_per_stage": 1, "norm": "batch", "patch_size": [64, 96, 96]}.items()
    )
    assert (training.patch_size, training.batch_size) == ((64, 96, 96), 3)
    assert (training.steps_per_epoch, training.epochs, training.seed) == (7, 5, 9)
    assert (plan.preprocess.spacing, plan.split.folds) == ((2.0, 1.5, 1.5), 4)
    assert found.reasons["training.batch_size"] == "as asked"
    odd = planned(fingerprint(CUBES), patch_size=(60, 96, 96))
    assert odd.plan.training.patch_size == (64, 96, 96)
    assert "takes multiples of" in odd.warnings[0]


def test_planes_get_a_2d_network():
    flat = fingerprint([((1, 300, 200), (1.0, 0.5, 0.5))] * 6)
    plan = planned(flat).plan
    assert plan.training.patch_size[0] == 1
    assert network_facts(plan).spatial_dims == 2
    assert len(plan.network.options["patch_size"]) == 2
    assert plan.training.patch_size[1:] == tuple(fitting_size((300, 200), 32, 1))
    with pytest.raises(ParamsError, match="the volumes have one plane"):
        planned(flat, patch_size=(8, 64, 64))
    with pytest.raises(ModelError, match="segmamba is a 3-D network, but the volumes have one plane"):
        planned(flat, network="segmamba")
    slices = planned(fingerprint(CUBES), network="ege_unet").plan  # a 2-D network alone
    assert slices.training.patch_size[0] == 1


def test_fixed_sizes_and_divisors_of_other_networks_hold():
    fixed = planned(fingerprint(CUBES), Fake(image_size=96), network="unetr").plan
    assert fixed.training.patch_size == (96, 96, 96)
    assert fixed.training.optimizer == "torch.optim.AdamW"
    other = planned(fingerprint(CUBES), Fake(image_size=96), network="unetr", patch_size=(64, 64, 64)).plan
    assert other.network.options["image_size"] == 64
    assert other.training.patch_size == (64, 64, 64)
    with pytest.raises(ParamsError, match=r"unetr needs .* for 1 patches? of 96 x 96 x 96"):
        planned(fingerprint(CUBES), Fake(image_size=96), network="unetr", memory="1.5GB")
    swin = planned(fingerprint(CUBES), network="swin_unetr").plan
    assert all(side % model_card("swin_unetr").divisor == 0 for side in swin.training.patch_size)


def test_what_does_not_fit_is_refused_with_what_does():
    with pytest.raises(ParamsError, match=r"--patch-size: a step needs .* for 4 patches of 128 x 128 x 128 .* fits"):
        planned(fingerprint(CUBES), patch_size=(128, 128, 128), batch_size=4, memory="9GB")
    with pytest.raises(ParamsError, match="give more --memory"):
        planned(fingerprint(CUBES), Fake(nbytes=10**7), memory="2GB")


@pytest.mark.parametrize(
    ("cases", "wanted", "folds", "said"),
    [
        (12, None, 5, ""),
        (3, None, 3, "3 it is"),
        (1, None, 1, "by heart"),
        (12, 7, 7, ""),
        (4, 7, 4, "4 it is"),
        (12, 1, 1, ""),
    ],
)
def test_there_are_no_more_folds_than_cases(cases, wanted, folds, said):
    count, _, warning = rules.fold_count(cases, wanted)
    assert count == folds
    assert said in warning if said else not warning


def test_the_splits_of_dataset_json_hold():
    cases = [f"case_{number}" for number in range(5)]
    params = PlanParams(dataset="ct")

    def of(splits, **found):
        meta = DatasetMeta({"splits": splits})
        return chosen(fingerprint(CUBES, **found), meta, params, {})

    kept, folds, notes = of({"train": cases[:3], "test": cases[3:]})
    assert sorted(kept.cases) == cases[:3]
    assert sorted(case for fold in folds for case in fold["val"]) == cases[:3]
    assert all(not set(fold["train"]) & set(fold["val"]) for fold in folds)
    assert "split 'test': case_3, case_4" in notes[0]
    kept, folds, notes = of({"train": cases[:3], "val": cases[3:]})
    assert folds == [{"train": cases[:3], "val": cases[3:]}]
    assert len(kept.cases) == 5
    assert of({})[1:] == (None, [])
    named = PlanParams(dataset="ct", split="mine.json")
    assert chosen(fingerprint(CUBES), DatasetMeta({"splits": {"train": cases[:3]}}), named, {})[1] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {}}, "no case has a label"),
        ({"labels": {"-1": "hole", "1": "liver"}}, "class -1 is below 0"),
    ],
)
def test_what_can_not_be_learnt_is_refused(change, message):
    with pytest.raises(LayoutError, match=message):
        fingerprint(CUBES, **change)


def test_cases_with_other_channels_are_named():
    found = stats(CUBES, channels=["T1", "T2"])
    found["cases"]["case_2"]["intensity"] = {"T1": found["cases"]["case_2"]["intensity"]["T1"]}
    with pytest.raises(LayoutError, match=r"T1, T2 \(case_0, case_1, case_3 and 1 more\); T1 \(case_2\)"):
        read_fingerprint(found, DatasetMeta({}))


SMALL = ("--device", "cpu", "--steps", "2", "--epochs", "1", "--network-option", "features_per_stage=[4,4]",
         "--network-option", "strides=[1,2]", "--patch-size", "8", "16", "16")  # fmt: skip


@pytest.mark.slow
def test_the_command_plans_what_the_measurements_say(tmp_path, capsys, monkeypatch):
    root = write_dataset(tmp_path / "raw", 4)
    (root / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "4": "liver", "7": "nodule", "9": "cyst"}})
    )
    (root / "label" / "case_3.mha").unlink()
    (root / "image" / "broken.mha").write_bytes(b"no volume")
    (root / "label" / "broken.mha").write_bytes(b"no volume")
    output = tmp_path / "plan.toml"
    assert main(["plan", str(root), "-o", str(output), *SMALL]) == 1  # a case can't be read
    said = capsys.readouterr()
    plan = read_plan(output)
    assert plan.dataset.labels == {4: "liver", 7: "nodule"}
    assert plan.preprocess.spacing == (2.0, 1.0, 1.0)
    assert plan.preprocess.intensity.scheme == "zscore"
    assert (plan.training.patch_size, plan.training.steps_per_epoch, plan.training.epochs) == ((8, 16, 16), 2, 1)
    folds = json.loads((tmp_path / plan.split.file).read_text())["folds"]
    assert len(folds) == 3
    assert sorted(case for fold in folds for case in fold["val"]) == ["case_0", "case_1", "case_2"]
    for text in ("broken: ", "case_3", "9 (cyst)", "3 cases can't be dealt into 5 folds"):
        assert text in said.err, text
    assert "hours) for one of 3 folds" in said.out
    assert "(measured)" in said.out
    monkeypatch.setattr("itkit.training.probing.Prober", lambda device: nullcontext(Fake(device)))
    assert main(["plan", str(root), "-o", str(output), "--seed", "3", *SMALL]) == 1
    again = capsys.readouterr().out
    assert "3 of them before" in again  # nothing is measured twice
    assert "plan.toml that was there is kept as plan.1.toml" in again
    assert read_plan(tmp_path / "plan.1.toml") == plan
    assert read_plan(output).training.seed == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "unett"], "unett"),
        (["--memory", "much"], "--memory: expected a size"),
        (["--network-option", "width"], "--network-option: expected NAME=VALUE"),
        (["--minutes", "0"], "--minutes"),
        (["--folds", "3", "--split", "splits.json"], "--split names the folds"),
        (["--patch-size", "8", "8"], "Z Y X"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, words, message):
    root = write_dataset(tmp_path / "raw", 1)
    assert main(["plan", str(root), "-o", str(tmp_path / "plan.toml"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "plan.toml").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--split mine.json: can't be read (No such file or directory)"),
        ("[]", "--split mine.json: no fold in it"),
        ('{"train": ["case_0"], "val": ["case_9"]}', "mine.json: the dataset has no image with a label of case_9"),
        ('[{"train": ["case_0"], "val": ["case_0"]}]', "mine.json: case_0 would both train and validate"),
    ],
)
def test_a_split_that_can_not_train_is_refused(tmp_path, capsys, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "raw", 2)
    if content is not None:
        Path("mine.json").write_text(content)
    assert main(["plan", "raw", "--split", "mine.json", *SMALL]) == 2
    assert message in capsys.readouterr().err
    assert not Path("plan.toml").exists()


def test_a_plan_has_the_folds_of_its_split(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("itkit.training.probing.Prober", lambda device: nullcontext(Fake(device)))
    root, parts = write_dataset(tmp_path / "raw", 2), [{"train": ["case_0"], "val": ["case_1"]}] * 2
    (tmp_path / "mine.json").write_text(json.dumps(parts))
    assert (
        main(["plan", str(root), "-o", str(tmp_path / "plan.toml"), "--split", str(tmp_path / "mine.json"), *SMALL])
        == 0
    )
    assert "for one of 2 folds" in capsys.readouterr().out
    assert read_plan(tmp_path / "plan.toml").split.folds == 2


def test_a_folder_without_labels_is_refused(tmp_path, capsys):
    (tmp_path / "raw" / "image").mkdir(parents=True)
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    write_volume(Volume(np.ones((4, 5, 6), np.int16), grid), tmp_path / "raw" / "image" / "a.mha")
    assert main(["plan", str(tmp_path / "raw"), "-o", str(tmp_path / "plan.toml")]) == 2
    assert "label/" in capsys.readouterr().err


@pytest.mark.slow
def test_extrapolated_costs_are_near_to_measured_ones():
    plan = planned(fingerprint(CUBES), Fake("cpu"), patch_size=(64, 64, 64), memory="60GB").plan
    with Prober("cpu") as prober:
        small, large, real = prober.run(plan, [Size(2, (32, 32, 32)), Size(2, (32, 32, 64)), Size(2, (32, 64, 64))])
        with pytest.raises(ModelError, match="training step fails"):
            prober.run(plan, [Size(1, (0, 0, 0))])
        assert prober.facts(plan).divisor == (16, 16, 16)
    cost = Cost(small, large)
    assert cost.nbytes(real.voxels) == pytest.approx(real.peak_bytes, rel=0.25)
    assert real.peak_bytes > small.peak_bytes
    assert cost.seconds(real.voxels) == pytest.approx(real.seconds, rel=0.9)  # other processes use the cores, too
