"""The names of all operations: commands, converters of datasets, and operations that other packages register.

With a line here, the command line, Python, completion, help, reference and `itkit rerun` find an operation. An
operation is imported only when it is used, so the help of one command imports no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from itkit.core.errors import ItkitError, ParamsError, PluginError
from itkit.core.plugins import Plugin, find_plugins, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from itkit.core.operation import Operation


class Entry(NamedTuple):
    """An operation's place, summary and group.

    Attributes
    ----------
    path
        ``"module:attribute"`` of the operation.
    summary
        What it does, in a few words.
    group
        ``process``, ``convert``, ``export``, ``download`` or ``plug-in``.
    function
        Name of its Python function, ``itkit.<function>``; by default the operation's name.
    extra
        Extra of this package that it needs, at least for some inputs.
    maker
        ``"module:attribute"`` of the function that makes the operation from the object at ``path``; empty if that
        object is the operation.
    package
        The package that registers it and its version; empty for ours.
    """

    path: str
    summary: str
    group: str
    function: str = ""
    extra: str = ""
    maker: str = ""
    package: str = ""


def _process(module: str, summary: str, function: str, extra: str = "") -> Entry:
    return Entry(f"itkit.process.{module}:OPERATION", summary, "process", function, extra)


def _convert(module: str, summary: str, extra: str = "") -> Entry:
    return Entry(f"itkit.dataset.{module}:OPERATION", summary, "convert", "", extra)


CATALOGUE: Mapping[str, Entry] = {
    "itk_check": _process("itk_check", "find samples that do not conform; delete, copy or link", "check_dataset"),
    "itk_resample": _process(
        "itk_resample", "new spacing, size or reference grid; the extent is kept", "resample_dataset"
    ),
    "itk_orient": _process("itk_orient", "turn axes to given directions, exactly", "orient_dataset"),
    "itk_patch": _process("itk_patch", "cut overlapping patches that keep their physical place", "patch_dataset"),
    "itk_aug": _process("itk_aug", "augmented copies by random affine and elastic transforms", "augment_dataset"),
    "itk_extract": _process("itk_extract", "pick and renumber classes of label maps", "extract_labels"),
    "itk_stats": _process("itk_stats", "measure a dataset: grids, intensities, classes, outliers", "measure_dataset"),
    "itk_convert": Entry(
        "itkit.dataset.exchange.itk_convert:OPERATION",
        "DICOM, nnU-Net, MSD, MONAI, TorchIO, BIDS to datasets and back; volume files to other formats",
        "process",
        "convert_files",
        "dicom",
    ),
    "itk_evaluate": _process("itk_evaluate", "compare label maps with reference ones", "evaluate_predictions"),
    "itk_collect": Entry(
        "itkit.dataset.exchange.itk_collect:OPERATION",
        "any folder to a dataset, by patterns of paths",
        "process",
        "collect_dataset",
        "dicom",
    ),
    "itk_describe": _process("itk_describe", "write the dataset.json of a dataset that has none", "describe_dataset"),
    "itk_enhance": _process("itk_enhance", "intensities in steps: clip, normalize, denoise …", "enhance_dataset"),
    "itk_align": _process("itk_align", "register images to others; move labels along", "align_dataset"),
    "itk_combine": _process("itk_combine", "merge label maps of several sources or raters", "combine_datasets"),
    "itk_split": _process("itk_split", "folds, or train, validation and test, by case or patient", "split_dataset"),
    "itk_presegment": _process(
        "itk_presegment", "label maps without a network: patient, lungs, bone, airways", "presegment_dataset"
    ),
    "itk_crop": _process("itk_crop", "cut to the body, a label or what is not 0; paste back", "crop_dataset"),
    "itk_postprocess": _process(
        "itk_postprocess", "clean label maps; learn on a validation set what helps", "postprocess_dataset"
    ),
    "itk_infer": Entry(
        "itkit.inference.itk_infer:OPERATION",
        "label maps by a trained network, on each image's own grid",
        "process",
        "infer_dataset",
        "train",
    ),
    "itk_wsi": Entry(
        "itkit.pathology.itk_wsi:OPERATION",
        "whole slides: tiles, masks of annotations, pyramids, checks, de-identified copies",
        "process",
        "process_slides",
        "pathology",
    ),
    "convert_abdomenct1k": _convert("AbdomenCT_1K.convert_nii_mha", "AbdomenCT-1K: abdominal CT, 4 organs"),
    "convert_amos22": _convert("AMOS22.convert_nii_mha", "AMOS 2022: abdominal CT and MR, 15 classes"),
    "convert_brats2024": _convert("BraTs2024.convert_nii_mha", "BraTS 2024: brain MR, 4 sequences; five tasks"),
    "convert_btcv": _convert("BTCV.convert_nii_mha", "BTCV: abdominal CT, 13 organs"),
    "convert_ct_org": _convert("CT_ORG.convert_nii_mha", "CT-ORG: CT, 6 organs"),
    "convert_ctspine1k": _convert("CTSpine1K.convert_nii_mha", "CTSpine1K: spine CT, 25 vertebrae"),
    "convert_flare22": _convert("FLARE_2022.convert_nii_mha", "FLARE 2022: abdominal CT, 13 organs"),
    "convert_flare23": _convert(
        "FLARE_2023.convert_nii_mha", "FLARE 2023: abdominal CT, 13 organs and tumours, partial labels"
    ),
    "convert_imagetbad": _convert("ImageTBAD.convert_nii_mha", "ImageTBAD: CT angiography of aortic dissection"),
    "convert_kits23": _convert("KiTS23.convert_nii_mha", "KiTS23: CT, kidney, tumour, cyst"),
    "convert_lits": _convert("LiTS.convert_nii_mha", "LiTS 2017: CT, liver and tumour"),
    "convert_luna16": _convert("LUNA16.convert_mhd_mha", "LUNA16: chest CT, lungs; nodules as points"),
    "convert_msd": _convert("MSD.convert_nii_mha", "Medical Segmentation Decathlon: any of its ten tasks"),
    "convert_nnunet": _convert("nnUNet.convert_nii_mha", "nnU-Net v2 raw data"),
    "convert_sa_med2d_20m": _convert("SA_Med2D.convert_png_mha", "SA-Med2D-20M: 2-D slices of many datasets"),
    "convert_tcga": _convert("TCGA.convert_dcm_mha", "TCIA collections: DICOM with SEG and RTSTRUCT", "dicom"),
    "convert_totalsegmentator": _convert(
        "Totalsegmentator.convert_nii_mha", "TotalSegmentator: whole-body CT and MR; four releases"
    ),
    "convert_word": _convert("WORD.convert_nii_mha", "WORD: abdominal CT, 16 organs"),
    "convert_to_nnunet": Entry(
        "itkit.dataset.nnUNet.export_nnunet:OPERATION", "the converted layout as nnU-Net v2 raw data", "export"
    ),
    "tcia_download": Entry(
        "itkit.dataset.TCGA.download:OPERATION",
        "series of The Cancer Imaging Archive, by collection, manifest or UID",
        "download",
        "download_tcia",
    ),
}
"""ITKIT's own operations, in the order in which lists show them."""

