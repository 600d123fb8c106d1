import torch
from torch import nn

from itkit.models.blocks.released import ReleasedEncoderDecoder


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)

    def adapt_state_dict(self, state):
        return {key.replace("stem", "conv"): value for key, value in state.items()}


def adapt(*keys):
    network = ReleasedEncoderDecoder(Encoder(), nn.Conv2d(2, 1, 1))
    return sorted(network.adapt_state_dict({key: torch.ones(1) for key in keys}))


def test_an_encoders_file_gets_the_prefix():
    assert adapt("stem.weight", "other") == ["encoder.conv.weight", "encoder.other"]


def test_the_whole_networks_file_keeps_its_other_parts():
    assert adapt("encoder.stem.weight", "decoder.bias", "head") == ["decoder.bias", "encoder.conv.weight", "head"]


def test_unknown_names_stay_as_they_are():
    assert adapt("model.encoder.conv.weight", "x") == ["model.encoder.conv.weight", "x"]
