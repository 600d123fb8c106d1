import copy

import torch
from torch import nn

from itkit.models.blocks.recompute import recompute


def test_gradients_and_statistics_are_those_of_an_ordinary_pass():
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.GELU(), nn.Dropout(0.3), nn.BatchNorm2d(3))
    saving = copy.deepcopy(plain)
    image = torch.randn(2, 1, 6, 7)
    for network, call in ((plain, plain), (saving, lambda x: recompute(saving, x))):
        for _ in range(2):
            torch.manual_seed(3)
            call(image).square().sum().backward()
        assert network[1].num_batches_tracked == 2
        assert network[1].momentum == 0.1
    torch.testing.assert_close(saving.state_dict(), plain.state_dict())
    torch.testing.assert_close([p.grad for p in saving.parameters()], [p.grad for p in plain.parameters()])


def test_activations_are_computed_twice_with_gradients_and_once_without():
    layer = nn.Linear(2, 2)
    calls = []
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    recompute(layer, torch.randn(1, 2)).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        recompute(layer, torch.randn(1, 2))
    assert len(calls) == 3
