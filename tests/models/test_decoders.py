import pytest
import torch

from itkit.models.decoders import UNetDecoder


@pytest.mark.parametrize("dims", [2, 3])
def test_maps_of_any_strides_become_logits_of_the_finest(dims):
    decoder = UNetDecoder([3, 5, 5, 9], 4, dims, width=8, deep_supervision=True)
    sizes = [(12, 11, 10), (6, 6, 5), (6, 6, 5), (1, 1, 1)]
    features = [torch.randn(2, c, *size[:dims]) for c, size in zip([3, 5, 5, 9], sizes, strict=True)]
    outputs = decoder(features)
    assert [tuple(x.shape) for x in outputs] == [(2, 4, *size[:dims]) for size in sizes]
    sum(x.square().mean() for x in outputs).backward()
    assert all(p.grad.abs().sum() > 0 for p in decoder.parameters())
    assert decoder.eval()(features).shape == (2, 4, *sizes[0][:dims])


def test_the_deepest_map_reaches_the_finest_logits():
    decoder = UNetDecoder([4, 4, 4], 2, 2).eval()
    features = [torch.randn(1, 4, side, side) for side in (16, 8, 4)]
    changed = [*features[:2], features[2] + torch.randn(1, 4, 4, 4)]
    with torch.no_grad():
        assert not torch.allclose(decoder(features), decoder(changed))


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="no feature map"):
        UNetDecoder([], 2, 2)
    with pytest.raises(ValueError, match="spatial_dims"):
        UNetDecoder([4], 2, 1)
    with pytest.raises(ValueError, match="expected 2 feature maps; got 1"):
        UNetDecoder([4, 4], 2, 2)([torch.zeros(1, 4, 8, 8)])
