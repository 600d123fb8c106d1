"""MoCo pre-training in plain PyTorch: card, ResNet encoder, momentum contrast."""
