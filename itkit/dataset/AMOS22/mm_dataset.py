"""AMOS22 for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.AMOS22.meta import SPEC
from itkit.mm.datasets import dataset_class

AMOS22_Mha = dataset_class(SPEC, "AMOS22")
