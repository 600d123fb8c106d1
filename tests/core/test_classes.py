"""Classes are found by name or by value; what is unclear is refused with a reason."""

import pytest

from itkit.core.classes import chosen_classes
from itkit.core.errors import ArgumentError

NAMES = {0: "background", 1: "liver", 2: "Right Kidney", 5: "7", 7: "spleen"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["liver"], {1: "liver"}),
        (["right_kidney", "LIVER"], {2: "Right Kidney", 1: "liver"}),
        (["2", 1, "liver"], {2: "Right Kidney", 1: "liver"}),
        (["7"], {5: "7"}),  # a name before a value
        (["-3", "300"], {-3: "-3", 300: "300"}),
        (["background"], {0: "background"}),
        ([], {}),
    ],
)
def test_names_and_values(words, expected):
    found = chosen_classes(words, NAMES)
    assert found == expected
    assert list(found) == list(expected)


def test_an_unknown_name_lists_the_classes():
    with pytest.raises(ArgumentError, match=r"--keep: no class 'spleeen'; did you mean 'spleen'\? .*1 liver"):
        chosen_classes(["spleeen"], NAMES, option="--keep")
    with pytest.raises(ArgumentError, match=r"no dataset\.json names a class 'liver'"):
        chosen_classes(["liver"], {})


def test_a_name_that_two_classes_share_is_refused():
    with pytest.raises(ArgumentError, match=r"several classes \(1, 2\)"):
        chosen_classes(["left lung"], {1: "left_lung", 2: "Left Lung"})
    assert chosen_classes(["Left Lung"], {1: "left_lung", 2: "Left Lung"}) == {2: "Left Lung"}
