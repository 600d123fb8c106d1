"""SA-Med2D-20M for MMEngine: patches to train, slices to validate; generated from the dataset's facts."""

from itkit.dataset.SA_Med2D.meta import SPEC
from itkit.mm.datasets import dataset_class

SA_Med2D_Mha = dataset_class(SPEC, "SA_Med2D")
