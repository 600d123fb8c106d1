"""SegFormer: Mix Transformer encoders and the all-MLP decoder."""
