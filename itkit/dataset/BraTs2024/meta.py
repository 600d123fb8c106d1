"""Facts about BraTS 2024: glioma after treatment, meningioma radiotherapy, paediatric, metastases, GoAT."""

from dataclasses import replace

from itkit.dataset.convert.spec import ANYWHERE, VOLUME, DatasetSpec, Pattern, Quirk

_CHANNELS = ("t1n", "t1c", "t2w", "t2f")


def _patterns(case: str, example: str, channels: str, label: str, separator: str = "-") -> tuple[Pattern, ...]:
    folder = ANYWHERE + rf"(?P<case>{case})/(?P=case){separator}"
    files, first = f"{example}/{example}{separator}", channels.split("|", maxsplit=1)[0]
    unlabelled = r"(?i:[^/]*val[^/]*/)"
    return (
        Pattern(
            "image",
            ANYWHERE + unlabelled + rf"(?P<case>{case})/(?P=case){separator}(?P<channel>{channels})" + VOLUME,
            f"validation_data/{files}{first}.nii.gz",
            split="validation",
        ),
        Pattern(
            "image",
            folder + rf"(?P<channel>{channels})" + VOLUME,
            f"training_data1_v2/{files}{first}.nii.gz",
            split="train",
        ),
        Pattern("label", folder + label + VOLUME, f"training_data1_v2/{files}{label}.nii.gz"),
    )


GLI = DatasetSpec(
    name="brats2024_gli",
    title="BraTS 2024 (adult glioma after treatment)",
    patterns=_patterns(r"BraTS-GLI-(?P<patient>\d{5})-\d{3}", "BraTS-GLI-00005-100", "t1n|t1c|t2w|t2f", "seg"),
    labels={0: "background", 1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"},
    label_note=(
        "NETC non-enhancing tumour core, SNFH surrounding non-enhancing FLAIR hyperintensity, ET enhancing tissue, "
        "RC resection cavity; TC = 1 + 3 and WT = 1 + 2 + 3 are evaluation regions and not stored"
    ),
    modality=("MR",),
    channels=_CHANNELS,
    homepage="https://www.synapse.org/Synapse:syn53708249",
    licence="CC BY-NC 4.0 according to a copy of the wiki",
    citation=(
        "de Verdier M. C. et al., The 2024 BraTS challenge: glioma segmentation on post-treatment MRI, arXiv:2405.18368"
    ),
    quirks=(
        Quirk("the files have no channel order", "t1n, t1c, t2w, t2f, written in dataset.json"),
        Quirk("validation cases have no -seg file", "images only"),
        Quirk("-100, -101 are time points of one patient", "dataset.json holds the patient; split by patient"),
        Quirk("downloads differ in folder names", "found by file name; one case in two folders is refused"),
        Quirk("value 4 was ET until 2021 and is RC now", "never mix the releases' label values"),
    ),
    sources=("nnU-Net's converter Dataset226_BraTS2024-BraTS-GLI", "copies of the Synapse wiki"),
    unverified=("orientation of the affine", "dtypes", "labels of MET and GoAT", "licence"),
)
PED = replace(
    GLI,
    name="brats2024_ped",
    title="BraTS 2024 (paediatric)",
    patterns=_patterns(r"BraTS-PED-(?P<patient>\d{5})-\d{3}", "BraTS-PED-00001-000", "t1n|t1c|t2w|t2f", "seg"),
    labels={0: "background", 1: "ET", 2: "NET", 3: "CC", 4: "ED"},
    label_note="the same numbers mean other tissues than in adult glioma",
)
MET = replace(
    GLI,
    name="brats2024_met",
    title="BraTS 2024 (metastases)",
    patterns=_patterns(r"BraTS-MET-(?P<patient>\d{5})-\d{3}", "BraTS-MET-00001-000", "t1n|t1c|t2w|t2f", "seg"),
    labels={0: "background", 1: "NETC", 2: "SNFH", 3: "ET"},
    label_note="",
)
GOAT = replace(
    GLI,
    name="brats2024_goat",
    title="BraTS 2024 (generalisability across tumours)",
    patterns=_patterns(r"BraTS-GoAT-(?P<patient>\d{5})", "BraTS-GoAT-00001", "t1n|t1c|t2w|t2f", "seg"),
    labels={0: "background", 1: "NCR", 2: "ED", 3: "ET"},
    label_note="",
)
MENRT = replace(
    GLI,
    name="brats2024_menrt",
    title="BraTS 2024 (meningioma radiotherapy)",
    patterns=_patterns(r"BraTS-MEN-RT-(?P<patient>\d{4})-\d", "BraTS-MEN-RT-0002-1", "t1c", "gtv", "_"),
    labels={0: "background", 1: "GTV"},
    label_note="",
    channels=("t1c",),
    quirks=(
        Quirk("one channel in native space, separator _ instead of -", "the converter has its own patterns"),
        Quirk("validation cases have no gtv file", "image only"),
    ),
)
SPEC = replace(GLI, name="brats2024", title="BraTS 2024", variants=(GLI, PED, MENRT, MET, GOAT))
