"""Facts about KiTS23."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

_CASE = ANYWHERE + r"(?P<case>case_\d{5})/"

SPEC = DatasetSpec(
    name="kits23",
    title="KiTS23 (kidney tumour segmentation)",
    patterns=(
        Pattern("image", _CASE + "imaging" + VOLUME, "dataset/case_00000/imaging.nii.gz", split="train"),
        Pattern("label", _CASE + "segmentation" + VOLUME, "dataset/case_00000/segmentation.nii.gz"),
    ),
    labels={0: "background", 1: "kidney", 2: "tumor", 3: "cyst"},
    label_note="evaluation regions: kidney and masses 1 + 2 + 3, masses 2 + 3, tumour 2",
    homepage="https://github.com/neheller/kits23",
    licence="CC BY-NC-SA",
    citation="Heller N. et al., The KiTS21 challenge, arXiv:2307.01984",
    version="repository 0.1.4",
    is_integral=True,
    quirks=(
        Quirk("array axes are slice, row, column", "orientation comes from the direction cosines and is kept"),
        Quirk("images are float64 though values are whole", "stored as int16 if all values are whole and fit"),
        Quirk("a clone of the repository holds no images", "cases without an image are named and counted"),
        Quirk("files of single annotators, kits23.json, hidden files", "not read"),
    ),
    sources=("code, tests and label files of neheller/kits23",),
    unverified=("header details of the images",),
)
