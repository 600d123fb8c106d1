"""Swin UNETR, built by MONAI (Hatamizadeh et al., BrainLes 2021)."""
