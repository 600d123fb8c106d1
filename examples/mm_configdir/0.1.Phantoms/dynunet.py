"""MONAI's DynUNet, tiny."""

from mmengine.config import read_base

with read_base():
    from .mgam import *  # noqa: F403

from itkit.mm.mgam_models import mgam_Seg3D_Lite

model = dict(
    type=mgam_Seg3D_Lite,
    backbone=dict(type="dynunet", in_channels=1, features_per_stage=[8, 16, 32], strides=[1, 2, 2]),
    criterion="dice_ce",
    num_classes=3,
    inference=dict(patch_size=(16, 16, 16), overlap=0.5),
)
