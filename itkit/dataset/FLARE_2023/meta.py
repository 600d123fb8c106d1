"""Facts about FLARE 2023."""

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk
from itkit.dataset.FLARE_2022.meta import ORGANS

SPEC = DatasetSpec(
    name="flare23",
    title="FLARE 2023",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"imagesTr2200/(?P<case>FLARE23_\d{4})_0000" + VOLUME,
            "imagesTr2200/FLARE23_0001_0000.nii.gz",
            split="train",
        ),
        Pattern(
            "image",
            ANYWHERE + r"(?P<case>FLARE23Ts_\d{4})_0000" + VOLUME,
            "validation/FLARE23Ts_0001_0000.nii.gz",
            split="validation",
        ),
        Pattern(
            "image",
            ANYWHERE + r"(?P<case>FLARE23_\d{4})_0000" + VOLUME,
            "unlabeledTr1800/FLARE23_2201_0000.nii.gz",
            split="unlabeled",
        ),
        Pattern(
            "correction",
            ANYWHERE + r"labelsTr2200/20230507-fix/(?P<case>FLARE23_\d{4})" + VOLUME,
            "labelsTr2200/20230507-fix/FLARE23_0001.nii.gz",
            why="folder 20230507-fix",
        ),
        Pattern(
            "label",
            ANYWHERE + r"(?:labelsTr2200|val-gt-50cases-for-sanity-check)/(?P<case>FLARE23(?:Ts)?_\d{4})" + VOLUME,
            "labelsTr2200/FLARE23_0001.nii.gz",
        ),
    ),
    labels={**ORGANS, 14: "tumor"},
    label_note=(
        "labels are partial: what is background in a case may be an organ that nobody annotated; see the "
        "classes of each case"
    ),
    homepage="https://codalab.lisn.upsaclay.fr/competitions/12239",
    licence="not found; the sources have their own terms",
    citation=(
        "Ma J. et al., Automatic organ and pan-cancer segmentation in abdomen CT: the FLARE 2023 challenge, "
        "arXiv:2408.12534"
    ),
    quirks=(
        Quirk("20230507-fix holds corrected labels", "the corrected file is used; each replacement is named"),
        Quirk("pseudo labels by others circulate under the same names", "only the official folders are read"),
        Quirk("only odd validation numbers have labels", "a missing label is normal"),
        Quirk(
            "labels are partial", "dataset.json lists the classes found in each case; cases with few classes are kept"
        ),
    ),
    sources=("JunMa11/FLARE", "openmedlab/Awesome-Medical-Dataset and solution repositories"),
    unverified=("licence", "list of corrected files", "folder name of the validation images", "dtypes"),
)
