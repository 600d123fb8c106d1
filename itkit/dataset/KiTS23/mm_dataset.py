"""KiTS23 for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.KiTS23.meta import SPEC
from itkit.mm.datasets import dataset_class

KiTS23_Mha = dataset_class(SPEC, "KiTS23")
