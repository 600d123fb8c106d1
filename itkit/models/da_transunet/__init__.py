"""DA-TransUNet in plain PyTorch: card and network."""
