"""Every dataset, as text: listing them imports none."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ParamsError
from itkit.core.text import did_you_mean

if TYPE_CHECKING:
    from itkit.core.operation import Operation
    from itkit.dataset.convert.spec import DatasetSpec

DATASETS = {
    "abdomenct1k": ("AbdomenCT_1K.convert_nii_mha", "AbdomenCT-1K: abdominal CT, 4 organs"),
    "amos22": ("AMOS22.convert_nii_mha", "AMOS 2022: abdominal CT and MR, 15 classes"),
    "brats2024": ("BraTs2024.convert_nii_mha", "BraTS 2024: brain MR, 4 sequences; five tasks"),
    "btcv": ("BTCV.convert_nii_mha", "BTCV: abdominal CT, 13 organs"),
    "ct_org": ("CT_ORG.convert_nii_mha", "CT-ORG: CT, 6 organs"),
    "ctspine1k": ("CTSpine1K.convert_nii_mha", "CTSpine1K: spine CT, 25 vertebrae"),
    "flare22": ("FLARE_2022.convert_nii_mha", "FLARE 2022: abdominal CT, 13 organs"),
    "flare23": ("FLARE_2023.convert_nii_mha", "FLARE 2023: abdominal CT, 13 organs and tumours, partial labels"),
    "imagetbad": ("ImageTBAD.convert_nii_mha", "ImageTBAD: CT angiography of aortic dissection"),
    "kits23": ("KiTS23.convert_nii_mha", "KiTS23: CT, kidney, tumour, cyst"),
    "lits": ("LiTS.convert_nii_mha", "LiTS 2017: CT, liver and tumour"),
    "luna16": ("LUNA16.convert_mhd_mha", "LUNA16: chest CT, lungs; nodules as points"),
    "msd": ("MSD.convert_nii_mha", "Medical Segmentation Decathlon: any of its ten tasks"),
    "nnunet": ("nnUNet.convert_nii_mha", "nnU-Net v2 raw data"),
    "sa_med2d_20m": ("SA_Med2D.convert_png_mha", "SA-Med2D-20M: 2-D slices of many datasets"),
    "tcga": ("TCGA.convert_dcm_mha", "TCIA collections: DICOM with SEG and RTSTRUCT"),
    "totalsegmentator": ("Totalsegmentator.convert_nii_mha", "TotalSegmentator: whole-body CT and MR; four releases"),
    "word": ("WORD.convert_nii_mha", "WORD: abdominal CT, 16 organs"),
}
"""Converters: module below `itkit.dataset`, and what it is in a few words."""

ALIASES = {
    "brats2024_menrt": ("brats2024", "menrt"),
    "brats2024_ped": ("brats2024", "ped"),
    "totalsegmentator_mri_v1": ("totalsegmentator", "mri_v1"),
    "totalsegmentator_mri_v2": ("totalsegmentator", "mri_v2"),
    "totalsegmentator_v1": ("totalsegmentator", "v1"),
    "totalsegmentator_v2": ("totalsegmentator", "v2"),
}
"""Names of one release of a family: the family, and its ``--variant``."""

EXPORTS = {
    "to_nnunet": ("nnUNet.export_nnunet", "the converted layout as nnU-Net v2 raw data"),
}
"""The way back."""


def load_converter(name: str) -> Operation[Any]:
    """Import a converter; a family's release by its own name too.

    Raises
    ------
    ParamsError
        When there is no such dataset.
    """
    key = name.lower().replace("-", "_").removeprefix("convert_")
    family = ALIASES.get(key, (key, ""))[0]
    known = {**DATASETS, **EXPORTS}
    if family not in known:
        hint = did_you_mean(key, [*known, *ALIASES])
        raise ParamsError(f"no dataset {name!r}{hint} (itkit convert-dataset --list shows all)")
    operation: Operation[Any] = import_module(f"itkit.dataset.{known[family][0]}").OPERATION
    return operation


def load_spec(name: str) -> DatasetSpec:
    """Import the facts about a dataset.

    Raises
    ------
    ParamsError
        When there is no such dataset.
    """
    if name not in DATASETS:
        raise ParamsError(f"no dataset {name!r}")
    spec: DatasetSpec = import_module(f"itkit.dataset.{DATASETS[name][0].split('.')[0]}.meta").SPEC
    return spec
