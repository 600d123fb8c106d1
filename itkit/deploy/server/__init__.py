"""The inference server: volumes in, label maps out, over HTTP; also for clients of MONAI Label such as 3D Slicer's.

`itkit.serving.guard` stands around everything: what it refuses, nothing here sees.
"""
