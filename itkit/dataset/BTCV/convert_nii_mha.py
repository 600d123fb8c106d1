"""Convert BTCV: ``python -m itkit.dataset.BTCV.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.BTCV.meta import SPEC
from itkit.dataset.convert.engine import dataset_operation

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="BTCV.convert_nii_mha"))
