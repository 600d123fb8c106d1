"""DynUNet, built by MONAI from nnU-Net's plans."""
