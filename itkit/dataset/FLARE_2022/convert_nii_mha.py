"""Convert FLARE 2022: ``python -m itkit.dataset.FLARE_2022.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.FLARE_2022.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="FLARE_2022.convert_nii_mha"))
