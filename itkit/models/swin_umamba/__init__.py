"""Swin-UMamba: U-shaped networks on the first VMamba encoder, with a convolutional or a Mamba decoder."""
