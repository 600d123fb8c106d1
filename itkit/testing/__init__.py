"""Phantoms, strategies and contracts, shipped so that extensions test alike."""
