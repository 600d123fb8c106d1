"""Facts about CTSpine1K."""

from itkit.dataset.convert.enrich import SplitBlocks
from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

_NAMES = [f"C{i}" for i in range(1, 8)] + [f"T{i}" for i in range(1, 13)] + [f"L{i}" for i in range(1, 7)]

SPEC = DatasetSpec(
    name="ctspine1k",
    title="CTSpine1K",
    patterns=(
        Pattern(
            "ignored",
            ANYWHERE + r"labels?/(?:Verse|completed_annotation_verse)/.+",
            "label/completed_annotation_verse/verse506_CT-iso_seg.nii.gz",
            why="VerSe annotations; their images are no part of this release",
        ),
        Pattern(
            "correction",
            ANYWHERE + r"label_new/(?:[^/]+/)*(?P<case>[^/]+)_seg" + VOLUME,
            "label_new/trainset/gt/liver_0_seg.nii.gz",
            why="label_new is the later folder",
        ),
        Pattern(
            "label",
            ANYWHERE + r"(?:label|labels)/[^/]+/(?P<case>[^/]+)_seg" + VOLUME,
            "label/conlon/1.3.6.1.4.1.9328.50.4.0001_seg.nii.gz",
        ),
        Pattern(
            "image",
            ANYWHERE + r"(?:data|volumes)/[^/]+/(?P<case>[^/]+)" + VOLUME,
            "data/colon/1.3.6.1.4.1.9328.50.4.0001.nii.gz",
        ),
    ),
    labels={0: "background", **dict(enumerate(_NAMES, 1))},
    label_note="25 is L6, not S1; most cases show a part of the spine",
    homepage="https://github.com/MIRACLE-Center/CTSpine1K",
    licence="CC BY-NC-SA",
    citation=(
        "Deng Y. et al., CTSpine1K: a large-scale dataset for spinal vertebrae segmentation in CT, arXiv:2105.14711"
    ),
    enrich=SplitBlocks(
        "data_split.txt", {"trainset": "train", "test_public": "test_public", "test_private": "test_private"}
    ),
    quirks=(
        Quirk("label folders are called conlon and Liver, data folders colon and liver", "paired by file name"),
        Quirk("case names hold dots", "only known endings are removed"),
        Quirk("VerSe labels without images", "left out, counted"),
        Quirk("label_new may hold corrections", "used if it exists; each replacement is named"),
        Quirk("some labels have another spacing than their image", "a case with a difference above 1e-3 mm fails"),
    ),
    sources=("README, data_split.txt, Path.csv and issues of MIRACLE-Center/CTSpine1K",),
    unverified=("dtypes", "orientation", "content of label_new"),
)
