"""Facts about LUNA16."""

from itkit.dataset.convert.enrich import PointsFromCsv
from itkit.dataset.convert.spec import ANYWHERE, DatasetSpec, Pattern, Quirk

SPEC = DatasetSpec(
    name="luna16",
    title="LUNA16",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"(?P<split>subset\d)/(?P<case>[\d.]+)(?i:\.mhd)",
            "subset0/1.3.6.1.4.1.14519.5.2.1.6279.6001.105756658031515062000744821260.mhd",
        ),
        Pattern(
            "label",
            ANYWHERE + r"seg-lungs-LUNA16/(?P<case>[\d.]+)(?i:\.mhd)",
            "seg-lungs-LUNA16/1.3.6.1.4.1.14519.5.2.1.6279.6001.105756658031515062000744821260.mhd",
        ),
    ),
    labels={0: "background", 3: "left lung", 4: "right lung", 5: "trachea"},
    label_note=(
        "automatic lung segmentation; nodules are points with a diameter, in dataset.json of each case, not voxels"
    ),
    splits={f"subset{number}": f"subset{number}" for number in range(10)},
    homepage="https://luna16.grand-challenge.org/",
    licence="CC BY 4.0 on top of LIDC-IDRI's CC BY 3.0",
    citation=(
        "Setio A. A. A. et al., Validation, comparison, and combination of algorithms for automatic detection "
        "of pulmonary nodules in computed tomography images: the LUNA16 challenge, Med Image Anal 2017"
    ),
    enrich=PointsFromCsv(
        "annotations.csv", case="seriesuid", point=("coordX", "coordY", "coordZ"), more=("diameter_mm",)
    ),
    quirks=(
        Quirk("14 scans are stored with x and y flipped", "the direction matrix says so, and is kept"),
        Quirk("label data files are .zraw", "header and data file are read as one"),
        Quirk("the subset is the official fold", "stored as the split of the case"),
        Quirk(
            "nodules are points",
            "written to dataset.json in physical coordinates (x y z, LPS, mm); no masks are made of them",
        ),
        Quirk("some unpackers nest seg-lungs-LUNA16 twice", "all folders are searched"),
    ),
    sources=("copies of the official data page", "public readers checked against the data"),
    unverified=("which of 3 and 4 is left", "the 14 flipped scans"),
)
