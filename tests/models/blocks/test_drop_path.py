import pytest
import torch

from itkit.models.blocks.drop_path import DropPath, linear_rates


def test_whole_samples_are_dropped_and_the_mean_is_kept():
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 2, 3))
    first = out[:, 0, 0]
    assert torch.equal(out, first[:, None, None].expand_as(out))
    torch.testing.assert_close(first.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(first.mean() - 1) < 0.05


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    x = torch.randn(8, 3)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match="drop path rate"):
        DropPath(rate)


def test_rates_rise_linearly():
    assert linear_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert linear_rates(0.3, 1) == [0.0]
