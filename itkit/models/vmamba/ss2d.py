"""The 2-D (or 3-D) selective scan layer of VMamba, in its forms v0 and v05.

Liu et al., arXiv:2401.10166; parameter names as in github.com/MzeroMiko/VMamba.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from itkit.models.blocks.by_dims import CONV
from itkit.models.blocks.cross_scan import (
    CROSS,
    ChannelLinear,
    ChannelNorm,
    Route,
    ScanWeights,
    initial_weights,
    scan_map,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}
_ROW = Route((0, 1), backwards=False)
_ONE_WAY = (_ROW,) * 4
_TWO_WAY = (_ROW, _ROW, _ROW._replace(backwards=True), _ROW._replace(backwards=True))
_FORMS = re.compile(
    r"(?P<base>v051d|v052d|v0[1-5]|v2|v3)(?P<norm>_on(?:none|sigmoid|softmax|dwconv3|cnorm))?"
    r"(?P<gate>_nozact|_noz)?(?P<act>_oact)?(?:_no32)?"
)


def activation(name: str, argument: str) -> nn.Module:
    """Create an activation by name; `argument` is what the error calls it."""
    try:
        return ACTIVATIONS[name.lower()]()
    except KeyError:
        raise ValueError(f"{argument}: expected one of {', '.join(ACTIVATIONS)}; got {name!r}") from None


@dataclass(frozen=True)
class Form:
    """What a ``forward_type`` means.

    Attributes
    ----------
    vanilla
        The first version, "v0": fixed convolution, initialisation and activation.
    gate
        None, "plain" or "activated".
    out_norm
        Name of the output norm's variant, "ln" by default.
    out_act
        GELU after the output norm.
    routes
        The routes that the name asks for; None for the usual ones.
    """

    vanilla: bool = False
    gate: str | None = "activated"
    out_norm: str = "ln"
    out_act: bool = False
    routes: tuple[Route, ...] | None = None


def parse_form(forward_type: str) -> Form:
    """Read a ``forward_type`` such as "v0" or "v05_noz".

    All v01 to v05, v2 and v3 compute the same function with different kernels.

    Raises
    ------
    ValueError
        For a form that is unknown or not covered (other projections, Mamba-2, cascaded scans).

    Examples
    --------
    >>> parse_form("v05_noz").gate is None
    True
    """
    if forward_type in {"v0", "v0seq"}:
        return Form(vanilla=True)
    found = _FORMS.fullmatch(forward_type)
    if not found:
        raise ValueError(f"forward_type: expected v0 or v05 with suffixes such as _noz; got {forward_type!r}")
    gate = {None: "activated", "_nozact": "plain", "_noz": None}[found["gate"]]
    out_norm = (found["norm"] or "_onln").removeprefix("_on")
    routes = {"v051d": _ONE_WAY, "v052d": _TWO_WAY}.get(found["base"])
    return Form(gate=gate, out_norm=out_norm, out_act=bool(found["act"]), routes=routes)


class SpatialSoftmax(nn.Module):
    """Softmax over all positions of a map."""

    def __init__(self, *, channels_first: bool) -> None:
        super().__init__()
        self.first = 2 if channels_first else 1
        self.last = -1 if channels_first else -2

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel over space."""
        flat = x.flatten(self.first, self.last)
        return flat.softmax(self.first).reshape(x.shape)


class ToChannelsFirst(nn.Module):
    """Move the last axis to place 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.movedim(-1, 1)


class ToChannelsLast(nn.Module):
    """Move axis 1 to the end."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a view."""
        return x.movedim(1, -1)


def make_out_norm(variant: str, channels: int, spatial_dims: int, *, channels_first: bool) -> nn.Module:
    """Create what normalises the merged scans."""
    norm = (ChannelNorm if channels_first else nn.LayerNorm)(channels)
    before, after = (nn.Identity(), nn.Identity()) if channels_first else (ToChannelsFirst(), ToChannelsLast())
    conv = CONV[spatial_dims](channels, channels, 3, padding=1, groups=channels, bias=False)
    makers: dict[str, nn.Module] = {
        "ln": norm,
        "none": nn.Identity(),
        "sigmoid": nn.Sigmoid(),
        "softmax": SpatialSoftmax(channels_first=channels_first),
        "dwconv3": nn.Sequential(before, conv, after),
        "cnorm": nn.Sequential(norm, before, conv, after),
    }
    return makers[variant]


