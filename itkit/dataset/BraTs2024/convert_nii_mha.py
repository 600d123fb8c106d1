"""Convert BraTS 2024: ``python -m itkit.dataset.BraTs2024.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.BraTs2024.meta import SPEC
from itkit.dataset.convert.engine import dataset_operation

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="BraTs2024.convert_nii_mha"))
