"""The U-Nets of nnU-Net: plain convolutions, and a residual encoder; sizes from a plan."""
