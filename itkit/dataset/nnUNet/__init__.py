"""nnU-Net v2 raw data, both ways."""
