"""MedNeXt: a U-shaped network of ConvNeXt blocks (Roy et al., MICCAI 2023)."""
