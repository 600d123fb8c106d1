"""Convert a TCIA download: ``python -m itkit.dataset.TCGA.convert_dcm_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.TCGA.meta import SPEC
from itkit.dataset.TCGA.series import TciaParams

OPERATION = dataset_operation(SPEC, TciaParams)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="TCGA.convert_dcm_mha"))
