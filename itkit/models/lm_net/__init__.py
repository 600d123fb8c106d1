"""LM-Net in plain PyTorch: card and network."""
