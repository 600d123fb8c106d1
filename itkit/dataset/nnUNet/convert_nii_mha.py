"""Convert nnU-Net raw data: ``python -m itkit.dataset.nnUNet.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.nnUNet.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="nnUNet.convert_nii_mha"))
