"""Convert AMOS 2022: ``python -m itkit.dataset.AMOS22.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.AMOS22.meta import SPEC
from itkit.dataset.convert.engine import dataset_operation

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="AMOS22.convert_nii_mha"))
