"""LUNA16 for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.LUNA16.meta import SPEC
from itkit.mm.datasets import dataset_class

LUNA16_Mha = dataset_class(SPEC, "LUNA16")
