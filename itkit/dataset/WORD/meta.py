"""Facts about WORD."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="word",
    title="WORD (whole abdominal organs)",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"images(?P<split>Tr|Val|Ts)/(?P<case>word_\d{4})" + VOLUME,
            "WORD-V0.1.0/imagesTr/word_0001.nii.gz",
        ),
        Pattern(
            "label",
            ANYWHERE + r"labels(?:Tr|Val|Ts)/(?P<case>word_\d{4})" + VOLUME,
            "WORD-V0.1.0/labelsTr/word_0001.nii.gz",
        ),
    ),
    labels={
        0: "background",
        1: "liver",
        2: "spleen",
        3: "left_kidney",
        4: "right_kidney",
        5: "stomach",
        6: "gallbladder",
        7: "esophagus",
        8: "pancreas",
        9: "duodenum",
        10: "colon",
        11: "intestine",
        12: "adrenal",
        13: "rectum",
        14: "bladder",
        15: "Head_of_femur_L",
        16: "Head_of_femur_R",
    },
    label_note="both adrenal glands share a value",
    splits={"Tr": "train", "Val": "validation", "Ts": "test"},
    homepage="https://github.com/HiLab-git/WORD",
    licence="GPL-3.0 (licence of the repository)",
    citation=(
        "Luo X. et al., WORD: a large scale dataset, benchmark and clinical applicable study for abdominal "
        "organ segmentation from CT image, Med Image Anal 2022"
    ),
    version="0.1.0",
    quirks=(
        Quirk("validation folders are called imagesVal and labelsVal", "the converter has its own patterns"),
        Quirk("test labels come in a separate archive", "a test case without a label is normal"),
    ),
    sources=("README of HiLab-git/WORD", "label order in Project-MONAI/VISTA"),
    unverified=("dtypes", "orientation"),
)
