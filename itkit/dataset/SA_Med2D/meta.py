"""Facts about SA-Med2D-20M."""

from itkit.dataset.convert.spec import DatasetSpec, Pattern, Quirk
from itkit.dataset.SA_Med2D.slices import convert_part, find

SPEC = DatasetSpec(
    name="sa_med2d_20m",
    title="SA-Med2D-20M",
    patterns=(
        Pattern(
            "image",
            r"images/(?P<case>[^/]+--(?:[xyz]_\d{4}|2d_none))(?i:\.png)",
            "images/mr_00--ACDC--patient001_frame01--x_0006.png",
        ),
        Pattern(
            "part",
            r"masks/(?P<case>[^/]+--(?:[xyz]_\d{4}|2d_none))--(?P<part>\d{4})_\d{3}(?i:\.png)",
            "masks/mr_00--ACDC--patient001_frame01--x_0006--0000_000.png",
        ),
    ),
    labels={0: "background"},
    label_note="value = class id + 1; the same value means another class in another source: see labels_by_source",
    modality=("CT", "MR", "PET", "US", "X-ray", "dermoscopy", "endoscopy", "fundus", "histopathology", "microscopy"),
    channel_layout="vector",
    homepage="https://huggingface.co/datasets/OpenGVLab/SA-Med2D-20M",
    licence="CC BY-NC-SA 4.0; the sources keep their own terms",
    citation="Ye J. et al., SA-Med2D-20M dataset: segment anything in 2D medical imaging with 20 million masks, "
    "arXiv:2311.11969",
    find=find,
    case=convert_part,
    quirks=(
        Quirk(
            "millions of small files",
            "the index is streamed, a job is 1000 images; convert the release in parts with --only 'ct_*--ACDC--*'",
        ),
        Quirk(
            "2-D images without spacing or position",
            "become volumes of one slice with spacing 1; slices are never stacked",
        ),
        Quirk("many images have three equal channels", "reduced to one channel; other colour images become vectors"),
        Quirk("class 0000 is a real class", "value = class id + 1"),
        Quirk("union_ classes overlap their parts", "the higher class id wins; --overlap changes that"),
        Quirk("several masks of one class", "merged; dataset.json holds class, instance and pixel count of each mask"),
        Quirk("some masks have another shape than their image", "the image is left out and named; nothing is resized"),
        Quirk("masks of ichallenge_adam_task2 are said to be inverted", "converted as they are, with a note"),
    ),
    sources=("copy of the Hugging Face README", "issues of OpenGVLab/SAM-Med2D and of the dataset"),
    unverified=("number of archive parts", "class tables of the sources (only in the release)"),
)
