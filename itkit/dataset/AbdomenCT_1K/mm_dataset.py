"""AbdomenCT_1K for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.AbdomenCT_1K.meta import SPEC
from itkit.mm.datasets import dataset_class

AbdomenCT_1K_Mha = dataset_class(SPEC, "AbdomenCT_1K")
