"""Facts about FLARE 2022."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

ORGANS = {
    0: "background", 1: "liver", 2: "right kidney", 3: "spleen", 4: "pancreas", 5: "aorta", 6: "inferior vena cava",
    7: "right adrenal gland", 8: "left adrenal gland", 9: "gallbladder", 10: "esophagus", 11: "stomach",
    12: "duodenum", 13: "left kidney",
}  # fmt: skip

SPEC = DatasetSpec(
    name="flare22",
    title="FLARE 2022",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"images/(?P<case>FLARE22_Tr_\d{4})_0000" + VOLUME,
            "Training/FLARE22_LabeledCase50/images/FLARE22_Tr_0001_0000.nii.gz",
            split="train",
        ),
        Pattern(
            "image",
            ANYWHERE + r"images/(?P<case>FLARETs_\d{4})_0000" + VOLUME,
            "Tuning/images/FLARETs_0001_0000.nii.gz",
            split="validation",
        ),
        Pattern(
            "image",
            ANYWHERE + r"(?P<case>Case_\d{5})_0000" + VOLUME,
            "Training/FLARE22_UnlabeledCase1-1000/Case_00001_0000.nii.gz",
            split="unlabeled",
        ),
        Pattern(
            "label",
            ANYWHERE + r"labels/(?P<case>FLARE(?:22_Tr|Ts)_\d{4})" + VOLUME,
            "Training/FLARE22_LabeledCase50/labels/FLARE22_Tr_0001.nii.gz",
        ),
    ),
    labels=ORGANS,
    label_note="left kidney is 13, right kidney 2",
    homepage="https://flare22.grand-challenge.org/",
    licence="not found; the sources have their own terms",
    citation=(
        "Ma J. et al., Unleashing the strengths of unlabelled data in deep learning-assisted pan-cancer "
        "abdominal organ quantification: the FLARE22 challenge, Lancet Digital Health 2024"
    ),
    quirks=(
        Quirk("mirrors name the folders differently", "found by file name"),
        Quirk("2000 images have no label", "image only, split unlabeled"),
        Quirk(
            "unlabelled cases have names of AbdomenCT-1K", "they are other patients: don't convert both to one folder"
        ),
    ),
    sources=("JunMa11/FLARE", "openmedlab/Awesome-Medical-Dataset", "neuro-ml/amid"),
    unverified=("licence", "dtype", "orientation"),
)
