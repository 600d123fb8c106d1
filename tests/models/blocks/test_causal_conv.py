import torch
from torch.nn import functional

from itkit.models.blocks.causal_conv import causal_conv1d


def test_equals_a_loop_over_the_past():
    x, weight, bias = torch.randn(2, 3, 7), torch.randn(3, 1, 4), torch.randn(3)
    want = torch.empty(2, 3, 7)
    for position in range(7):
        past = [x[:, :, position - 3 + k] * weight[:, 0, k] for k in range(4) if position - 3 + k >= 0]
        want[:, :, position] = bias + sum(past)
    torch.testing.assert_close(causal_conv1d(x, weight, bias), want)


def test_the_future_has_no_say():
    x, weight = torch.randn(1, 2, 9), torch.randn(2, 1, 4)
    changed = x.clone()
    changed[:, :, 5:] += 1
    before, after = causal_conv1d(x, weight), causal_conv1d(changed, weight)
    torch.testing.assert_close(before[..., :5], after[..., :5], rtol=0, atol=0)
    assert not torch.allclose(before[..., 5], after[..., 5])


def test_is_the_padded_convolution_cut_to_the_length():
    x, weight, bias = torch.randn(2, 3, 6), torch.randn(3, 1, 4), torch.randn(3)
    want = functional.conv1d(x, weight, bias, padding=3, groups=3)[..., :6]
    torch.testing.assert_close(causal_conv1d(x, weight, bias), want)
