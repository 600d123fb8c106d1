"""Convert AbdomenCT-1K: ``python -m itkit.dataset.AbdomenCT_1K.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.AbdomenCT_1K.meta import SPEC
from itkit.dataset.convert.engine import dataset_operation

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="AbdomenCT_1K.convert_nii_mha"))
