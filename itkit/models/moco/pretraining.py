"""A pre-training by momentum contrast that runs on one process, and two measures of what an encoder has learnt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ArgumentError
from itkit.models.moco.moco import VERSIONS, MoCo
from itkit.models.moco.views import RandomViews

Report = Callable[[int, float, float], None]
"""Called after each step with its number, the loss, and the share of queries that found their key."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Numbers of a pre-training; the defaults fit small images on a CPU.

    Attributes
    ----------
    steps, batch
        Steps, and images in each.
    groups
        Parts of a batch with batch statistics of their own; see :class:`itkit.models.moco.moco.MoCo`.
    queue
        Negatives; a multiple of ``batch``, and fewer than there are different images.
    dim, momentum, temperature
        Length of a feature vector, share of the key encoder that stays at each step, softmax temperature.
    learning_rate, weight_decay
        Of stochastic gradient descent with momentum 0.9; the rate falls to 0 along half a cosine (v2).
    seed
        Decides weights, views and order.
    """

    steps: int = 600
    batch: int = 64
    groups: int = 4
    queue: int = 1024
    dim: int = 64
    momentum: float = 0.99
    temperature: float = VERSIONS["v2"]["T"]
    learning_rate: float = 0.03
    weight_decay: float = 5e-4
    seed: int = 0


def pretrain(
    base_encoder: Callable[..., nn.Module],
    images: Callable[[int], Tensor],
    views: RandomViews,
    recipe: Recipe,
    report: Report | None = None,
    *,
    device: torch.device | str = "cpu",
    state: Mapping[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] | None = None,
    keep_every: int = 100,
) -> MoCo:
    """Train an encoder to tell images apart (MoCo v2, Chen et al., arXiv:2003.04297).

    Parameters
    ----------
    base_encoder
        As :class:`itkit.models.moco.moco.MoCo` takes it; ``itkit.models.moco.encoders.zoo_encoder`` makes one of any
        network.
    images
        Returns the images ``(batch, C, *spatial)`` of a step, given its number.
    views
        Draws two views of each.
    recipe
        The numbers.
    report
        Called after each step.
    device
        Where the encoders are trained; views are drawn on the CPU.
    state
        What ``keep`` was given by an interrupted pre-training of the same recipe: it goes on from there, and ends with
        the weights of an undisturbed one.
    keep, keep_every
        Called with the state after every so many steps.

    Returns
    -------
    MoCo
        Trained; ``itkit.models.moco.encoders.encoder_weights`` takes its encoder for the network.
    """
    if recipe.batch % recipe.groups or recipe.queue % recipe.batch:
        raise ArgumentError(
            f"recipe: expected groups that divide the batch, and a batch that divides the queue; got "
            f"{recipe.groups}, {recipe.batch} and {recipe.queue}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        moco = MoCo(
            base_encoder,
            recipe.dim,
            recipe.queue,
            recipe.momentum,
            recipe.temperature,
            mlp=True,
            groups=recipe.groups,
        ).train()
        moco.to(device)
        trained = [parameter for parameter in moco.encoder_q.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay)
        generator = torch.Generator().manual_seed(recipe.seed)
        start = 0
        if state is not None:
            start = int(state["step"])
            moco.load_state_dict(state["moco"])
            optimizer.load_state_dict(state["optimizer"])
            generator.set_state(state["views"])
            torch.set_rng_state(state["random"])
        for step in range(start, recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
            batch = images(step)
            logits, labels = moco(views(batch, generator).to(device), views(batch, generator).to(device))
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if report is not None:
                report(step, loss.item(), (logits.argmax(1) == 0).float().mean().item())
            if keep is not None and (step + 1) % keep_every == 0:
                keep(
                    {
                        "step": step + 1,
                        "moco": moco.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "views": generator.get_state(),
                        "random": torch.get_rng_state(),
                    }
                )
    return moco


@torch.no_grad()
def features(encoder: nn.Module, images: Tensor, *, batch: int = 256) -> Tensor:
    """Return the pooled features ``(N, C)`` of images: what the encoder's ``fc`` would be given.

    The encoder is put into evaluation mode for it.
    """
    caught: list[Tensor] = []
    last: nn.Module = encoder.get_submodule("fc")
    handle = last.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0].flatten(1).cpu()))
    was_training = encoder.training
    encoder.eval()
    try:
        for part in images.split(batch):
            encoder(part)
    finally:
        handle.remove()
        encoder.train(was_training)
    return torch.cat(caught)


def nearest_accuracy(known: Tensor, known_labels: Tensor, asked: Tensor, asked_labels: Tensor) -> float:
    """Share of the asked features whose nearest known one, by cosine, has their label: retrieval at rank 1."""
    alike = functional.normalize(asked, dim=1) @ functional.normalize(known, dim=1).T
    return float((known_labels[alike.argmax(1)] == asked_labels).float().mean())


def probe_accuracy(
    known: Tensor, known_labels: Tensor, asked: Tensor, asked_labels: Tensor, *, ridge: float = 1e-2
) -> float:
    """Share of the asked features that a linear classifier of the known ones labels rightly.

    The classifier is the ridge regression of one-hot labels on standardised features, in closed form: no step size, no
    seed.
    """
    mean, spread = known.mean(0), known.std(0).clamp_min(1e-6)
    known, asked = (known - mean) / spread, (asked - mean) / spread
    one_hot = functional.one_hot(known_labels).to(known.dtype)
    centre = one_hot.mean(0)
    gram = known.T @ known / len(known) + ridge * torch.eye(known.shape[1])
    weights = torch.linalg.solve(gram, known.T @ (one_hot - centre) / len(known))
    return float(((asked @ weights + centre).argmax(1) == asked_labels).float().mean())
