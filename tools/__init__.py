"""Programs for those who build, check and release ITKIT; no package holds them."""
