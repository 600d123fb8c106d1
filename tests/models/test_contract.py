"""What every registered network keeps to, tried on its tiny configuration."""

import pytest

from itkit.models import list_models, model_card
from itkit.testing.model_contract import ModelContract

OWN = list_models(plugins=False)
QUICK = {
    "test_logits_have_the_images_size_and_do_not_change_in_evaluation",
    "test_every_trainable_parameter_gets_a_finite_gradient",
    "test_the_state_has_the_networks_own_names_and_comes_back_from_a_file",
}
"""Tests that every network runs; the others are run by one network a builder: sizes of one network differ only in
numbers, which the tiny configuration overrides."""


def _first_of_each_kind():
    first = {}
    for name in OWN:
        card = model_card(name)
        first.setdefault((card.builder, frozenset(card.options), frozenset(card.tiny), card.unused), name)
    return tuple(first.values())


KINDS = _first_of_each_kind()


class TestOurNetworks(ModelContract):
    names = [name for name in OWN if name != "swin_unetr"]

    @classmethod
    def pairs(cls, test):
        return [pair for pair in super().pairs(test) if test in QUICK or pair[0] in KINDS]


class TestSwinUNETR(ModelContract):
    names = ("swin_unetr",)
    most_parameters = 4_000_000  # the least that MONAI's class can have

    @classmethod
    def pairs(cls, test):
        return [pair for pair in super().pairs(test) if test in QUICK or pair[1] == 2]

    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("einops")
