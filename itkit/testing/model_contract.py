"""The test suite that every network must pass: subclass `ModelContract` in a test module and name the networks.

Examples
--------
Test a network of your own like this::

    class TestMyNetwork(ModelContract):
        names = ("my_network",)
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from itkit.models.registry import create_model, model_card

if TYPE_CHECKING:
    import pytest

    from itkit.models.card import ModelCard

CLASSES = 3
_NEEDS: dict[str, Callable[[ModelCard], bool]] = {
    "test_checkpointing_changes_nothing_but_memory": lambda card: card.checkpointing,
    "test_deep_supervision_lists_outputs_in_training_only": lambda card: card.deep_supervision,
    "test_without_padding_an_odd_size_is_an_error_that_names_one_that_fits": lambda card: card.divisor > 1,
}
"""Tests that only apply to some networks, each with the condition on the network's card."""


def tiny_size(name: str, dims: int) -> tuple[int, ...]:
    """Return the input size of a network's tiny configuration."""
    size = model_card(name).tiny_size
    return (size,) * dims if isinstance(size, int) else tuple(size)[:dims]


def awkward_size(name: str, dims: int) -> tuple[int, ...]:
    """Return an input size that needs padding, with a different length on each axis, below the tiny size."""
    return tuple(side - 3 - axis for axis, side in enumerate(tiny_size(name, dims)))


def build(name: str, dims: int, in_channels: int = 1, *, pad: bool = True, seed: int = 7, **options: Any) -> Any:
    """Build a network's tiny configuration, with the same weights at every call."""
    import torch

    torch.manual_seed(seed)
    options = {**model_card(name).tiny, **options}
    return create_model(name, in_channels=in_channels, num_classes=CLASSES, spatial_dims=dims, pad=pad, **options)


