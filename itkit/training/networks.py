"""Which network a plan trains, and what it learns by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.errors import ParamsError
from itkit.inference.model_folder import NetworkFacts
from itkit.models.registry import model_card

if TYPE_CHECKING:
    from torch import nn

    from itkit.training.plan_file import Plan


def network_facts(plan: Plan) -> NetworkFacts:
    """Return which network a plan trains.

    Raises
    ------
    ModelError
        When it is unknown.
    ParamsError
        When it can't do what the plan asks for.
    """
    card = model_card(plan.network.name)
    training = plan.training
    options = dict(plan.network.options)
    for key, wanted, able in (
        ("use_checkpoint", training.use_checkpoint, card.checkpointing),
        ("deep_supervision", training.deep_supervision, card.deep_supervision),
    ):
        if wanted and able:
            options.setdefault(key, True)
        elif wanted and key == "use_checkpoint":
            raise ParamsError(f"training.use_checkpoint: {plan.network.name} can't recompute its activations")
    return NetworkFacts(
        name=plan.network.name,
        options=options,
        in_channels=len(plan.dataset.channels),
        num_classes=len(plan.dataset.labels) + 1,
        spatial_dims=2 if training.patch_size[0] == 1 else 3,
    )


def plan_loss(plan: Plan, network: NetworkFacts) -> nn.Module:
    """Return the loss of a plan: that of all outputs but the coarsest, if the network has several, as in nnU-Net.

    Raises
    ------
    ModelError
        When a loss is unknown, or an option is wrong.
    """
    from itkit.criterion import DeepSupervision, loss_of

    loss = loss_of(plan.training.loss)
    return DeepSupervision(loss, coarsest=False) if network.options.get("deep_supervision", False) else loss
