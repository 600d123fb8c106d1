"""Convert CT-ORG: ``python -m itkit.dataset.CT_ORG.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.CT_ORG.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="CT_ORG.convert_nii_mha"))