def picture(size: Sequence[int], in_channels: int = 1, batch: int = 2) -> tuple[Any, Any]:
    """Return images, each with a bright box whose classes have different intensities, and their label maps."""
    import torch

    generator = torch.Generator().manual_seed(5)
    labels = torch.zeros(batch, *size, dtype=torch.long)
    for index in range(batch):
        box = [slice(side // (4 - index), side // (4 - index) + side // 2) for side in size]
        labels[index][tuple(box)] = 1
        core = [slice(part.start + 2, part.start + (part.stop - part.start) // 2) for part in box]
        labels[index][tuple(core)] = 2
    noise = 0.1 * torch.randn(batch, in_channels, *size, generator=generator)
    return labels.unsqueeze(1) * 1.5 - 1 + noise, labels


class ModelContract:
    """Tests for every network that `create_model` builds, on the tiny configuration of its card.

    Attributes
    ----------
    names
        Names of the networks.
    """

    names: ClassVar[Sequence[str]] = ()
    most_parameters: ClassVar[int] = 1_000_000
    """Parameters that a tiny configuration may have."""

    @classmethod
    def pairs(cls, test: str) -> list[tuple[str, int]]:
        """Return the networks that a test runs with, each with its number of axes."""
        del test
        return [(name, dims) for name in cls.names for dims in model_card(name).spatial_dims]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test with every network to which it applies."""
        test = metafunc.function.__name__
        if "name" in metafunc.fixturenames:
            needs = _NEEDS.get(test)
            pairs = [pair for pair in self.pairs(test) if needs is None or needs(model_card(pair[0]))]
            metafunc.parametrize(("name", "dims"), pairs)

    def test_logits_have_the_images_size_and_do_not_change_in_evaluation(self, name: str, dims: int) -> None:
        import torch

        network = build(name, dims, in_channels=2).eval()
        assert sum(parameter.numel() for parameter in network.parameters()) < self.most_parameters
        with torch.no_grad():
            for size in (tiny_size(name, dims), awkward_size(name, dims)):
                image, _ = picture(size, in_channels=2)
                logits = network(image)
                assert logits.shape == (2, CLASSES, *size)
                assert logits.dtype == torch.float32
                assert torch.isfinite(logits).all()
                assert torch.equal(network(image), logits)

    def test_every_trainable_parameter_gets_a_finite_gradient(self, name: str, dims: int) -> None:
        import torch

        network = build(name, dims).train()
        image, labels = picture(tiny_size(name, dims))
        torch.nn.functional.cross_entropy(network(image), labels).backward()
        none = [key for key, p in network.named_parameters() if p.requires_grad and p.grad is None]
        assert not none, "declare them in the card's `unused`"
        bad = [key for key, p in network.named_parameters() if p.requires_grad and not torch.isfinite(p.grad).all()]
        assert not bad
        frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
        assert frozen < 0.5 * sum(p.numel() for p in network.parameters())

    def test_the_state_has_the_networks_own_names_and_comes_back_from_a_file(self, name: str, dims: int) -> None:
        import torch

        network = build(name, dims).eval()
        assert list(network.state_dict()) == list(network.network.state_dict())
        assert [key for key, _ in network.named_parameters()] == [key for key, _ in network.network.named_parameters()]
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        file.seek(0)
        other = build(name, dims, seed=8).eval()
        other.load_state_dict(torch.load(file, weights_only=True))
        image, _ = picture(tiny_size(name, dims))
        with torch.no_grad():
            assert torch.equal(other(image), network(image))

    def test_a_copy_is_independent_and_equal(self, name: str, dims: int) -> None:
        import torch

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

    def test_images_of_a_batch_do_not_mix_in_evaluation(self, name: str, dims: int) -> None:
        import torch

        network = build(name, dims).eval()
        image, _ = picture(tiny_size(name, dims))
        with torch.no_grad():
            torch.testing.assert_close(network(image)[1:], network(image[1:]), rtol=1e-3, atol=1e-4)

    def test_two_images_can_be_learnt_by_heart(self, name: str, dims: int) -> None:
        import torch

        network = build(name, dims).train()
        image, labels = picture(tiny_size(name, dims))
        optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=5e-3)
        losses: list[float] = []
        for _ in range(120):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(image), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            if losses[-1] < 0.2:
                break
        assert min(losses) < 0.25, losses[:: max(1, len(losses) // 10)]

    def test_export_gives_the_same_numbers(self, name: str, dims: int) -> None:
        import torch

        card = model_card(name)
        network = build(name, dims).eval()
        image, _ = picture(awkward_size(name, dims), batch=1)
        if not card.onnx:
            assert card.notes, "say why the network can't be exported"
            return
        program = torch.export.export(network, (image,), strict=False)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(image), network(image), rtol=1e-4, atol=1e-5)

    def test_compilation_captures_the_network(self, name: str, dims: int) -> None:
        import torch

        if not model_card(name).compiles:
            assert model_card(name).notes, "say why the network can't be compiled"
            return
        network = build(name, dims).eval()
        image, _ = picture(tiny_size(name, dims), batch=1)
        torch.compiler.reset()
        with torch.no_grad():
            compiled: Any = torch.compile(network, backend="eager")
            torch.testing.assert_close(compiled(image), network(image), rtol=1e-4, atol=1e-5)

    def test_bfloat16_autocast_is_finite_both_ways(self, name: str, dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        if not model_card(name).bf16:
            assert model_card(name).notes, "say why the network can't run in bfloat16"
            return
        network = build(name, dims).train()
        image, labels = picture(tiny_size(name, dims))
        # oneDNN's bfloat16 weight gradient of 3-D convolutions reads unset memory where maps are 2 voxels wide.
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", dims == 2)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        assert torch.isfinite(logits).all()
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)

    def test_a_network_in_bfloat16_alone_goes_on_in_it(self, name: str, dims: int) -> None:
        import torch

        if not model_card(name).bf16:
            assert model_card(name).notes, "say why the network can't run in bfloat16"
            return
        network = build(name, dims).to(torch.bfloat16).eval()
        image, _ = picture(tiny_size(name, dims), batch=1)
        with torch.no_grad():
            logits = network(image.to(torch.bfloat16))
        assert logits.dtype == torch.bfloat16
        assert torch.isfinite(logits).all()

    def test_checkpointing_changes_nothing_but_memory(self, name: str, dims: int) -> None:
        import torch

        image, labels = picture(tiny_size(name, dims))
        results = []
        for use_checkpoint in (False, True):
            network = build(name, dims, use_checkpoint=use_checkpoint).train()
            torch.manual_seed(3)
            loss = torch.nn.functional.cross_entropy(network(image), labels)
            loss.backward()
            results.append((loss.detach(), [p.grad for p in network.parameters()], list(network.buffers())))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)

    def test_deep_supervision_lists_outputs_in_training_only(self, name: str, dims: int) -> None:
        import torch

        network = build(name, dims, deep_supervision=True).train()
        size = awkward_size(name, dims)
        image, labels = picture(size)
        outputs = network(image)
        assert isinstance(outputs, list)
        assert len(outputs) > 1
        assert all(output.shape == (2, CLASSES, *size) for output in outputs)
        torch.stack([torch.nn.functional.cross_entropy(output, labels) for output in outputs]).sum().backward()
        assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
        network.eval()
        with torch.no_grad():
            assert network(image).shape == (2, CLASSES, *size)

    def test_without_padding_an_odd_size_is_an_error_that_names_one_that_fits(self, name: str, dims: int) -> None:
        import pytest

        network = build(name, dims, pad=False).eval()
        size = awkward_size(name, dims)
        with pytest.raises(ValueError, match="fixed image_size" if model_card(name).fixed_size else "nearest is"):
            network(picture(size)[0])
