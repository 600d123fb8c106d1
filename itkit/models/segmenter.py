"""The wrapper that makes every network take images of any size and return logits of the same size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional

from itkit.core.errors import ModelError
from itkit.models.blocks.by_dims import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from itkit.models.card import ModelCard


def fitting_size(
    size: Sequence[int], divisor: int | Sequence[int], minimum: int | Sequence[int], *, nearest: bool = False
) -> tuple[int, ...]:
    """Find sides that are multiples of ``divisor`` and at least ``minimum``, each one number or one per axis.

    By default the smallest that are not below ``size``; with ``nearest`` the closest ones (ties go up).

    Examples
    --------
    >>> fitting_size((33, 60), 16, 32)
    (48, 64)
    >>> fitting_size((33, 60), 16, 32, nearest=True)
    (32, 64)
    >>> fitting_size((9, 60), (2, 16), 4)
    (10, 64)
    """
    sides = []
    for side, step, least in zip(size, _per_axis(divisor, len(size)), _per_axis(minimum, len(size)), strict=True):
        shift = step // 2 if nearest else step - 1
        sides.append(max(-(-least // step) * step, (side + shift) // step * step))
    return tuple(sides)


def _per_axis(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _short(values: tuple[int, ...]) -> str:
    return str(values[0] if len(set(values)) == 1 else values)


class Segmenter(nn.Module):
    """A network whose input is padded, and whose outputs are chosen, resized and cropped.

    The wrapper shares the network's own tables of children, parameters and buffers, so parameter names and
    ``state_dict`` keys are those of the network, without a prefix.

    Parameters
    ----------
    network
        The network. An optional method ``to_logits(output, size)`` turns its raw output into logits. Optional
        attributes ``divisor`` and ``minimum_size``, one number or one per axis, come before those of the card.
    card
        Its card: divisor, smallest size, name.
    in_channels, num_classes, spatial_dims
        What the network was built for.
    pad
        Pad sides that do not fit, by repeating the border at the high end; logits are cropped back.
    image_size
        The only input size that the network takes; None when it takes any.
    deep_supervision
        Return all outputs in training mode.
    """

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        *,
        in_channels: int,
        num_classes: int,
        spatial_dims: int,
        pad: bool = True,
        image_size: int | Sequence[int] | None = None,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        for name in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[name] = getattr(network, name)
        object.__setattr__(self, "network", network)
        self.network: nn.Module
        self.card = card
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.spatial_dims = spatial_dims
        self.pad = pad
        side = image_size
        self.image_size: tuple[int, ...] | None = (
            None if side is None else (side,) * spatial_dims if isinstance(side, int) else tuple(side)
        )
        self.deep_supervision = deep_supervision
        self.divisor = _per_axis(getattr(network, "divisor", card.divisor), spatial_dims)
        """Numbers whose multiples the sides are, per axis."""
        self.minimum_size = _per_axis(getattr(network, "minimum_size", card.minimum_size), spatial_dims)
        """Shortest sides, per axis."""

    def train(self, mode: bool = True) -> Segmenter:
        """Set training or evaluation mode, in the wrapped network too."""
        self.network.train(mode)
        super().train(mode)
        return self

    def input_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size that an input of ``size`` is padded to.

        Raises
        ------
        ValueError
            When the input must be padded and ``pad`` is off, or is larger than a fixed size.
        """
        given = tuple(size)
        if self.image_size is not None:
            if given == self.image_size:
                return given
            if not self.pad or any(side > limit for side, limit in zip(given, self.image_size, strict=True)):
                raise ModelError(
                    f"{self.card.name}: input size {given} differs from the fixed image_size {self.image_size}; "
                    "use sliding windows of this size or build the network with another image_size"
                )
            return self.image_size
        fits = fitting_size(given, self.divisor, self.minimum_size)
        if fits != given and not self.pad:
            near = fitting_size(given, self.divisor, self.minimum_size, nearest=True)
            raise ModelError(
                f"{self.card.name}: input size {given} does not fit; each side must be a multiple of "
                f"{_short(self.divisor)} and at least {_short(self.minimum_size)}: nearest is {near}"
                f"{'' if near == fits else f', next larger {fits}'}; or use pad=True"
            )
        return fits

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map ``(N, C, *spatial)`` to logits ``(N, K, *spatial)``.

        Returns
        -------
        Tensor or list of Tensor
            A list only in training mode with deep supervision: full resolution first, all resized to the input's size.
        """
        if image.ndim != self.spatial_dims + 2 or image.shape[1] != self.in_channels:
            axes = "Z, Y, X" if self.spatial_dims == 3 else "Y, X"
            raise ModelError(
                f"{self.card.name}: expected an image (N, {self.in_channels}, {axes}); got {tuple(image.shape)}"
            )
        size = tuple(image.shape[2:])
        padded = self.input_size(size)
        if padded != size:
            widths = [n for new, old in zip(reversed(padded), reversed(size), strict=True) for n in (0, new - old)]
            image = functional.pad(image, widths, mode="replicate")
        outputs = self._logits(self.network(image), padded)
        window = (slice(None), slice(None), *(slice(0, side) for side in size))
        logits = [resize(output, padded)[window] for output in outputs]
        return logits if self.training and self.deep_supervision else logits[0]

    def _logits(self, output: Any, size: tuple[int, ...]) -> list[Tensor]:
        convert = getattr(self.network, "to_logits", None)
        result = output if convert is None else convert(output, size)
        outputs = [result] if isinstance(result, Tensor) else list(result)
        return outputs if self.training and self.deep_supervision else outputs[:1]


def count_parameters(module: nn.Module, *, trainable: bool = False) -> int:
    """Count the numbers in a module's parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)
