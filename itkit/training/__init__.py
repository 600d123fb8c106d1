"""Training without a framework: the plan, augmentation, and the data that a network learns from."""
