"""Facts about collections of The Cancer Imaging Archive, as the NBIA Data Retriever downloads them."""

from itkit.dataset.convert.spec import ANYWHERE, DatasetSpec, Pattern, Quirk
from itkit.dataset.TCGA.series import find, load

SPEC = DatasetSpec(
    name="tcga",
    title="TCIA / TCGA collections",
    patterns=(
        Pattern(
            "image",
            ANYWHERE + r"(?P<patient>[^/]+)/(?P<study>[^/]*)/(?P<case>[^/]+)/[^/]+",
            "TCGA-KIRC/TCGA-A1-1234/03-04-2001-NA-CT ABDOMEN-12345/2.000000-Abd-67890/1-01.dcm",
        ),
    ),
    labels={0: "background"},
    label_note="value = SegmentNumber (SEG) or ROINumber (RTSTRUCT); each case has its own names, see cases",
    modality=("CT", "MR", "PT"),
    homepage="https://www.cancerimagingarchive.net/",
    licence="of each collection, mostly CC BY 3.0 or 4.0; see the LICENSE file in its folder",
    citation="Clark K. et al., The Cancer Imaging Archive (TCIA): maintaining and operating a public information "
    "repository, J Digit Imaging 2013",
    find=find,
    load=load,
    quirks=(
        Quirk(
            "folder names carry five digits of the UID, a series number may be missing",
            "series are recognised by their headers",
        ),
        Quirk("localizers are CT series too", "series with fewer slices than --least-slices are left out and named"),
        Quirk("slices in any order", "ordered by position along the normal"),
        Quirk("SEG stores only non-empty frames, in any order", "each frame is placed at its own position"),
        Quirk("segments and regions overlap", "the later number wins; overlaps are counted"),
        Quirk(
            "names of regions differ between patients",
            "each case has its own table of names; --labels and --merge select by name",
        ),
        Quirk(
            "an annotation belongs to the series that it refers to",
            "the same study or frame of reference is not enough",
        ),
        Quirk(
            "gaps, duplicates, several acquisitions in a series",
            "the series fails and is named; --on-irregular largest or split converts it",
        ),
        Quirk(
            "metadata.csv can have shifted columns",
            "the file is optional: it tells the collection and helps to find missing files",
        ),
    ),
    sources=("NBIA Data Retriever user's guide", "metadata.csv rows and listings in public repositories"),
    unverified=("which collections have annotations",),
)
