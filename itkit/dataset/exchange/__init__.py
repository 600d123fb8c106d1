"""Datasets and files of other tools, both ways: `itk_convert` and its directions, `itk_collect` for any folder."""
