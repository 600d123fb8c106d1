"""Convert CTSpine1K: ``python -m itkit.dataset.CTSpine1K.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.CTSpine1K.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="CTSpine1K.convert_nii_mha"))
