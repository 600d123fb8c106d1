"""Facts about CT-ORG."""

from itkit.dataset.convert.enrich import SplitByNumber
from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="ct_org",
    title="CT-ORG",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"(?P<case>volume-\d{1,3})" + VOLUME,
            "PKG - CT-ORG/CT-ORG/OrganSegmentations/volume-0.nii.gz",
        ),
        Pattern(
            "label",
            ANYWHERE + r"labels-(?P<number>\d{1,3})" + VOLUME,
            "PKG - CT-ORG/CT-ORG/OrganSegmentations/labels-0.nii.gz",
            case="volume-{number}",
        ),
    ),
    labels={0: "background", 1: "liver", 2: "bladder", 3: "lungs", 4: "kidneys", 5: "bone", 6: "brain"},
    label_note="left and right organs share a value; brain is in nine cases only",
    homepage="https://www.cancerimagingarchive.net/collection/ct-org/",
    licence="CC BY 3.0",
    citation=(
        "Rister B. et al., CT-ORG, a new dataset for multiple organ segmentation in computed tomography, Sci Data 2020"
    ),
    enrich=SplitByNumber(((0, 20, "test"), (21, 139, "train"))),
    quirks=(
        Quirk("images and labels share a folder", "told apart by file name alone"),
        Quirk("labels are float32", "stored in the smallest integer type; a case with a value that is not whole fails"),
        Quirk("131 cases are LiTS patients", "never mix train and test of the two"),
        Quirk(
            "some affines of image and label differ",
            "a case with a difference above 1e-3 mm fails; nothing is resampled",
        ),
    ),
    sources=(
        "collection page at TCIA in copies",
        "openmedlab/Awesome-Medical-Dataset",
        "Project-MONAI/VISTA data lists",
    ),
    unverified=("exact label dtype", "which affines are wrong"),
)
