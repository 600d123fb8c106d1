"""Facts about TotalSegmentator: CT (v1, v2) and MR (v1, v2)."""

from dataclasses import replace

from itkit.dataset.convert.enrich import SplitFromTable
from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk
from itkit.dataset.Totalsegmentator.classes import CT_V1, CT_V2, MRI_V1, MRI_V2


def _patterns(image: str) -> tuple[Pattern, ...]:
    case = ANYWHERE + r"(?P<case>s\d{4})/"
    return (
        Pattern("image", case + image + VOLUME, f"s0000/{image}.nii.gz"),
        Pattern("part", case + r"segmentations/(?P<part>[A-Za-z0-9_]+)" + VOLUME, "s0000/segmentations/spleen.nii.gz"),
    )


_CT_V2 = DatasetSpec(
    name="totalsegmentator_v2",
    title="TotalSegmentator CT 2.0.1",
    patterns=_patterns("ct"),
    labels=CT_V2,
    label_note="value = place in the class map of the same release",
    homepage="https://github.com/wasserth/TotalSegmentator",
    licence="CC BY 4.0",
    citation=(
        "Wasserthal J. et al., TotalSegmentator: robust segmentation of 104 anatomic structures in CT images, "
        "Radiol Artif Intell 2023"
    ),
    version="zenodo 10047292",
    enrich=SplitFromTable("meta.csv", "image_id", "split", delimiter=";"),
    quirks=(
        Quirk(
            "one mask file per class; most are empty",
            "read and merged one after the other, so that only one mask is in memory",
        ),
        Quirk(
            "masks overlap", "painted in the order of the class map, later ones on top; overlapping voxels are counted"
        ),
        Quirk("one value means different classes in v1 and v2", "the release is recognised by its set of class files"),
        Quirk(
            "a class file can be missing", "the values of the following classes don't shift; the missing class is named"
        ),
        Quirk("some sforms are not orthonormal", "read on the nearest rectangular grid, with a warning"),
        Quirk(
            "affines of image and masks differ in the last digits",
            "the image's grid is used; a case with a difference above 1e-3 mm fails",
        ),
        Quirk("some cases have only empty masks", "an all-background label is written, with a warning"),
        Quirk("v1 s0864 is damaged in the archive", "the case fails and is named; release 2.0.1 has an intact one"),
    ),
    sources=("code, issues and Zenodo records of wasserth/TotalSegmentator",),
    unverified=("folder name of the MR v1 archive", "licence of MR v1"),
)
_CT_V1 = replace(
    _CT_V2, name="totalsegmentator_v1", title="TotalSegmentator CT 1.0", labels=CT_V1, version="zenodo 6802614"
)
_MRI_V2 = replace(
    _CT_V2,
    name="totalsegmentator_mri_v2",
    title="TotalSegmentator MRI 2.0.0",
    patterns=_patterns("mri"),
    labels=MRI_V2,
    modality=("MR",),
    licence="CC BY-NC-SA 2.0",
    citation=(
        "Akinci D'Antonoli T. et al., TotalSegmentator MRI: robust sequence-independent segmentation of "
        "multiple anatomic structures in MRI, Radiology 2025"
    ),
    version="zenodo 14710732",
)
_MRI_V1 = replace(
    _MRI_V2,
    name="totalsegmentator_mri_v1",
    title="TotalSegmentator MRI 1.0.0",
    labels=MRI_V1,
    licence="not found",
    version="zenodo 11367005",
)
SPEC = replace(
    _CT_V2,
    name="totalsegmentator",
    title="TotalSegmentator",
    modality=("CT", "MR"),
    version="",
    variants=(_CT_V2, _CT_V1, _MRI_V2, _MRI_V1),
)