SLIDE_SEGMENTER = "itkit.pathology.segmenting"
"""Module that lets ``itk_infer`` take whole slides, as text: it stands above the networks, and is imported for slides
alone."""

ALIASES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "convert_brats2024_menrt": ("convert_brats2024", {"variant": "menrt"}),
    "convert_brats2024_ped": ("convert_brats2024", {"variant": "ped"}),
    "convert_totalsegmentator_mri_v1": ("convert_totalsegmentator", {"variant": "mri_v1"}),
    "convert_totalsegmentator_mri_v2": ("convert_totalsegmentator", {"variant": "mri_v2"}),
    "convert_totalsegmentator_v1": ("convert_totalsegmentator", {"variant": "v1"}),
    "convert_totalsegmentator_v2": ("convert_totalsegmentator", {"variant": "v2"}),
}
"""Other names of operations: the operation, and the parameters that the name implies."""

_PLUGIN_GROUPS = {
    "itkit.operations": ("", ""),
    "itkit.datasets": ("convert_", "itkit.dataset.convert.engine:dataset_operation"),
}
"""Entry-point groups: the prefix of the operation's name, and the function that makes an operation from the value."""


def named(group: str) -> list[str]:
    """Return the names of ITKIT's own operations in a group.

    Examples
    --------
    >>> named("process")[:2]
    ['itk_check', 'itk_resample']
    """
    return [name for name, entry in CATALOGUE.items() if entry.group == group]


def registered() -> dict[str, Entry]:
    """Return the operations that other packages register, without importing them."""
    return _registered()[0]


def _registered() -> tuple[dict[str, Entry], tuple[str, ...]]:
    entries: dict[str, Entry] = {}
    refused: list[str] = []
    for group, (prefix, maker) in _PLUGIN_GROUPS.items():
        taken = {name.removeprefix(prefix) for name in (*CATALOGUE, *ALIASES, *entries) if name.startswith(prefix)}
        found = find_plugins(group, taken)
        refused += found.refused
        for name, plugin in found.by_name.items():
            entries[prefix + name] = Entry(plugin.path, "", "plug-in", maker=maker, package=plugin.package)
    return entries, tuple(refused)


def find(name: str) -> Entry:
    """Return the entry of an operation; operations of other packages come last.

    Raises
    ------
    ParamsError
        When there is no such operation.
    """
    target = ALIASES[name][0] if name in ALIASES else name
    entry = CATALOGUE.get(target) or registered().get(target)
    if entry is None:
        from itkit.core.text import did_you_mean

        hint = did_you_mean(name, [*CATALOGUE, *ALIASES, *registered()])
        raise ParamsError(f"no operation {name!r}{hint} (itkit list shows all)")
    return entry


def load(name: str) -> Operation[Any]:
    """Import an operation.

    Raises
    ------
    ParamsError
        When there is no such operation.
    PluginError
        When another package registers it, but it can't be used.
    """
    entry = find(name)
    if entry.package:
        return _load_registered(name, entry)[0]
    operation: Operation[Any] = resolve(entry.path)
    return operation


def _load_registered(name: str, entry: Entry) -> tuple[Operation[Any], str]:
    """Import another package's operation; return it with a short summary."""
    from itkit.core.operation import Operation

    value = Plugin(name, entry.path, entry.package).load()
    try:
        operation = resolve(entry.maker)(value) if entry.maker else value
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{entry.package}: {entry.path} can't become an operation ({reason})") from error
    if not isinstance(operation, Operation):
        raise PluginError(f"{entry.package}: {entry.path} is of type {type(value).__name__}; expected an Operation")
    if operation.name != name:
        raise PluginError(f"{entry.package}: the entry point of {name!r} names the operation {operation.name!r}")
    text = getattr(value, "title", "") or (operation.params.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return operation, str(text)


def describe_registered() -> tuple[dict[str, Entry], tuple[str, ...]]:
    """Import the operations of other packages; return the usable ones with summaries, and a message for each other."""
    entries, wrong = _registered()
    usable = {}
    for name, entry in entries.items():
        try:
            usable[name] = entry._replace(summary=_load_registered(name, entry)[1])
        except ItkitError as error:
            wrong += (str(error),)
    return usable, wrong
