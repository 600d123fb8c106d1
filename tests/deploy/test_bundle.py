"""A MONAI bundle: `monai.bundle` loads it and runs it, and its label maps are those of ITKIT."""

import json

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch

from itkit.deploy import export
from itkit.deploy.sample import TORSO
from itkit.inference import predict, read_model
from itkit.inference.model_folder import Intensity
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import crop

from .small_unet import LABELS, write_small_unet


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundle")
    write_small_unet(root / "model")
    export(root / "model", root / "bundle", "bundle")
    (root / "bundle" / "images").mkdir()
    image = crop(read_volume(TORSO), (40, 30, 25), (30, 40, 50))
    write_volume(image, root / "bundle" / "images" / "torso.nii.gz")
    return root


def label_map(folder):
    """Let MONAI run a bundle, and return its only label map."""
    monai.bundle.run(
        config_file=str(folder / "configs" / "inference.json"),
        meta_file=str(folder / "configs" / "metadata.json"),
        bundle_root=str(folder),
        run_id="run",
        init_id="",
        final_id="",
    )
    return nibabel.load(folder / "labels" / "torso_label.nii.gz")


@pytest.mark.filterwarnings("ignore")
def test_monai_runs_it_and_finds_the_same_labels(bundle):
    folder = bundle / "bundle"
    found = label_map(folder)
    image = nibabel.load(folder / "images" / "torso.nii.gz")
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)
    expected = predict(bundle / "model", folder / "images" / "torso.nii.gz").array_zyx
    labels = np.asarray(found.dataobj).transpose(2, 1, 0)
    assert set(np.unique(labels)) <= {0, *LABELS}
    assert int((labels != expected).sum()) <= 3


@pytest.mark.filterwarnings("ignore")
def test_monai_prepares_channels_and_grids_as_itkit_does(bundle, tmp_path):
    rules = {"A": Intensity(scheme="ct", low=-1000, high=1000, mean=0, sd=300)}
    intensity = Intensity(scheme="zscore", within="nonzero", channels=rules)
    write_small_unet(tmp_path / "model", channels=("A", "B"), intensity=intensity, spacing=(4.0, 3.5, -1), orient="RAS")
    export(tmp_path / "model", tmp_path / "bundle", "bundle")
    (tmp_path / "bundle" / "images").mkdir()
    first = read_volume(bundle / "bundle" / "images" / "torso.nii.gz")
    images = [first, first.with_array(np.where(first.array_zyx > -500, first.array_zyx, 0))]
    affine = nibabel.load(bundle / "bundle" / "images" / "torso.nii.gz").affine
    both = np.stack([image.array_zyx.transpose(2, 1, 0).astype(np.float32) for image in images], -1)
    nibabel.save(nibabel.Nifti1Image(both, affine), tmp_path / "bundle" / "images" / "torso.nii.gz")
    expected = predict(tmp_path / "model", images).array_zyx
    labels = np.asarray(label_map(tmp_path / "bundle").dataobj).transpose(2, 1, 0)
    assert len(np.unique(expected)) > 2
    assert int((labels != expected).sum()) <= 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_script", [True, False])
def test_monai_loads_its_network(bundle, as_script, monkeypatch):
    monkeypatch.chdir(bundle / "bundle")
    if as_script:
        network, facts, _ = monai.bundle.load("bundle", bundle_dir=str(bundle), load_ts_module=True)
        assert facts["network_data_format"]["inputs"]["image"]["num_channels"] == 1
    else:
        network = monai.bundle.load("bundle", bundle_dir=str(bundle), workflow_type="inference")
    window = torch.randn(1, 1, 16, 24, 20)
    with torch.no_grad():
        expected = read_model(bundle / "model").load()(window)
        found = network(window.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(found, expected)


def test_its_metadata_holds_the_whole_description(bundle):
    values = json.loads((bundle / "bundle" / "configs" / "metadata.json").read_text())
    assert values["itkit_model"] == json.loads(read_model(bundle / "model").facts.to_json())
    assert values["network_data_format"]["inputs"]["image"]["spatial_shape"] == [20, 24, 16]
    channels = values["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {"0": "background", "1": "fat", "2": "soft tissue", "3": "bone"}
    parity = json.loads((bundle / "bundle" / "parity.json").read_text())
    assert (parity["ok"], parity["changed_voxels"]) == (True, 0)
