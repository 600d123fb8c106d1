"""ImageTBAD for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.ImageTBAD.meta import SPEC
from itkit.mm.datasets import dataset_class

ImageTBAD_Mha = dataset_class(SPEC, "ImageTBAD")
