"""Facts about AbdomenCT-1K."""

from itkit.dataset.convert.enrich import split_by_label
from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="abdomenct1k",
    title="AbdomenCT-1K",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"(?P<case>Case_\d{5})_0000" + VOLUME,
            "AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz",
        ),
        Pattern("label", ANYWHERE + r"(?P<case>Case_\d{5})" + VOLUME, "Mask/Case_00001.nii.gz"),
    ),
    labels={0: "background", 1: "liver", 2: "kidney", 3: "spleen", 4: "pancreas"},
    label_note="left and right kidney are one class",
    homepage="https://github.com/JunMa11/AbdomenCT-1K",
    licence="each source set keeps its own terms (LiTS CC BY-NC-ND, KiTS CC BY-NC-SA, MSD CC BY-SA)",
    citation="Ma J. et al., AbdomenCT-1K: Is abdominal organ segmentation a solved problem?, IEEE TPAMI 2022",
    warns_unit_spacing=True,
    enrich=split_by_label,
    quirks=(
        Quirk("images lie in three folders, masks in one", "paired by name, without _0000"),
        Quirk("about 62 images have no public mask", "image only, split unlabeled"),
        Quirk("20 cases from LiTS have spacing 1 1 1", "converted as they are, with a warning"),
        Quirk(
            "about 30 cases have an sform that is not orthonormal; ITK refuses them",
            "read on the nearest rectangular grid, with a warning; image and mask alike",
        ),
        Quirk("two cases have no spleen", "a missing class is not an error"),
    ),
    sources=("README and issues of JunMa11/AbdomenCT-1K",),
    unverified=("dtype of the masks", "data licence", "exact last image number"),
)
