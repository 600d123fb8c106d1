"""BTCV for MMEngine: patches to train, volumes to validate; generated from the dataset's facts."""

from itkit.dataset.BTCV.meta import SPEC
from itkit.mm.datasets import dataset_class

BTCV_Mha = dataset_class(SPEC, "BTCV")
