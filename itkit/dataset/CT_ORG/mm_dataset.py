"""CT_ORG for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.CT_ORG.meta import SPEC
from itkit.mm.datasets import dataset_class

CT_ORG_Mha = dataset_class(SPEC, "CT_ORG")
