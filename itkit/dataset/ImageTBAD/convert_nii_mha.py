"""Convert ImageTBAD: ``python -m itkit.dataset.ImageTBAD.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.ImageTBAD.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="ImageTBAD.convert_nii_mha"))
