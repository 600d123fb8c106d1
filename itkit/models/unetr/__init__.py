"""UNETR: a vision transformer encoder with a convolutional decoder (Hatamizadeh et al., WACV 2022)."""
