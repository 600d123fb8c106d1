"""What markers say stands in the JSON schema and holds for every value."""

import json

import pytest

from itkit.catalogue import CATALOGUE, load
from itkit.core.axes import opposite
from itkit.core.errors import ParamsError
from itkit.core.fields import Bounds, OnlyWith
from itkit.core.params import ORIENTATION_CODES, VOLUME_EXTENSIONS
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params

MODELS = {**{name: load(name).params for name in CATALOGUE}, "RunOptions": RunOptions}
ROLES = {"in_folder", "out_folder", "in_file", "out_file"}
LIMITS = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "const", "enum", "x-unbounded"}
FORMS = {"enum", "const", "pattern", "x-free-text", "x-secret"}


def leaves(schema, said=()):
    """Yield each type of one value that a property may have, with all that is said around it."""
    said = {*said, *(key for key in schema if key.startswith("x-") or key in ("enum", "pattern"))}
    inner = [*schema.get("anyOf", ()), *schema.get("prefixItems", ())]
    inner += [schema["items"]] if isinstance(schema.get("items"), dict) else []
    for part in inner:
        yield from leaves(part, said)
    if not inner and schema.get("type") not in ("null", "array"):
        yield schema, said


@pytest.mark.parametrize("name", MODELS)
def test_all_that_a_form_needs_stands_in_the_schema(name):
    schema = MODELS[name].model_json_schema()
    json.dumps(schema)
    assert "$defs" not in schema
    for field, said in schema["properties"].items():
        assert said.get("description"), field
        assert field in schema.get("required", ()) or ("default" in said) != ("x-secret" in said), field
        for leaf, around in leaves(said):
            names = {*leaf, *around}
            kind = leaf.get("type", type(leaf.get("const")).__name__)
            if kind in ("integer", "number", "int", "float"):
                assert names & LIMITS, f"{field}: a number without bounds"
            elif leaf.get("format") == "path":
                assert said["x-path-role"] in ROLES, f"{field}: what is this path?"
            elif kind in ("string", "str"):
                assert names & FORMS, f"{field}: which texts?"
            else:
                assert kind == "boolean", f"{field}: {kind}"


def properties(name):
    return MODELS[name].model_json_schema()["properties"]


def test_the_schema_knows_axes_units_bounds_and_the_value_that_keeps():
    spacing = properties("itk_resample")["spacing"]
    assert (spacing["x-axes"], spacing["x-unit"], spacing["default"]) == ("ZYX", "mm", [-1.0, -1.0, -1.0])
    above_zero = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": -1}], "x-keep": -1}
    assert spacing["prefixItems"] == [above_zero] * 3
    assert spacing["maxItems"] == spacing["minItems"] == 3
    assert properties("itk_patch")["patch_size"]["prefixItems"] == [{"type": "integer", "minimum": 1}] * 3
    flip = properties("itk_aug")["random_flip"]
    assert flip["prefixItems"] == [{"type": "number", "minimum": 0, "maximum": 1}] * 3


def test_extensions_and_orientations_are_choices():
    for name in ("itk_resample", "itk_patch", "itk_aug", "itk_extract", "itk_convert", "convert_kits23"):
        assert properties(name)["ext"]["enum"] == list(VOLUME_EXTENSIONS)
    assert len(VOLUME_EXTENSIONS) == 6
    codes = properties("itk_orient")["orient"]["enum"]
    assert len(codes) == len(set(codes)) == 48
    assert {"LPS", "RAS", "LPI", "SRA"} <= set(codes)
    for code in ORIENTATION_CODES:
        assert {opposite(letter) for letter in code}.isdisjoint(code)
    optional = properties("itk_resample")["orient"]["anyOf"]
    assert [part.get("enum", part["type"]) for part in optional] == [codes, "null"]


def test_conditions_stand_in_the_schema_and_hold():
    fields = properties("itk_convert")
    dicom = {name for name, field in fields.items() if field.get("x-only-with") == {"mode": ["dicom"]}}
    assert dicom == {"name", "keep_ids", "key", "key_file", "modality", "least_slices", "on_irregular", "overlap",
                     "untilt", "interpolate_contours", "id_map", "no_labels"}  # fmt: skip
    values = {"mode": "format", "source": "a", "dest": "b"}
    assert make_params(MODELS["itk_convert"], {**values, "least_slices": 4}).least_slices == 4
    others = {"name": "x", "keep_ids": True, "key": "x", "key_file": "x", "modality": ["CT"], "least_slices": 5,
              "on_irregular": "split", "overlap": "first", "untilt": True, "interpolate_contours": True,
              "id_map": "x", "no_labels": True}  # fmt: skip
    for name in dicom:
        option = "--" + name.replace("_", "-")
        with pytest.raises(ParamsError, match=rf"{option} only matters for dicom; drop it"):
            make_params(MODELS["itk_convert"], {**values, name: others[name]})
    with pytest.raises(ParamsError, match="--fill only matters with --target-folder; without it the output lies"):
        make_params(
            MODELS["itk_resample"], {"mode": "image", "source": "a", "dest": "b", "size": (1, 1, 1), "fill": 0.0}
        )
    with pytest.raises(ParamsError, match="-o only matters for copy or symlink; check and delete write no samples"):
        make_params(MODELS["itk_check"], {"mode": "check", "source": "a", "dest": "b"})
    assert OnlyWith("elastic", mode=("a", "b")).text() == "with --elastic and for a or b"


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "itk_resample",
            {"spacing": (1, 0, -1)},
            r"^--spacing: Y: expected > 0 mm, or -1 to leave the axis; got 0\.0$",
        ),
        ("itk_resample", {"size": (1, 2, 0)}, "^--size: X: expected >= 1 voxels, or -1 to leave the axis; got 0$"),
        ("itk_aug", {"random_rot": (181, 0, 0)}, r"^--random-rot: Z: expected 0 to 180 degrees; got 181\.0$"),
        ("itk_aug", {"random_scale": (0, 1, 0)}, r"^--random-scale: Y: expected >= 0 and < 1 fraction; got 1\.0$"),
        ("itk_aug", {"random_flip": (0, 0, 1.5)}, r"^--random-flip: X: expected 0 to 1 probability; got 1\.5$"),
    ],
)
def test_bounds_hold_and_name_option_axis_and_unit(name, values, said):
    folders = {"mode": "image"} if name == "itk_resample" else {"label_source": "l"}
    with pytest.raises(ParamsError, match=said):
        make_params(MODELS[name], {**folders, "source": "a", "dest": "b", **values})


def test_bounds():
    bounds = Bounds(above=0, most=2, keep=-1)
    assert [bounds.allow(value) for value in (-1, -0.5, 0, 1e-9, 2, 2.1, float("nan"))] == [
        True, False, False, True, True, False, False,
    ]  # fmt: skip
