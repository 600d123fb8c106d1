"""WORD for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.WORD.meta import SPEC
from itkit.mm.datasets import dataset_class

WORD_Mha = dataset_class(SPEC, "WORD")
