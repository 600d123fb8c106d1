"""What every registered network keeps to, tried on its tiny configuration."""

import copy
import io

import pytest
import torch
from torch.nn import functional

from itkit.models import create_model, list_models, model_card

CLASSES = 3
EVERY = [(name, dims) for name in list_models() for dims in model_card(name).spatial_dims]


def _kind(name):
    card = model_card(name)
    return card.builder, frozenset(card.options), frozenset(card.tiny), card.unused


def _first_of_each_kind():
    first = {}
    for name in list_models():
        first.setdefault(_kind(name), name)
    return set(first.values())


KINDS = [pair for pair in EVERY if pair[0] in _first_of_each_kind()]
"""One network a builder: sizes of one network differ only in numbers, which the tiny configuration overrides."""
every_network = pytest.mark.parametrize(("name", "dims"), EVERY)
every_kind = pytest.mark.parametrize(("name", "dims"), KINDS)


def tiny_size(name, dims):
    size = model_card(name).tiny_size
    return (size,) * dims if isinstance(size, int) else tuple(size)[:dims]


def awkward_size(name, dims):
    """Sides that fit nothing, each another; not above a fixed size."""
    return tuple(side - 3 - axis for axis, side in enumerate(tiny_size(name, dims)))


def build(name, dims, in_channels=1, **options):
    torch.manual_seed(7)
    options = {**model_card(name).tiny, **options}
    return create_model(name, in_channels=in_channels, num_classes=CLASSES, spatial_dims=dims, **options)


