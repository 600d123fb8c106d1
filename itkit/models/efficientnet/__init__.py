"""EfficientNet encoders and classifiers under both names that their weights circulate in."""
