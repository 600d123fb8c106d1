"""EGE-UNet in plain PyTorch: card and network."""