def picture(size, in_channels=1, batch=2):
    """Two images with a bright box each, another intensity a class, and their label maps."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.zeros(batch, *size, dtype=torch.long)
    for index in range(batch):
        box = tuple(slice(side // (4 - index), side // (4 - index) + side // 2) for side in size)
        labels[(index, *box)] = 1
        core = tuple(slice(part.start + 2, part.start + (part.stop - part.start) // 2) for part in box)
        labels[(index, *core)] = 2
    noise = 0.1 * torch.randn(batch, in_channels, *size, generator=generator)
    return labels.unsqueeze(1) * 1.5 - 1 + noise, labels


@every_network
def test_logits_have_the_images_size_and_do_not_change_in_evaluation(name, dims):
    network = build(name, dims, in_channels=2).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000
    with torch.no_grad():
        for size in (tiny_size(name, dims), awkward_size(name, dims)):
            image, _ = picture(size, in_channels=2)
            logits = network(image)
            assert logits.shape == (2, CLASSES, *size)
            assert logits.dtype == torch.float32
            assert torch.isfinite(logits).all()
            assert torch.equal(network(image), logits)


@every_network
def test_every_trainable_parameter_gets_a_finite_gradient(name, dims):
    network = build(name, dims).train()
    image, labels = picture(tiny_size(name, dims))
    functional.cross_entropy(network(image), labels).backward()
    none = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not none, "declare them in the card's `unused`"
    bad = [key for key, p in network.named_parameters() if p.requires_grad and not torch.isfinite(p.grad).all()]
    assert not bad
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    assert frozen < 0.5 * sum(p.numel() for p in network.parameters())


@every_network
def test_the_state_has_the_networks_own_names_and_comes_back_from_a_file(name, dims):
    network = build(name, dims).eval()
    assert list(network.state_dict()) == list(network.network.state_dict())
    assert [key for key, _ in network.named_parameters()] == [key for key, _ in network.network.named_parameters()]
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    torch.manual_seed(8)
    other = create_model(name, num_classes=CLASSES, spatial_dims=dims, **model_card(name).tiny).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    image, _ = picture(tiny_size(name, dims))
    with torch.no_grad():
        assert torch.equal(other(image), network(image))


@every_kind
def test_a_copy_is_independent_and_equal(name, dims):
    network = build(name, dims).eval()
    image, _ = picture(tiny_size(name, dims))
    with torch.no_grad():
        before = network(image)
        twin = copy.deepcopy(network)
        assert torch.equal(twin(image), before)
        for parameter in twin.parameters():
            parameter.add_(1)
        assert torch.equal(network(image), before)
        assert not torch.equal(twin(image), before)


@every_kind
def test_images_of_a_batch_do_not_mix_in_evaluation(name, dims):
    network = build(name, dims).eval()
    image, _ = picture(tiny_size(name, dims))
    with torch.no_grad():
        torch.testing.assert_close(network(image)[1:], network(image[1:]), rtol=1e-3, atol=1e-4)


@every_kind
def test_two_images_can_be_learnt_by_heart(name, dims):
    network = build(name, dims).train()
    image, labels = picture(tiny_size(name, dims))
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(120):
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(image), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if loss < 0.2:
            break
    assert min(losses) < 0.25, losses[:: max(1, len(losses) // 10)]


@every_kind
def test_export_gives_the_same_numbers(name, dims):
    card = model_card(name)
    network = build(name, dims).eval()
    image, _ = picture(awkward_size(name, dims), batch=1)
    if not card.onnx:
        assert card.notes, "say why the network can't be exported"
        return
    program = torch.export.export(network, (image,), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), network(image), rtol=1e-4, atol=1e-5)


@every_kind
def test_compilation_captures_the_network(name, dims):
    if not model_card(name).compiles:
        assert model_card(name).notes, "say why the network can't be compiled"
        return
    network = build(name, dims).eval()
    image, _ = picture(tiny_size(name, dims), batch=1)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager")(image)
        torch.testing.assert_close(compiled, network(image), rtol=1e-4, atol=1e-5)


@every_kind
def test_bfloat16_autocast_is_finite_both_ways(name, dims, monkeypatch):
    if not model_card(name).bf16:
        assert model_card(name).notes, "say why the network can't run in bfloat16"
        return
    network = build(name, dims).train()
    image, labels = picture(tiny_size(name, dims))
    # oneDNN's bfloat16 weight gradient of 3-D convolutions reads unset memory where maps are 2 voxels wide.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", dims == 2)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)
    functional.cross_entropy(logits.float(), labels).backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "dims"), [pair for pair in KINDS if model_card(pair[0]).checkpointing])
def test_checkpointing_changes_nothing_but_memory(name, dims):
    image, labels = picture(tiny_size(name, dims))
    results = []
    for use_checkpoint in (False, True):
        network = build(name, dims, use_checkpoint=use_checkpoint).train()
        torch.manual_seed(3)
        loss = functional.cross_entropy(network(image), labels)
        loss.backward()
        results.append((loss.detach(), [p.grad for p in network.parameters()], list(network.buffers())))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "dims"), [pair for pair in KINDS if model_card(pair[0]).deep_supervision])
def test_deep_supervision_lists_outputs_in_training_only(name, dims):
    network = build(name, dims, deep_supervision=True).train()
    size = awkward_size(name, dims)
    image, labels = picture(size)
    outputs = network(image)
    assert isinstance(outputs, list)
    assert len(outputs) > 1
    assert all(output.shape == (2, CLASSES, *size) for output in outputs)
    sum(functional.cross_entropy(output, labels) for output in outputs).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    network.eval()
    with torch.no_grad():
        assert network(image).shape == (2, CLASSES, *size)


@pytest.mark.parametrize(("name", "dims"), [pair for pair in KINDS if model_card(pair[0]).divisor > 1])
def test_without_padding_an_odd_size_is_an_error_that_names_one_that_fits(name, dims):
    torch.manual_seed(0)
    network = create_model(name, num_classes=CLASSES, spatial_dims=dims, pad=False, **model_card(name).tiny).eval()
    size = awkward_size(name, dims)
    with pytest.raises(ValueError, match="fixed image_size" if model_card(name).fixed_size else "nearest is"):
        network(picture(size)[0])
