"""SegFormer3D: a small hierarchical transformer for volumes with an all-MLP decoder."""
