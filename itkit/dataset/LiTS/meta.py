"""Facts about LiTS."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="lits",
    title="LiTS 2017 (liver tumour segmentation)",
    patterns=(
        Pattern(
            "image", ANYWHERE + r"(?P<case>volume-\d{1,3})" + VOLUME, "Training Batch 1/volume-0.nii", split="train"
        ),
        Pattern(
            "image",
            ANYWHERE + r"(?P<case>test-volume-\d{1,2})" + VOLUME,
            "LITS-Challenge-Test-Data/test-volume-0.nii",
            split="test",
        ),
        Pattern(
            "label",
            ANYWHERE + r"segmentation-(?P<number>\d{1,3})" + VOLUME,
            "Training Batch 1/segmentation-0.nii",
            case="volume-{number}",
        ),
    ),
    labels={0: "background", 1: "liver", 2: "tumor"},
    label_note="13 training cases hold no tumour",
    homepage="https://competitions.codalab.org/competitions/17094",
    licence="CC BY-NC-ND 4.0",
    citation="Bilic P. et al., The liver tumor segmentation benchmark (LiTS), Med Image Anal 2023",
    warns_unit_spacing=True,
    quirks=(
        Quirk("volume-5 and test-volume-5 are different patients", "the prefix stays in the case name"),
        Quirk("volumes 28-47 lost their spacing", "converted as they are, with a warning"),
        Quirk("axes 2 and 3 of test-volume-59 are said to be swapped", "not changed"),
    ),
    sources=("issue 14 of LITS-CHALLENGE", "neuro-ml/amid", "openmedlab/Awesome-Medical-Dataset"),
    unverified=("dtypes", "archive names"),
)
