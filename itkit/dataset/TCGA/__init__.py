"""Collections of The Cancer Imaging Archive."""
