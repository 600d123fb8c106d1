"""CTSpine1K for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.CTSpine1K.meta import SPEC
from itkit.mm.datasets import dataset_class

CTSpine1K_Mha = dataset_class(SPEC, "CTSpine1K")
