"""Write CITATION.cff with the papers of networks, losses and other methods: ``python -m tools.citation``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from itkit.models.registry import FAMILIES

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "CITATION.cff"
_HEAD = """# Made from the cards of the networks and a list of methods by: python -m tools.citation
cff-version: 1.2.0
message: If ITKIT helps your work, please cite it, and the datasets, networks and methods that you use through it.
title: ITKIT
abstract: A Python toolkit that turns any pile of CT/MR volumes into a clean, uniform, training-ready dataset.
type: software
license: MIT
authors:
  - name: The ITKIT developers
references:
"""


class Paper(NamedTuple):
    """A paper: who wrote it, its title, its year, its DOI."""

    authors: str
    title: str
    year: int
    doi: str


def _arxiv(number: str) -> str:
    return f"10.48550/arXiv.{number}"


METHODS = (
    Paper("Lowekamp et al.", "The Design of SimpleITK", 2013, "10.3389/fninf.2013.00045"),
    Paper(
        "Cardoso et al.", "MONAI: An open-source framework for deep learning in healthcare", 2022, _arxiv("2211.02701")
    ),
    Paper(
        "Wasserthal et al.",
        "TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT Images",
        2023,
        "10.1148/ryai.230024",
    ),
    Paper("Tustison et al.", "N4ITK: Improved N3 Bias Correction", 2010, "10.1109/TMI.2010.2046908"),
    Paper(
        "Warfield, Zou, Wells",
        "Simultaneous Truth and Performance Level Estimation (STAPLE): An Algorithm for the Validation of Image "
        "Segmentation",
        2004,
        "10.1109/TMI.2004.828354",
    ),
    Paper("Otsu", "A Threshold Selection Method from Gray-Level Histograms", 1979, "10.1109/TSMC.1979.4310076"),
    Paper(
        "Nikolov et al.",
        "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for radiotherapy",
        2018,
        _arxiv("1809.04430"),
    ),
    Paper("Kirillov et al.", "Panoptic Segmentation", 2019, _arxiv("1801.00868")),
    Paper(
        "Ronneberger, Fischer, Brox",
        "U-Net: Convolutional Networks for Biomedical Image Segmentation",
        2015,
        _arxiv("1505.04597"),
    ),
    Paper(
        "Milletari, Navab, Ahmadi",
        "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image Segmentation",
        2016,
        _arxiv("1606.04797"),
    ),
    Paper(
        "Wang et al.", "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels", 2023, _arxiv("2303.16296")
    ),
    Paper(
        "Rahman, Wang",
        "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation",
        2016,
        "10.1007/978-3-319-50835-1_22",
    ),
    Paper(
        "Wang et al.",
        "Jaccard Metric Losses: Optimizing the Jaccard Index with Soft Labels",
        2023,
        _arxiv("2302.05666"),
    ),
    Paper(
        "Sudre et al.",
        "Generalised Dice overlap as a deep learning loss function for highly unbalanced segmentations",
        2017,
        _arxiv("1707.03237"),
    ),
    Paper(
        "Salehi, Erdogmus, Gholipour",
        "Tversky loss function for image segmentation using 3D fully convolutional deep networks",
        2017,
        _arxiv("1706.05721"),
    ),
    Paper(
        "Abraham, Khan",
        "A Novel Focal Tversky loss function with improved Attention U-Net for lesion segmentation",
        2019,
        _arxiv("1810.07842"),
    ),
    Paper(
        "Berman, Rannen Triki, Blaschko",
        "The Lovász-Softmax loss: A tractable surrogate for the optimization of the intersection-over-union measure in "
        "neural networks",
        2018,
        _arxiv("1705.08790"),
    ),
    Paper("Szegedy et al.", "Rethinking the Inception Architecture for Computer Vision", 2016, _arxiv("1512.00567")),
    Paper(
        "Wu, Shen, van den Hengel",
        "Bridging Category-level and Instance-level Semantic Image Segmentation",
        2016,
        _arxiv("1605.06885"),
    ),
    Paper("Ma et al.", "Loss odyssey in medical image segmentation", 2021, "10.1016/j.media.2021.102035"),
    Paper("Lin et al.", "Focal Loss for Dense Object Detection", 2017, _arxiv("1708.02002")),
    Paper(
        "Li et al.",
        "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection",
        2020,
        _arxiv("2006.04388"),
    ),
    Paper("Kervadec et al.", "Boundary loss for highly unbalanced segmentation", 2019, _arxiv("1812.07032")),
    Paper(
        "Karimi, Salcudean",
        "Reducing the Hausdorff Distance in Medical Image Segmentation with Convolutional Neural Networks",
        2020,
        _arxiv("1904.10030"),
    ),
    Paper(
        "Shit et al.",
        "clDice - a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation",
        2021,
        _arxiv("2003.07311"),
    ),
    Paper(
        "Zhu et al.",
        "AnatomyNet: Deep Learning for Fast and Fully Automated Whole-volume Segmentation of Head and Neck Anatomy",
        2019,
        _arxiv("1808.05238"),
    ),
)
"""Papers of methods that are no networks: tools that ITKIT stands on, metrics, filters, losses."""


def networks() -> Iterator[Paper]:
    """Yield the papers of the networks, from their cards."""
    for family in FAMILIES:
        for card in import_module(f"itkit.models.{family}.card").CARDS:
            authors, title = _parts(card.paper)
            yield Paper(authors, title, card.year, card.doi)


def _parts(paper: str) -> tuple[str, str]:
    """Return authors and title of a paper as cards state it: authors, title, where and when it was published.

    Examples
    --------
    >>> _parts("Guo et al., DSNet: A Novel Way, IEEE Transactions 2025")
    ('Guo et al.', 'DSNet: A Novel Way')
    >>> _parts("Yang, Farsiu, Links of voxels, CVPR 2023")
    ('Yang, Farsiu', 'Links of voxels')
    """
    pieces = [piece for piece in paper.split(", ") if not piece.startswith("arXiv:")]
    count = next((at + 1 for at, piece in enumerate(pieces) if piece.endswith("et al.") or "&" in piece), 0)
    count = count or next((at for at, piece in enumerate(pieces) if " " in piece and at), 1)
    return ", ".join(pieces[:count]), ", ".join(pieces[count:-1])


def citation() -> str:
    """Return the text of CITATION.cff."""
    papers = list(dict.fromkeys([*METHODS, *networks()]))
    return _HEAD + "".join(_entry(paper) for paper in papers)


def _entry(paper: Paper) -> str:
    title = json.dumps(paper.title, ensure_ascii=False)
    authors = json.dumps(re.sub(r"\s+", " ", paper.authors), ensure_ascii=False)
    return (
        f"  - type: article\n    title: {title}\n    authors:\n      - name: {authors}\n"
        f"    year: {paper.year}\n    doi: {paper.doi}\n"
    )


if __name__ == "__main__":
    TARGET.write_text(citation(), encoding="utf-8")
