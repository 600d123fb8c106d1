"""What the models of this experiment share: data, optimiser, schedule, hooks."""

import os

from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hooks import CheckpointHook, IterTimerHook, ParamSchedulerHook
from mmengine.optim import PolyLR
from mmengine.runner import TestLoop, ValLoop
from mmengine.visualization import LocalVisBackend, Visualizer
from torch.optim import AdamW

from itkit.mm.datasets import NumberedSampler, VolumeDataset
from itkit.mm.metrics import Seg3DMetric
from itkit.mm.mmeng_PlugIn import (
    IterBasedTrainLoop_SupportProfiler,
    LoggerJSON,
    RuntimeInfoHook,
    mgam_OptimWrapperConstructor,
)
from itkit.mm.preprocessing import AugmentVolume, NormalizeVolume, PackSeg3DInputs
from itkit.mm.visualization import Seg3DVisualizationHook

data_root = os.environ.get("MM_DATADIR", "mm_data")
patch_size = (16, 16, 16)
iters = 60

normalize = dict(type=NormalizeVolume, scheme="ct", low=-200, high=200, mean=0, sd=80)
pack = dict(type=PackSeg3DInputs)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type=NumberedSampler),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=VolumeDataset,
        data_root=data_root,
        split="train",
        patch_size=patch_size,
        per_case=2,
        foreground=0.5,
        pipeline=[normalize, dict(type=AugmentVolume), pack],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=VolumeDataset, data_root=data_root, split="val", pipeline=[normalize, pack]),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=VolumeDataset, data_root=data_root, split="test", pipeline=[normalize, pack]),
)
train_cfg = dict(type=IterBasedTrainLoop_SupportProfiler, max_iters=iters, val_interval=20)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
val_evaluator = dict(type=Seg3DMetric)
test_evaluator = dict(type=Seg3DMetric)
optim_wrapper = dict(
    constructor=mgam_OptimWrapperConstructor,
    optimizer=dict(type=AdamW, lr=3e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=12),
)
param_scheduler = [dict(type=PolyLR, power=0.9, by_epoch=False, begin=0, end=iters)]
default_hooks = dict(
    runtime_info=dict(type=RuntimeInfoHook),
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerJSON, interval=10),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(
        type=CheckpointHook, by_epoch=False, interval=20, max_keep_ckpts=2, save_best="mDice", rule="greater"
    ),
)
custom_hooks = [dict(type=Seg3DVisualizationHook, most=2)]
visualizer = dict(type=Visualizer, vis_backends=[dict(type=LocalVisBackend)])
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
