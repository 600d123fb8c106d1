"""Facts about AMOS 2022."""

from itkit.dataset.convert.enrich import ModalityByNumber
from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="amos22",
    title="AMOS 2022",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"images(?P<split>Tr|Va|Ts)/(?P<case>amos_\d{4})" + VOLUME,
            "amos22/imagesTr/amos_0001.nii.gz",
        ),
        Pattern(
            "label", ANYWHERE + r"labels(?:Tr|Va|Ts)/(?P<case>amos_\d{4})" + VOLUME, "amos22/labelsTr/amos_0001.nii.gz"
        ),
    ),
    labels={
        0: "background",
        1: "spleen",
        2: "right kidney",
        3: "left kidney",
        4: "gall bladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "arota",
        9: "postcava",
        10: "pancreas",
        11: "right adrenal gland",
        12: "left adrenal gland",
        13: "duodenum",
        14: "bladder",
        15: "prostate/uterus",
    },
    label_note=(
        "names as in the release: arota is the aorta, postcava the inferior vena cava; 14 and 15 are not in MR cases"
    ),
    modality=("CT", "MR"),
    splits={"Tr": "train", "Va": "validation", "Ts": "test"},
    homepage="https://amos22.grand-challenge.org/",
    licence="CC BY-SA 4.0 in the release, CC BY 4.0 on Zenodo",
    citation=(
        "Ji Y. et al., AMOS: a large-scale abdominal multi-organ benchmark for versatile medical image "
        "segmentation, NeurIPS 2022"
    ),
    enrich=ModalityByNumber(500, "CT", "MR"),
    quirks=(
        Quirk(
            "CT and MR share a folder",
            "numbers up to 500 are CT, larger ones MR; dataset.json holds the modality of each case",
        ),
        Quirk("the folders are named as in nnU-Net, the files are not", "the converter has its own patterns"),
    ),
    sources=("nnU-Net's converters Dataset218 and Dataset219", "dataset.json as quoted in public repositories"),
    unverified=("dtype", "orientation", "number of public test images"),
)
