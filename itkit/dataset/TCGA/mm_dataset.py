"""TCGA for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.TCGA.meta import SPEC
from itkit.mm.datasets import dataset_class

TCGA_Mha = dataset_class(SPEC, "TCGA")
