"""Convert LUNA16: ``python -m itkit.dataset.LUNA16.convert_mhd_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.LUNA16.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="LUNA16.convert_mhd_mha"))
