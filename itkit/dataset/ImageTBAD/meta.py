"""Facts about ImageTBAD."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="imagetbad",
    title="ImageTBAD (type B aortic dissection)",
    patterns=(
        Pattern("image", ANYWHERE + r"(?P<case>\d+)_image" + VOLUME, "imageTBAD/1_image.nii.gz", split="train"),
        Pattern("label", ANYWHERE + r"(?P<case>\d+)_label" + VOLUME, "imageTBAD/1_label.nii.gz"),
    ),
    labels={0: "background", 1: "true lumen (TL)", 2: "false lumen (FL)", 3: "false lumen thrombus (FLT)"},
    label_note="68 of 100 cases hold a thrombus",
    homepage="https://github.com/XiaoweiXu/Dataset_Type-B-Aortic-Dissection",
    licence="CC BY-NC 4.0",
    citation=(
        "Yao Z. et al., ImageTBAD: a 3D computed tomography angiography image dataset for automatic "
        "segmentation of type-B aortic dissection, Front Physiol 2021"
    ),
    quirks=(
        Quirk("the word image is in the names of folders and files", "only the end of the file name decides the role"),
        Quirk("numbers have gaps", "the number is the case name"),
    ),
    sources=("README of XiaoweiXu/Dataset_Type-B-Aortic-Dissection", "neuro-ml/amid"),
    unverified=("folder name in the archive", "dtypes", "spacing", "orientation"),
)
