"""Convert the Medical Segmentation Decathlon: ``python -m itkit.dataset.MSD.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.MSD.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="MSD.convert_nii_mha"))
