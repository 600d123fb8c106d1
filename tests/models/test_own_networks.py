"""Networks of users and of other packages: registered by decorator or entry point, refused by name."""

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
from itkit.models import (
    ModelCard,
    Weights,
    create_model,
    list_models,
    load_pretrained,
    model_card,
    register_model,
    registry,
)
from itkit.testing.model_contract import ModelContract


class Small(nn.Module):
    """One convolution of each side to itself; two sides share no name with a network of ours."""

    def __init__(self, in_channels, num_classes, spatial_dims, width=8, use_checkpoint=False):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.first = conv(in_channels, width, 3, padding=1)
        self.last = conv(width, num_classes, 1)

    def forward(self, image):
        return self.last(torch.relu(self.first(image)))


CARD = ModelCard(name="users_own", spatial_dims=(2, 3), divisor=4, tiny={"width": 12}, tiny_size=24)
register_model(CARD)(Small)


class TestOwnNetwork(ModelContract):
    names = ("users_own",)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_a_decorated_network_is_built_and_listed():
    network = create_model("users_own", num_classes=4, width=16)
    assert network(torch.zeros(1, 1, 9, 6)).shape == (1, 4, 9, 6)
    assert network.network.first.out_channels == 16
    assert "users_own" in list_models("users_*")
    assert pickle.loads(pickle.dumps(network)).card.name == "users_own"


def test_a_name_of_ours_and_a_name_of_another_are_refused():
    with pytest.raises(ValueError, match=r"'unetr' already \(itkit\.models\.unetr\.network:build\)"):
        register_model(ModelCard(name="unetr", spatial_dims=(3,)))(Small)

    class Other(Small):
        pass

    with pytest.raises(ValueError, match="'users_own' already"):
        register_model(CARD)(Other)
    register_model(CARD)(Small)  # as when a cell of a notebook is run again
    assert model_card("unetr").builder == "itkit.models.unetr.network:build"


def test_a_card_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="name of a network"):
        ModelCard(name="two words", spatial_dims=(2,))
    with pytest.raises(ValueError, match="spatial_dims: expected some of"):
        ModelCard(name="x", spatial_dims=())
    with pytest.raises(ValueError, match="hexadecimal"):
        Weights(trained_on="x", page="y", sha256="short")
    register_model(ModelCard(name="no_module", spatial_dims=(2,)))(lambda **_: "a string")
    with pytest.raises(ValueError, match=r"no_module: .* must return a torch\.nn\.Module"):
        create_model("no_module")


def test_released_weights_are_loaded_when_asked_for(tmp_path):
    source = Small(1, 2, 2)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    page = Weights(trained_on="A page", page="https://example.org")
    file = Weights(trained_on="Nothing", page="", url=(tmp_path / "w.pth").as_uri())
    register_model(ModelCard(name="with_weights", spatial_dims=(2,), weights=(page, file)))(Small)
    for wanted in (True, "nothing"):
        loaded = create_model("with_weights", pretrained=wanted)
        assert torch.equal(loaded.first.weight, source.first.weight)
    with pytest.raises(ValueError, match="expected True or 'Nothing'; got 'MSD'"):
        create_model("with_weights", pretrained="MSD")
    with pytest.raises(ValueError, match=r"unetr: pretrained: .*BTCV: https://github.com/.*load_pretrained"):
        create_model("unetr", pretrained=True)


def test_heads_of_an_own_network_are_those_that_its_card_names(tmp_path):
    torch.save(Small(1, 5, 2).state_dict(), tmp_path / "five.pth")
    card = ModelCard(name="with_head", spatial_dims=(2,), head=(r"^last\.",), stem=(r"^first\.weight",))
    register_model(card)(Small)
    report = load_pretrained(create_model("with_head", num_classes=3), tmp_path / "five.pth", partial=True)
    assert report.random == ("last.weight", "last.bias")
    assert not report.mismatched
    register_model(ModelCard(name="without_head", spatial_dims=(2,)))(Small)
    report = load_pretrained(create_model("without_head", num_classes=3), tmp_path / "five.pth", partial=True)
    assert [item.key for item in report.mismatched] == ["last.weight", "last.bias"]
    assert "the card names no head and stem" in str(report)


PACKAGE = """
    import torch
    from itkit.models import ModelCard, register_model

    CARD = ModelCard(name="theirs", title="Theirs", spatial_dims=(2,), builder="their_nets:Net")
    TAKEN = ModelCard(name="unetr", spatial_dims=(2,), builder="their_nets:Net")
    OTHER = ModelCard(name="another_name", spatial_dims=(2,), builder="their_nets:Net")

    class Net(torch.nn.Conv2d):
        def __init__(self, in_channels, num_classes, spatial_dims):
            super().__init__(in_channels, num_classes, 1)

    @register_model(ModelCard(name="decorated", spatial_dims=(2,)))
    def build(**arguments):
        return Net(**arguments)

    def plain(**arguments):
        return Net(**arguments)
"""
ENTRIES = """
    [itkit.models]
    theirs = their_nets:CARD
    decorated = their_nets:build
    plain = their_nets:plain
    unetr = their_nets:TAKEN
    misnamed = their_nets:OTHER
    broken = their_nets_that_fail:CARD
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return what runs code where a package with networks is installed: its output and its warnings."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "their_nets.py").write_text(textwrap.dedent(PACKAGE))
    (folder / "their_nets_that_fail.py").write_text("raise RuntimeError('no licence')\n")
    facts = folder / "their_nets-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-nets\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text(textwrap.dedent(ENTRIES))

    def run(code):
        paths = os.pathsep.join([str(folder), str(Path(itkit.__file__).parents[1])])
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


def test_a_packages_networks_are_listed_and_built(installed):
    out, _ = installed("""
        import torch
        from itkit.models import create_model, list_models, table
        print({"theirs", "decorated", "unetr"} <= set(list_models()), {"plain", "broken"} & set(list_models()))
        for name in ("theirs", "decorated"):
            print(create_model(name, num_classes=5)(torch.zeros(1, 1, 3, 4)).shape[1])
        print([row["title"] for row in table("theirs")], create_model("unetr", image_size=16).card.family)
    """)
    assert out.splitlines() == ["True set()", "5", "5", "['Theirs'] unetr"]


def test_a_broken_network_is_named_once_and_breaks_no_other(installed):
    _, warnings = installed("from itkit.models import list_models; list_models(); list_models()")
    assert len(warnings.splitlines()) == 4
    for name, fault in {
        "broken": "RuntimeError: no licence",
        "unetr": "taken by ITKIT",
        "misnamed": "is called 'another_name'",
        "plain": "got function",
    }.items():
        line = next(line for line in warnings.splitlines() if repr(name) in line)
        assert line.startswith("their-nets 1.2: ")
        assert fault in line


def test_asking_for_a_broken_network_says_why_it_is_missing(installed):
    out, _ = installed("""
        from itkit.models import create_model
        try:
            create_model("broken")
        except ValueError as error:
            print(error)
    """)
    assert "no network is called 'broken'; their-nets 1.2:" in out
    assert "no licence" in out


def test_the_command_lists_a_packages_networks(installed):
    out, _ = installed("from itkit.cli.umbrella import main; main(['models', 'the*'])")
    assert out.split() == ["theirs", "2D", "Theirs"]
