import math
import types

import pytest
import torch
from torch.nn import functional

from itkit.models.blocks import selective_scan as module
from itkit.models.blocks.selective_scan import selective_scan

SHAPES = [
    # N, P, S, L, G
    pytest.param((2, 12, 3, 50, 4), id="groups"),
    pytest.param((1, 8, 1, 200, 4), id="one-state"),
    pytest.param((2, 6, 2, 1, 3), id="one-position"),
    pytest.param((1, 4, 16, 333, 1), id="one-group"),
]
CUTS = [(1 << 18, 1 << 13), (600, 200), (300, 1), (1, 1)]
"""Block and step sizes that give one block, several with and without segments, and one position a block."""


def sequential(u, delta, a, b, c, d, bias):
    """Evaluate the recurrence position by position; returns (N, P, L)."""
    n, channels, length = u.shape
    step = functional.softplus(delta + bias[:, None])
    b, c = (t.repeat_interleave(channels // t.shape[1], dim=1) for t in (b, c))
    state = u.new_zeros(n, channels, a.shape[1])
    outputs = []
    for i in range(length):
        here = step[:, :, i, None]
        state = torch.exp(here * a) * state + here * b[..., i] * u[:, :, i, None]
        outputs.append((state * c[..., i]).sum(-1) + d * u[:, :, i])
    return torch.stack(outputs, -1)


def arguments(shape, dtype=torch.float64, delta_shift=-2.0):
    n, channels, states, length, groups = shape
    return [
        torch.randn(n, channels, length, dtype=dtype),
        torch.randn(n, channels, length, dtype=dtype) + delta_shift,
        -0.1 - 3 * torch.rand(channels, states, dtype=dtype),
        torch.randn(n, groups, states, length, dtype=dtype),
        torch.randn(n, groups, states, length, dtype=dtype),
        torch.randn(channels, dtype=dtype),
        torch.randn(channels, dtype=dtype) / 10,
    ]


def cut(monkeypatch, sizes):
    monkeypatch.setitem(module._BLOCK_ELEMENTS, "cpu", sizes[0])
    monkeypatch.setitem(module._STEP_ELEMENTS, "cpu", sizes[1])


@pytest.mark.parametrize("sizes", CUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_the_recurrence(shape, sizes, monkeypatch):
    cut(monkeypatch, sizes)
    inputs = [t.requires_grad_() for t in arguments(shape)]
    got, want = selective_scan(*inputs), sequential(*inputs)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    weight = torch.randn_like(want)
    gradients = (torch.autograd.grad((out * weight).sum(), inputs) for out in (got, want))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


def test_the_cuts_are_what_the_tests_think(monkeypatch):
    plans = []
    for sizes in CUTS:
        cut(monkeypatch, sizes)
        plans.append(module._plan(50, 36, "cpu"))
    assert plans[0].blocks == 1
    assert plans[0].segments > 1
    assert plans[1].blocks > 1
    assert plans[1].segments > 1
    assert plans[2].segments == 1 < plans[2].steps
    assert plans[3] == (50, 1, 1)


@pytest.mark.parametrize("sizes", [CUTS[0], (40, 100)])
def test_gradients_pass_gradcheck(sizes, monkeypatch):
    cut(monkeypatch, sizes)
    inputs = [t.requires_grad_() for t in arguments((2, 4, 2, 9, 2))]
    assert torch.autograd.gradcheck(selective_scan, inputs)


@pytest.mark.parametrize("sizes", [CUTS[0], *CUTS[1:3]])
@pytest.mark.parametrize("is_turned", [False, True], ids=["contiguous", "turned"])
def test_operator_keeps_its_promises_to_the_compiler(sizes, is_turned, monkeypatch):
    cut(monkeypatch, sizes)
    u, delta, a, b, c, *_ = arguments((1, 4, 2, 47, 2))
    step = functional.softplus(delta)
    if is_turned:
        u, step = (tensor.mT.contiguous().mT for tensor in (u, step))
    torch.library.opcheck(torch.ops.itkit.selective_scan, tuple(t.requires_grad_() for t in (u, step, a, b, c)))


def test_skip_and_bias_are_optional():
    u, delta, a, b, c, d, bias = arguments((1, 4, 2, 9, 2))
    torch.testing.assert_close(
        selective_scan(u, delta, a, b, c), sequential(u, delta, a, b, c, torch.zeros_like(d), torch.zeros_like(bias))
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_float32(dtype):
    inputs = [t.to(dtype) for t in arguments((2, 8, 4, 300, 2), torch.float32)]
    got = selective_scan(*inputs)
    want = sequential(*(t.double() for t in inputs))
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, rtol=torch.finfo(dtype).eps, atol=1e-3)


def test_autocast_does_not_reach_the_scan():
    inputs = [t.requires_grad_() for t in arguments((1, 8, 4, 100, 2), torch.float32)]
    plain = selective_scan(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        cast = selective_scan(*inputs)
        gradients = torch.autograd.grad(cast.sum(), inputs)
    torch.testing.assert_close(plain, cast, rtol=0, atol=0)
    for mine, theirs in zip(gradients, torch.autograd.grad(plain.sum(), inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("delta_shift", [-90.0, 30.0, 300.0, 1e4])
def test_extreme_steps_stay_finite_and_right(delta_shift):
    inputs = [t.requires_grad_() for t in arguments((1, 4, 3, 400, 2), torch.float32, delta_shift)]
    got = selective_scan(*inputs)
    want = sequential(*(t.double() for t in inputs))
    scale = want.abs().max().item()
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-6 * scale)
    for gradient in torch.autograd.grad(got.sum(), inputs):
        assert torch.isfinite(gradient).all()


def test_long_slowly_forgetting_sequence_stays_exact():
    length = 40_000
    u, ones = torch.ones(1, 2, length), torch.ones(1, 1, 1, length)
    delta = torch.full((1, 2, length), math.log(math.expm1(1e-3)))
    got = selective_scan(u, delta, torch.tensor([[-1e-2], [-1.0]]), ones, ones)[0, :, -1].double()
    want = [1e-3 * -math.expm1(rate * length * 1e-3) / -math.expm1(rate * 1e-3) for rate in (-1e-2, -1.0)]
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=2e-5, atol=0)


def test_kept_memory_is_far_below_all_states():
    shape = (1, 64, 16, 4096, 1)
    inputs = [t.requires_grad_() for t in arguments(shape, torch.float32)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        selective_scan(*inputs)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    assert sum(storages.values()) < 4 * 64 * 16 * 4096 / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_export_gives_the_same_numbers_without_the_operator(shape):
    class Scan(torch.nn.Module):
        def forward(self, *inputs):
            return selective_scan(*inputs)

    inputs = tuple(arguments(shape))
    program = torch.export.export(Scan(), inputs)
    assert "selective_scan" not in program.graph_module.code
    torch.testing.assert_close(program.module()(*inputs), selective_scan(*inputs), rtol=1e-10, atol=1e-12)


def test_cuda_kernel_is_found_only_where_it_loads(monkeypatch):
    module._cuda_kernel.cache_clear()
    assert module._cuda_kernel() is None
    module._cuda_kernel.cache_clear()
    fake = types.SimpleNamespace(selective_scan_fn=selective_scan)
    monkeypatch.setattr(module.importlib, "import_module", lambda name: fake)
    assert module._cuda_kernel() is selective_scan
    module._cuda_kernel.cache_clear()


@pytest.mark.parametrize(("index", "name"), [(1, "delta"), (2, "a"), (3, "b"), (4, "c")])
def test_wrong_shapes_are_named(index, name):
    inputs = arguments((1, 4, 2, 9, 2))
    inputs[index] = inputs[index][:-1] if name == "a" else inputs[index][..., :-1]
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        selective_scan(*inputs)


def test_groups_must_divide_the_channels():
    u, delta, a, b, c, *_ = arguments((1, 4, 2, 9, 2))
    with pytest.raises(ValueError, match="divisible by the 3 groups"):
        selective_scan(u, delta, a, b[:, :1].expand(-1, 3, -1, -1), c[:, :1].expand(-1, 3, -1, -1))
