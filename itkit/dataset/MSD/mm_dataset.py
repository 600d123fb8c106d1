"""MSD for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.MSD.meta import SPEC
from itkit.mm.datasets import dataset_class

MSD_Mha = dataset_class(SPEC, "MSD")
