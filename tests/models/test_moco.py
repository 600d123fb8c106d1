import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from itkit.models import create_model, from_reference, list_models, load_pretrained, model_card
from itkit.models.blocks.resnet import DEPTHS, ResNet
from itkit.models.moco.encoders import encoder_weights, zoo_encoder
from itkit.models.moco.moco import VERSIONS, MoCo, TwoViews
from itkit.models.moco.symmetric import contrastive_loss, momentum_at, symmetric_loss
from tests.models.parity import fill

PARITY = Path(__file__).parent / "parity"
CASES = {case["name"]: case for case in json.loads((PARITY / "moco_functions.json").read_text())["cases"]}
STEPS = sorted(name for name in CASES if "_step" in name)


@pytest.fixture(scope="module")
def arrays():
    with np.load(PARITY / "moco_functions.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


class Perceptron(nn.Module):
    def __init__(self, in_features, hidden, num_classes):
        super().__init__()
        self.body = nn.Linear(in_features, hidden)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, x):
        return self.fc(functional.relu(self.body(x)))


def small_resnet(num_classes, in_channels=1, spatial_dims=2):
    return ResNet(
        DEPTHS["resnet18"], num_classes=num_classes, in_channels=in_channels, spatial_dims=spatial_dims, width=8
    )


@pytest.mark.parametrize("arch", ["moco_v1_resnet50", "moco_v2_resnet50"])
def test_keys_equal_the_authors(arch):
    spec = json.loads((PARITY / f"{arch}.json").read_text())
    network = from_reference(spec)
    report = fill.check(network, arch)
    assert report["ok"], report
    assert report["same_order"]
    assert fill.describe(network)["trainable_parameter_count"] == spec["trainable_parameter_count"]


