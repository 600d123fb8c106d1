"""Losses by name, of ours, of users and of other packages; modules take what their functions take."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

import itkit
from itkit.criterion import DiceCELoss, create_loss, functional, list_losses, register_loss, registry

LOGITS = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (2, 5, 6), generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def run(code, *paths):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, paths), str(Path(itkit.__file__).parents[1])]),
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_listing_needs_no_torch():
    assert run("import sys; from itkit.criterion import list_losses; list_losses(); print('torch' in sys.modules)") == [
        "False"
    ]


@pytest.mark.parametrize("name", list_losses())
def test_every_loss_is_made_by_its_name(name):
    assert isinstance(create_loss(name), nn.Module)


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("dice", functional.dice_loss, {"batch": True, "include_background": False}),
        ("cross_entropy", functional.cross_entropy, {"class_weights": (1.0, 2.0, 3.0)}),
        ("dice_ce", functional.dice_ce_loss, {"ce_weight": 0.3, "ignore_index": 2}),
        ("focal", functional.focal_loss, {"gamma": 1.5}),
        ("tversky", functional.tversky_loss, {"alpha": 0.6, "smooth": 1.0}),
    ],
)
def test_a_module_takes_and_returns_what_its_function_does(name, function, options):
    loss = create_loss(name, **options)
    for made in (loss, copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.testing.assert_close(made(LOGITS, TARGET), function(LOGITS, TARGET, **options), rtol=0, atol=0)
    torch.testing.assert_close(create_loss(name)(LOGITS, TARGET), function(LOGITS, TARGET), rtol=0, atol=0)
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    *options_of, split_z = inspect.signature(type(loss)).parameters.values()
    assert options_of == keywords
    assert (split_z.name, split_z.default) == ("split_z", False)
    for key, value in options.items():
        assert f"{key}={value!r}" in repr(loss)
    with pytest.raises(TypeError, match="sharpness"):
        create_loss(name, sharpness=1)


def test_positional_options_are_refused():
    with pytest.raises(TypeError):
        DiceCELoss(1.0)


def test_an_unknown_name_gets_a_close_one():
    with pytest.raises(ValueError, match="no loss is called 'dice_c'; did you mean 'dice_ce'"):
        create_loss("dice_c")


def test_own_losses_are_registered_and_clashes_refused():
    @register_loss("mine")
    class Mine(nn.Module):
        def __init__(self, power=1):
            super().__init__()
            self.power = power

        def forward(self, logits, target):
            return (logits.mean() - target.float().mean()) ** self.power

    assert create_loss("mine", power=2).power == 2
    assert "mine" in list_losses()
    register_loss("mine")(Mine)
    for name in ("mine", "dice"):
        with pytest.raises(ValueError, match=f"{name!r} already"):
            register_loss(name)(nn.MSELoss)
    register_loss("none")(lambda: 3)
    with pytest.raises(ValueError, match=r"none: .* must return a torch\.nn\.Module; got 3"):
        create_loss("none")


def test_a_packages_losses_are_found_and_a_broken_one_is_named(tmp_path):
    (tmp_path / "their_losses.py").write_text("import torch\nclass Loss(torch.nn.L1Loss): pass\n")
    facts = tmp_path / "their_losses-3.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-losses\nVersion: 3\n")
    (facts / "entry_points.txt").write_text(
        "[itkit.losses]\nabsolute = their_losses:Loss\nbroken = their_losses:None_\ndice = their_losses:Loss\n"
    )
    code = """
        from itkit.core.errors import PluginError
        from itkit.criterion import create_loss, list_losses
        print([name for name in list_losses() if name in ("absolute", "broken", "dice")])
        print(type(create_loss("absolute", reduction="sum")).__module__, type(create_loss("dice")).__module__)
        try:
            create_loss("broken")
        except PluginError as error:
            print(error)
    """
    listed, made, error = run(code, tmp_path)
    assert listed == "['absolute', 'broken', 'dice']"
    assert made == "their_losses itkit.criterion.modules"
    assert error.startswith("their-losses 3: ")
    assert "'broken'" in error
