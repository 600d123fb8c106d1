"""LiTS for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.LiTS.meta import SPEC
from itkit.mm.datasets import dataset_class

LiTS_Mha = dataset_class(SPEC, "LiTS")
