import sys

import pytest

from itkit.core.errors import ParamsError
from itkit.core.toml import toml_value
from itkit.training.plan_file import Plan, make_plan, plan_text, read_plan
from itkit.training.remarks import remarks_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VALUES = {
    "dataset": {"path": "ct", "channels": ["CT"], "labels": {"2": "spleen", "1": 'the "liver"\n'}},
    "preprocess": {"spacing": [3, 1, 1], "intensity": {"scheme": "ct", "low": -100, "high": 300, "mean": 40, "sd": 60}},
    "network": {"name": "unet", "options": {"features": [8, 16]}},
    "training": {"patch_size": [32, 64, 64], "loss": ["dice", {"name": "focal", "weight": 0.5}]},
}


def test_a_written_plan_reads_back_equal(tmp_path):
    plan = make_plan(VALUES)
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(plan, {"training.batch_size": "memory for 2 of 8 GB"}), encoding="utf-8")
    assert read_plan(path) == plan
    assert "# -> memory for 2 of 8 GB" in path.read_text()
    assert list(plan.dataset.labels) == [1, 2]


def test_comments_of_a_plan_are_kept_and_read_back_once():
    plan = make_plan(VALUES)
    reason = (
        "a reason so long that it takes more than one line of the file: " + "memory, time and the network's sides, " * 3
    )
    text = plan_text(plan, {"training.patch_size": reason, "training.epochs": "time for 1000"})
    text = (
        text.replace("[split]", "# ours\n[split]").replace("folds = 5", "folds = 5  # by patient: 'ä' \"#1\"")
        + "# end\n"
    )
    text = text.replace("dataset]\n", 'dataset]\n# a "quoted" remark\n', 1)
    remarks = remarks_of(text)
    again = plan_text(plan, remarks=remarks)
    assert remarks_of(again) == remarks
    assert again.count("# -> a reason so long") == 1
    for line in (
        "# ours\n[split]",
        "# by patient: 'ä' \"#1\"\nfolds = 5",
        "# -> time for 1000\nepochs = 1000",
        "# end\n",
    ):
        assert line in again
    assert "time for 1000" not in plan_text(plan, remarks=remarks_of(text, ["training.epochs"]))
    assert make_plan(tomllib.loads(again)) == plan


def test_every_key_has_a_comment():
    for section in Plan.model_fields.values():
        for key, field in section.annotation.model_fields.items():
            assert field.description, key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.batch_size=0", "training.batch_size: input should be greater than or equal to 1; got 0"),
        ("training.batchsize=2", "unknown key training.batchsize; did you mean 'batch_size'? (there are patch_size, "),
        ("trainingg.epochs=2", "unknown section trainingg; did you mean 'training'?"),
        ("training.precision=fp8", "training.precision: input should be '32', 'bf16' or '16'; got 'fp8'"),
        ("training.precision=8", "training.precision: input should be '32', 'bf16' or '16'; got '8'"),
        ("training.patch_size=[8, 16]", "training.patch_size: too few values; got [8, 16]"),
        ("preprocess.spacing=[1, 0, 1]", "preprocess.spacing.1: input should be greater than 0; got 0"),
        ("preprocess.orient=LPX", "preprocess.orient"),
        ("augment.mirror=ZZ", "augment.mirror"),
        ("training.learning_rate=nan", "training.learning_rate: input should be"),
        ("dataset.labels={0 = 'air'}", "dataset.labels"),
        ("preprocess.intensity={scheme = 'ct'}", "the scheme ct needs low, high, mean and sd"),
        ("training.epochs", "expected section.key=value"),
        ("training.seed.more=1", "seed is a value, not a section"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(tmp_path, change, message):
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(make_plan(VALUES)), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        read_plan(path, [change])
    assert message in str(caught.value)


def test_a_value_of_the_command_line_replaces_that_of_the_file(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(make_plan(VALUES)), encoding="utf-8")
    plan = read_plan(
        path, ["training.epochs=3", "training.loss=dice", "network.options.features=[4]", "augment.noise=0"]
    )
    assert (plan.training.epochs, plan.training.loss, plan.augment.noise) == (3, "dice", 0)
    assert plan.network.options == {"features": [4]}
    assert plan.training.patch_size == (32, 64, 64)
    assert [read_plan(path, [f"training.precision={text}"]).training.precision for text in ("16", "'32'", "bf16")] == [
        "16",
        "32",
        "bf16",
    ]


@pytest.mark.parametrize(
    ("content", "message"), [(b"[training\n", "plan.toml"), (b"\xff\xfe", "plan.toml"), (b"", "missing dataset")]
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "plan.toml"
    path.write_bytes(content)
    with pytest.raises(ParamsError, match=message):
        read_plan(path)
    with pytest.raises(ParamsError, match=r"none\.toml: can't be read"):
        read_plan(tmp_path / "none.toml")


@pytest.mark.parametrize("value", [{"a b": [1, {"x": "\x7f\x01é\\"}], "": 1e-7}, [[], {}], True, -3, "日本"])
def test_values_survive_toml(value):
    assert tomllib.loads(f"v = {toml_value(value)}")["v"] == value