@pytest.mark.parametrize("name", STEPS)
def test_a_training_step_equals_the_worked_example(arrays, name):
    facts = CASES[name]["args"]
    encoder = partial(Perceptron, facts["in_features"], facts["hidden"])
    moco = MoCo(encoder, facts["dim"], facts["K"], facts["m"], facts["T"], facts["mlp"]).double()
    given = {entry["name"]: arrays[entry["array"]] for entry in CASES[name]["inputs"]}
    wanted = {entry["name"]: arrays[entry["array"]] for entry in CASES[name]["outputs"]}
    start = {key: given[key] for key in moco.state_dict()} if "queue_ptr" in given else first_state(moco, given)
    moco.load_state_dict(start)

    logits, labels = moco(given["x_q"], given["x_k"])
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    for key, parameter in moco.encoder_q.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[f"grad.encoder_q.{key}"], rtol=1e-12, atol=1e-14)
    torch.optim.SGD(moco.encoder_q.parameters(), facts["lr"]).step()
    torch.testing.assert_close(logits.detach(), wanted["logits"], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(loss.detach()[None], wanted["loss"], rtol=1e-12, atol=1e-14)
    for key, value in moco.state_dict().items():
        torch.testing.assert_close(value, wanted[f"after.{key}"], rtol=1e-12, atol=1e-14)


def first_state(moco, given):
    state = {}
    for key, value in moco.state_dict().items():
        name = key.replace("encoder_k.", "encoder_q.")
        state[key] = given.get(name, torch.zeros_like(value))
    return state


def test_symmetric_loss_equals_the_worked_example(arrays):
    q1, q2, k1, k2 = (arrays[f"v3_loss.in.{name}"] for name in ("q1", "q2", "k1", "k2"))
    temperature = CASES["v3_loss"]["args"]["T"]
    torch.testing.assert_close(contrastive_loss(q1, k2, temperature)[None], arrays["v3_loss.out.loss_q1k2"])
    torch.testing.assert_close(contrastive_loss(q2, k1, temperature)[None], arrays["v3_loss.out.loss_q2k1"])
    torch.testing.assert_close(symmetric_loss((q1, q2), (k1, k2), temperature)[None], arrays["v3_loss.out.loss"])


def test_momentum_schedule_equals_the_worked_example(arrays):
    facts = CASES["v3_momentum_schedule"]["args"]
    epochs = arrays["v3_momentum_schedule.in.epoch"].tolist()
    values = [momentum_at(epoch, facts["epochs"], facts["m"]) for epoch in epochs]
    np.testing.assert_allclose(values, arrays["v3_momentum_schedule.out.m"].numpy(), rtol=1e-14)


def test_key_statistics_are_its_own_and_queue_wraps():
    moco = MoCo(small_resnet, dim=8, K=4, m=0.5).train()
    before = moco.encoder_k.bn1.running_mean.clone()
    for step in (2, 0, 2):
        moco(torch.randn(2, 1, 32, 32), 3 + torch.randn(2, 1, 32, 32))
        assert moco.queue_ptr.item() == step
    assert not torch.equal(moco.encoder_k.bn1.running_mean, before)
    assert not torch.equal(moco.encoder_k.bn1.running_mean, moco.encoder_q.bn1.running_mean)
    torch.testing.assert_close(moco.queue.norm(dim=0), torch.ones(4))
    assert all(not p.requires_grad for p in moco.encoder_k.parameters())


def test_a_batch_that_does_not_divide_the_queue_is_refused():
    moco = MoCo(small_resnet, dim=4, K=8)
    with pytest.raises(ValueError, match="3 keys"):
        moco(torch.randn(3, 1, 32, 32), torch.randn(3, 1, 32, 32))


@pytest.mark.parametrize(
    ("change", "message"), [({"dim": 0}, "dim"), ({"m": 1.5}, "m: "), ({"T": 0}, "T: ")], ids=lambda value: str(value)
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        MoCo(small_resnet, **{"dim": 4, "K": 4, **change})


def test_encoders_need_a_last_linear_layer():
    with pytest.raises(TypeError, match="'fc'"):
        MoCo(lambda num_classes: nn.Conv2d(1, num_classes, 1), dim=4, K=4)
    with pytest.raises(TypeError, match="depth"):
        from_reference({"official_class": "moco.builder.MoCo", "config": {"base_encoder": "resnet18", "depth": 3}})


def test_learns_to_tell_images_apart():
    moco = MoCo(partial(Perceptron, 12, 32), dim=8, K=64, m=0.9, **VERSIONS["v2"]).train()
    optimizer = torch.optim.SGD(moco.encoder_q.parameters(), 0.1, momentum=0.9)
    two_views = TwoViews(lambda images: images + 0.2 * torch.randn_like(images))
    losses = []
    for _ in range(60):
        loss = functional.cross_entropy(*moco(*two_views(torch.randn(16, 12))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    filled = losses[4:10]  # before, the queue holds random vectors, which are easily told apart
    assert np.mean(losses[-6:]) < 0.9 * np.mean(filled)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_trained_encoder_goes_back_into_its_network(spatial_dims):
    tiny = {"depth": "resnet18", "width": 8, "decoder_width": 8, "spatial_dims": spatial_dims}
    moco = MoCo(zoo_encoder("moco_resnet50", in_channels=2, **tiny), dim=8, K=4, **VERSIONS["v2"])
    image = torch.randn(2, 2, *(32,) * spatial_dims)
    functional.cross_entropy(*moco(image, image)).backward()
    assert all(p.grad is not None for p in moco.encoder_q.parameters())
    weights = encoder_weights({"state_dict": {f"module.{k}": v for k, v in moco.state_dict().items()}})
    network = create_model("moco_resnet50", in_channels=2, **tiny).eval()
    report = network.load_state_dict(weights, strict=False)
    assert not report.unexpected_keys
    assert all(key.startswith("decoder.") for key in report.missing_keys)
    moco.eval()
    torch.testing.assert_close(network.network.encoder(image)[-1], moco.encoder_q.encoder(image)[-1])


def test_a_checkpoint_of_the_pretraining_loads_directly(tmp_path):
    moco = MoCo(partial(small_resnet, in_channels=3), dim=8, K=4, **VERSIONS["v2"])
    saved = {"epoch": 200, "arch": "resnet18", "state_dict": {f"module.{k}": v for k, v in moco.state_dict().items()}}
    torch.save(saved, tmp_path / "moco.pth.tar")
    network = create_model("moco_resnet50", in_channels=3, depth="resnet18", width=8, decoder_width=8)
    report = load_pretrained(network, tmp_path / "moco.pth.tar")
    assert all(key.startswith("decoder.") for key in report.missing)
    assert torch.equal(network.network.encoder.layer4[1].conv2.weight, moco.encoder_q.layer4[1].conv2.weight)


def test_two_dimensional_pretraining_inflates_into_volumes(tmp_path):
    moco = MoCo(small_resnet, dim=8, K=4)
    torch.save(encoder_weights(moco), tmp_path / "encoder.pth")
    network = create_model("moco_resnet50", depth="resnet18", width=8, decoder_width=8, spatial_dims=3)
    report = load_pretrained(network, tmp_path / "encoder.pth")
    assert all(key.startswith("decoder.") for key in report.missing)
    assert "encoder.conv1.weight" in {item.key for item in report.adapted}
    torch.testing.assert_close(network.network.encoder.conv1.weight.sum(2), moco.encoder_q.conv1.weight)


def test_released_names_fit_the_segmentation_network():
    moco = MoCo(partial(small_resnet, in_channels=3), dim=8, K=4)
    network = create_model("moco_resnet50", in_channels=3, depth="resnet18", width=8, decoder_width=8)
    report = network.load_state_dict(encoder_weights(moco, prefix="encoder."), strict=False)
    assert not report.unexpected_keys
    assert all(key.startswith("decoder.") for key in report.missing_keys)
    with pytest.raises(ValueError, match="encoder_q"):
        encoder_weights(network)


def test_any_layer_can_be_pretrained():
    options = {"planes": 8, "m": 1, "n": 1}
    moco = MoCo(zoo_encoder("dsnet_head64", layer="layer4", **options), dim=8, K=4)
    image = torch.randn(2, 1, 32, 32)
    functional.cross_entropy(*moco(image, image)).backward()
    for name, parameter in moco.encoder_q.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    trained = dict(moco.encoder_q.encoder.tapped.named_parameters())
    assert trained["layer4.0.process1.0.weight"].requires_grad
    assert not trained["spp.process1.0.weight"].requires_grad
    with pytest.raises(ValueError, match="layer7"):
        zoo_encoder("dsnet_head64", layer="layer7", **options)(num_classes=2)


def one_of_each_builder():
    return list({model_card(name).builder: name for name in list_models()}.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", one_of_each_builder())
def test_every_network_has_an_encoder_to_pretrain(name):
    card = model_card(name)
    moco = MoCo(zoo_encoder(name, **card.tiny), dim=8, K=4).train()
    size = card.tiny_size if isinstance(card.tiny_size, tuple) else (card.tiny_size,) * card.spatial_dims[0]
    image = torch.randn(2, 1, *size)
    functional.cross_entropy(*moco(image, image)).backward()
    for key, parameter in moco.encoder_q.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), key
    assert any(p.requires_grad for p in moco.encoder_q.encoder.parameters())
    network = create_model(name, **card.tiny)
    weights = encoder_weights(moco)
    assert not network.load_state_dict(weights, strict=False).unexpected_keys
    loaded = network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


class Centre(nn.Module):
    """Takes the mean of the images it sees together away from each: a batch statistic without randomness."""

    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        return self.fc(x - x.mean(0, keepdim=True))


def views(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 6, generator=generator), torch.randn(8, 6, generator=generator)


def train_on_two_ranks(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    moco = MoCo(Centre, dim=4, K=16, m=0.5)
    start = {key: value.clone() for key, value in moco.state_dict().items()}
    model = DistributedDataParallel(moco)
    optimizer = torch.optim.SGD(moco.encoder_q.parameters(), 0.1)
    steps = []
    for step in range(2):
        torch.manual_seed(10 * step + rank)  # ranks draw differently; rank 0 decides the order
        queries, keys = views(step)
        before = {key: value.clone() for key, value in moco.state_dict().items()}
        own = slice(4 * rank, 4 * rank + 4)
        logits, labels = model(queries[own], keys[own])
        optimizer.zero_grad()
        functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        steps.append({"before": before, "logits": logits.detach(), "after": dict(moco.state_dict())})
        steps[-1]["after"] = {key: value.clone() for key, value in steps[-1]["after"].items()}
    query, key = views(9)
    both = contrastive_loss(query[4 * rank : 4 * rank + 4], key[4 * rank : 4 * rank + 4], 0.5)
    torch.save({"start": start, "steps": steps, "v3": both}, f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.net
@pytest.mark.slow
def test_two_processes_share_keys_and_shuffle_batches(tmp_path):
    multiprocessing.start_processes(train_on_two_ranks, args=(str(tmp_path),), nprocs=2, start_method="spawn")
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    for step, (one, two) in enumerate(zip(first["steps"], second["steps"], strict=True)):
        for key, value in one["after"].items():
            assert torch.equal(value, two["after"][key]), key
        before, after = one["before"], one["after"]
        queries, keys = views(step)
        slow = {
            name: 0.5 * before[f"encoder_k.fc.{name}"] + 0.5 * before[f"encoder_q.fc.{name}"]
            for name in ("weight", "bias")
        }
        torch.manual_seed(10 * step)
        order = torch.randperm(8)
        encoded = torch.zeros(8, 4)
        for group in (order[:4], order[4:]):
            encoded[group] = functional.linear(keys[group] - keys[group].mean(0), **slow)
        encoded = functional.normalize(encoded, dim=1)
        torch.testing.assert_close(after["queue"][:, 8 * step : 8 * step + 8].T, encoded)
        assert after["queue_ptr"].item() == (8 * step + 8) % 16
        fast = {name: before[f"encoder_q.fc.{name}"] for name in ("weight", "bias")}
        for rank, record in enumerate((one, two)):
            own = slice(4 * rank, 4 * rank + 4)
            query = functional.normalize(functional.linear(queries[own] - queries[own].mean(0), **fast), dim=1)
            positive = (query * encoded[own]).sum(1, keepdim=True)
            torch.testing.assert_close(record["logits"], torch.cat([positive, query @ before["queue"]], 1) / 0.07)
    query, key = views(9)
    torch.testing.assert_close((first["v3"] + second["v3"]) / 2, contrastive_loss(query, key, 0.5))