class SS2D(nn.Module):
    """Project, filter locally, scan along all routes, normalise, gate, project back.

    Parameters
    ----------
    d_model
        Width C of the map.
    d_state, ssm_ratio, dt_rank
        States S, inner width ``int(ssm_ratio C)``, and rank of the steps ("auto": ``ceil(C / 16)``).
    act_layer, d_conv, conv_bias, dropout, initialize
        Activation, kernel of the depthwise convolution (below 2: none), its bias, output dropout, initialisation.
    forward_type
        Form of the layer, see :func:`parse_form`.
    channels_first
        Maps are ``(N, C, *spatial)`` instead of ``(N, *spatial, C)``.
    spatial_dims, routes
        Number of axes, and ways through the map; by default VMamba's four.
    """

    def __init__(
        self,
        d_model: int,
        *,
        d_state: int = 16,
        ssm_ratio: float = 2.0,
        dt_rank: int | str = "auto",
        act_layer: str = "silu",
        d_conv: int = 3,
        conv_bias: bool = True,
        dropout: float = 0.0,
        initialize: str = "v0",
        forward_type: str = "v0",
        channels_first: bool = False,
        spatial_dims: int = 2,
        routes: Sequence[Route] = CROSS,
    ) -> None:
        super().__init__()
        form = parse_form(forward_type)
        if form.vanilla:
            if channels_first:
                raise ValueError(f"forward_type {forward_type!r} works on channels-last maps only; use norm_layer 'ln'")
            d_conv, conv_bias, act_layer, initialize = 3, True, "silu", "v0"
        if form.routes is not None and spatial_dims != 2:
            raise ValueError(f"forward_type {forward_type!r} is 2-D only; got spatial_dims {spatial_dims}")
        if d_conv > 1 and d_conv % 2 == 0:
            raise ValueError(f"ssm_conv: expected an odd kernel, or less than 2 for none; got {d_conv}")
        inner = int(ssm_ratio * d_model)
        rank = math.ceil(d_model / 16) if dt_rank == "auto" else int(dt_rank)
        linear = ChannelLinear if channels_first else nn.Linear
        self.form = form
        self.channels_first = channels_first
        self.routes = form.routes or tuple(routes)
        self.in_proj = linear(d_model, inner if form.gate is None else 2 * inner, bias=False)
        if d_conv > 1:
            self.conv2d = CONV[spatial_dims](
                inner, inner, d_conv, padding=(d_conv - 1) // 2, groups=inner, bias=conv_bias
            )
        weights = initial_weights(len(self.routes), inner, d_state, rank, initialize)
        self.x_proj_weight, self.dt_projs_weight, self.dt_projs_bias, self.A_logs, self.Ds = weights
        self.act = activation(act_layer, "ssm_act_layer")
        self.out_norm = make_out_norm(form.out_norm, inner, spatial_dims, channels_first=channels_first)
        self.out_act = nn.GELU() if form.out_act else nn.Identity()
        self.out_proj = linear(inner, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, *spatial, C)``, or ``(N, C, *spatial)`` with channels first, to the same shape."""
        axis = 1 if self.channels_first else -1
        x = self.in_proj(x)
        gate = None
        if self.form.gate is not None:
            x, gate = x.chunk(2, dim=axis)
            gate = self.act(gate) if self.form.gate == "activated" else gate
        x = x if self.channels_first else x.movedim(-1, 1)
        if hasattr(self, "conv2d"):
            x = self.conv2d(x)
        x = self.act(x)
        weights = ScanWeights(self.x_proj_weight, self.dt_projs_weight, self.dt_projs_bias, self.A_logs, self.Ds)
        y = scan_map(x, weights, self.routes).to(torch.promote_types(x.dtype, self.Ds.dtype))
        y = y if self.channels_first else y.movedim(1, -1)
        y = self.out_act(self.out_norm(y).to(x.dtype))
        out: Tensor = self.dropout(self.out_proj(y if gate is None else y * gate))
        return out
