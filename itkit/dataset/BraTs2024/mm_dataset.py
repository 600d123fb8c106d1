"""BraTs2024 for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.BraTs2024.meta import SPEC
from itkit.mm.datasets import dataset_class

BraTs2024_Mha = dataset_class(SPEC, "BraTs2024")
