"""FLARE_2022 for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.FLARE_2022.meta import SPEC
from itkit.mm.datasets import dataset_class

FLARE_2022_Mha = dataset_class(SPEC, "FLARE_2022")
