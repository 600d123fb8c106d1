"""Convert SA_Med2D: ``python -m itkit.dataset.SA_Med2D.convert_png_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.SA_Med2D.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="SA_Med2D.convert_png_mha"))
