"""Totalsegmentator for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.Totalsegmentator.meta import SPEC
from itkit.mm.datasets import dataset_class

Totalsegmentator_Mha = dataset_class(SPEC, "Totalsegmentator")
