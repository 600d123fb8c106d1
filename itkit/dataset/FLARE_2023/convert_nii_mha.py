"""Convert FLARE 2023: ``python -m itkit.dataset.FLARE_2023.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.FLARE_2023.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="FLARE_2023.convert_nii_mha"))
