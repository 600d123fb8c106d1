"""DconnNet in plain PyTorch: card and network."""
