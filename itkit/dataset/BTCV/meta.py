"""Facts about BTCV."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="btcv",
    title="BTCV (Beyond the Cranial Vault, abdomen)",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"(?P<split>[Tt]raining|[Tt]esting)/img/(?P<case>img\d{4})" + VOLUME,
            "Abdomen/RawData/Training/img/img0001.nii.gz",
        ),
        Pattern(
            "label",
            ANYWHERE + r"label/label(?P<number>\d{4})" + VOLUME,
            "Abdomen/RawData/Training/label/label0001.nii.gz",
            case="img{number}",
        ),
    ),
    labels={
        0: "background",
        1: "spleen",
        2: "right kidney",
        3: "left kidney",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "inferior vena cava",
        10: "portal vein and splenic vein",
        11: "pancreas",
        12: "right adrenal gland",
        13: "left adrenal gland",
    },
    splits={"Training": "train", "training": "train", "Testing": "test", "testing": "test"},
    homepage="https://www.synapse.org/Synapse:syn3193805",
    licence="terms of use of Synapse",
    citation="Landman B. et al., MICCAI multi-atlas labeling beyond the cranial vault, 2015",
    quirks=(
        Quirk("prefixes of image and label differ, numbers have gaps", "paired by number"),
        Quirk("some patients have no gallbladder or right kidney", "a missing class is not an error"),
    ),
    sources=("openmedlab/Awesome-Medical-Dataset", "MONAI's data lists for BTCV"),
    unverified=("dtypes", "archive name"),
)
