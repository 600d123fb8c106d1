"""BTCV."""
