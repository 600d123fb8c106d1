"""Every recorded fact about the authors' networks has something of ours to be compared with."""

import json
from pathlib import Path

import pytest
import torch

from itkit.models import from_reference
from itkit.models.reference import builder_path
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
SPECS = {path.stem: json.loads(path.read_text()) for path in sorted(PARITY.glob("*.json"))}
NETWORKS = [arch for arch, spec in SPECS.items() if "state_dict" in spec]
SWITCHES = {
    "lm_net_deploy": {"deploy": True},
    "lm_net_no_rpb": {"rel_pos_bias": False},
    "lm_net_mini_no_rpb": {"rel_pos_bias": False},
}
"""States that the authors reach outside the constructor, by a later call or by another library release."""
FUNCTIONS = [arch for arch, spec in SPECS.items() if "state_dict" not in spec]


def test_the_weights_of_the_fixtures_can_be_drawn_again():
    fill._self_test()


@pytest.mark.parametrize("arch", NETWORKS)
def test_keys_shapes_types_and_counts_equal_the_authors(arch):
    spec = SPECS[arch]
    with torch.device("meta"):
        network = from_reference({**spec, "config": {**spec["config"], **SWITCHES.get(arch, {})}})
    found = {key: (list(x.shape), str(x.dtype).removeprefix("torch.")) for key, x in network.state_dict().items()}
    assert found == {key: (shape, dtype) for key, shape, dtype in spec["state_dict"]}
    assert sum(parameter.numel() for parameter in network.parameters()) == spec["parameter_count"]


def test_recorded_functions_and_outputs_are_compared_in_some_test():
    tests = [path for path in PARITY.parents[1].rglob("test_*.py") if path != Path(__file__)]
    text = "\n".join(path.read_text() for path in tests)
    for arch in FUNCTIONS:
        assert f'"{arch}"' in text or f"{arch}." in text, f"no test reads {arch}"


def test_every_output_file_has_its_description():
    assert {path.stem for path in PARITY.glob("*.npz")} <= set(SPECS)


def test_a_path_serves_as_well_as_a_mapping(tmp_path):
    spec = SPECS["mednext_mini_k3"]
    path = tmp_path / "network.json"
    path.write_text(json.dumps({"official_class": spec["official_class"], "config": spec["config"]}))
    assert list(from_reference(path).state_dict()) == [key for key, _, _ in spec["state_dict"]]


def test_names_are_found_without_their_remark_and_unknown_ones_refused():
    assert builder_path("nnunet_mednext.MedNeXt (another remark (1))") == builder_path("nnunet_mednext.MedNeXt")
    with pytest.raises(ValueError, match=r"'made\.up'.*monai\.networks\.nets\.UNETR"):
        builder_path("made.up")


def test_an_argument_the_authors_do_not_have_is_refused():
    spec = SPECS["mednext_mini_k3"]
    with pytest.raises(TypeError, match="colour"):
        from_reference({**spec, "config": {**spec["config"], "colour": 1}})
