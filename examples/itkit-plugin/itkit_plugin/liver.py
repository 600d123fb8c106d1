"""A dataset: how its files are called, and what its labels mean."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern

SPEC = DatasetSpec(
    name="example_liver",
    title="Liver CT of our hospital",
    patterns=(
        Pattern("image", ANYWHERE + r"ct/(?P<case>p\d+)" + VOLUME, "ct/p001.nii.gz"),
        Pattern("label", ANYWHERE + r"seg/(?P<case>p\d+)_seg" + VOLUME, "seg/p001_seg.nii.gz"),
    ),
    labels={0: "background", 1: "liver", 2: "tumour"},
    licence="not for the public",
)
