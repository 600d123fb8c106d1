"""EfficientFormer, versions 1 and 2: classifiers and segmentation encoders."""
