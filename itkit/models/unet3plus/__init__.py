"""UNet 3+: a U-Net with full-scale skip connections (Huang et al., ICASSP 2020)."""
