"""SA-Med2D-20M."""
