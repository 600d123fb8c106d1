"""Convert TotalSegmentator: ``python -m itkit.dataset.Totalsegmentator.convert_nii_mha SOURCE DEST --mp``."""

from itkit.dataset.convert.engine import dataset_operation
from itkit.dataset.Totalsegmentator.meta import SPEC

OPERATION = dataset_operation(SPEC)

if __name__ == "__main__":
    from itkit.cli.datasets import run

    raise SystemExit(run(OPERATION, prog="Totalsegmentator.convert_nii_mha"))
