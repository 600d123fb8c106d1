"""What every registered network keeps to, tried on its tiny configuration."""

import pytest
from helpers import IS_LONG

from itkit.models import list_models, model_card
from itkit.testing.model_contract import ModelContract

OWN = list_models(plugins=False)
ALL = {"test_logits_have_the_images_size_and_do_not_change_in_evaluation"}
"""Tests that every network runs; sizes of one network differ only in numbers, which the tiny one overrides."""
OF_BUILDERS = {
    "test_two_images_can_be_learnt_by_heart",
    "test_export_gives_the_same_numbers",
    "test_compilation_captures_the_network",
}
"""Tests that take long: the first network of each builder runs them with its fewest axes; more in the long form."""
LEARNS_FOR_LONG = ("segmamba",)
"""Networks whose lesson takes more than half a minute; the long form gives it."""


def _first_of_each(kind):
    first = {}
    for name in OWN:
        first.setdefault(kind(model_card(name)), name)
    return tuple(first.values())


KINDS = _first_of_each(lambda card: (card.builder, frozenset(card.options), frozenset(card.tiny), card.unused))
BUILDERS = _first_of_each(lambda card: card.builder)


class TestOurNetworks(ModelContract):
    names = [name for name in OWN if name != "swin_unetr"]

    @classmethod
    def pairs(cls, test):
        pairs = super().pairs(test)
        if test in ALL:
            return pairs
        if test not in OF_BUILDERS or IS_LONG:
            return [pair for pair in pairs if pair[0] in KINDS]
        spared = LEARNS_FOR_LONG if "learnt" in test else ()
        return [
            (name, dims)
            for name, dims in pairs
            if name in BUILDERS and name not in spared and dims == min(model_card(name).spatial_dims)
        ]


class TestSwinUNETR(ModelContract):
    names = ("swin_unetr",)
    most_parameters = 4_000_000  # the least that MONAI's class can have

    @classmethod
    def pairs(cls, test):
        return [pair for pair in super().pairs(test) if test in ALL or pair[1] == 2]

    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("einops")
