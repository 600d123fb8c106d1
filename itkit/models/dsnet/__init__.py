"""DSNet in plain PyTorch: card and network."""
