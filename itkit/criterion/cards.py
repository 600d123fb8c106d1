"""What is known about each loss before it is made: its formula and its source. Needs no torch.

The registry and the page of losses are derived from these cards; options and defaults come from the signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LossCard:
    """A loss of ours.

    Attributes
    ----------
    name
        Name under which :func:`itkit.criterion.create_loss` makes it, and a plan's ``[training] loss`` names it.
    maker
        Path of its class, ``"module:class"``.
    formula
        Formula of one sample and class, or of one voxel; see ``SYMBOLS``.
    use
        What it is good for, and what it needs beside it.
    source
        The paper it comes from, with equation or section where it matters.
    equals
        What its numbers are tested to equal.
    wraps
        The function of MONAI that computes it, or a part of it; empty for our own code.
    """

    name: str
    maker: str
    formula: str
    use: str
    source: str
    equals: str
    wraps: str = ""

    @property
    def class_name(self) -> str:
        """Name of the class in ``itkit.criterion``."""
        return self.maker.partition(":")[2]


SYMBOLS = (
    "p: probability; t: truth, 0 or 1, or a share; Σ: sum over the voxels of a sample (with `batch`: of the batch); "
    "s: `smooth`; FP = Σp - Σpt; FN = Σt - Σpt; w: weights of classes"
)
_MODULES = "itkit.criterion.modules"

CARDS = (
    LossCard(
        name="dice",
        maker=f"{_MODULES}:DiceLoss",
        formula="1 - (2 Σpt + s) / (Σp + Σt + s); with `squared` Σp² + Σt²",
        use="The usual overlap loss; alone it forgets calibration.",
        source="Milletari et al., V-Net, 3DV 2016, arXiv:1606.04797; soft labels: Wang and Blaschko, arXiv:2303.16296",
        equals="MONAI's DiceLoss; 1 plus nnU-Net's soft Dice",
    ),
    LossCard(
        name="jaccard",
        maker=f"{_MODULES}:JaccardLoss",
        formula="1 - (2 Σpt + s) / (2 (Σpt + FP + FN) + s)",
        use="Asks more of a class that is nearly right than Dice does.",
        source="Rahman and Wang, ISVC 2016, doi:10.1007/978-3-319-50835-1_22; Wang et al., arXiv:2302.05666",
        equals="MONAI's DiceLoss(jaccard=True)",
    ),
    LossCard(
        name="generalized_dice",
        maker=f"{_MODULES}:GeneralizedDiceLoss",
        formula="1 - (2 Σ_c w_c Σpt + s) / (Σ_c w_c (Σp + Σt) + s), w_c = 1 / (Σt)², 1 / Σt or 1",
        use="Classes of very different size; rare ones dominate.",
        source="Sudre et al., DLMIA 2017, arXiv:1707.03237",
        equals="MONAI's GeneralizedDiceLoss",
        wraps="monai.losses.GeneralizedDiceLoss",
    ),
    LossCard(
        name="tversky",
        maker=f"{_MODULES}:TverskyLoss",
        formula="(1 - (Σpt + s) / (Σpt + alpha FP + beta FN + s))^gamma",
        use="With beta above alpha it finds more of small structures, at the price of false positives.",
        source="Salehi et al., MLMI 2017, arXiv:1706.05721",
        equals="MONAI's TverskyLoss",
    ),
    LossCard(
        name="focal_tversky",
        maker=f"{_MODULES}:FocalTverskyLoss",
        formula="(1 - (Σpt + s) / (Σpt + alpha FP + beta FN + s))^gamma, gamma = 3/4",
        use="As Tversky; classes that are nearly right keep their gradient.",
        source="Abraham and Khan, ISBI 2019, arXiv:1810.07842 (its gamma is the inverse, 4/3)",
        equals="the formula, in numpy",
    ),
    LossCard(
        name="lovasz",
        maker=f"{_MODULES}:LovaszLoss",
        formula="Σ_i m_(i) g_i, m = sorted |t - p|, g = slopes of the Jaccard loss in this order",
        use="Optimises the IoU itself; best to fine-tune with.",
        source="Berman et al., CVPR 2018, arXiv:1705.08790, eq. 9",
        equals="segmentation_models_pytorch's LovaszLoss(per_image=True)",
    ),
    LossCard(
        name="cross_entropy",
        maker=f"{_MODULES}:CrossEntropyLoss",
        formula="-Σ w_t log p_t / Σ w_t",
        use="Smooth and calibrated; rare classes need weights or an overlap loss beside it.",
        source="Label smoothing: Szegedy et al., CVPR 2016, arXiv:1512.00567",
        equals="torch.nn.functional.cross_entropy and binary_cross_entropy_with_logits",
    ),
    LossCard(
        name="top_k",
        maker=f"{_MODULES}:TopKLoss",
        formula="mean of the k % greatest -log p_t, k = 10",
        use="Large volumes of easy voxels; usually beside Dice (dice_ce with top_k).",
        source="Wu et al., arXiv:1605.06885; Ma et al., Loss odyssey, Medical Image Analysis 2021, "
        "doi:10.1016/j.media.2021.102035",
        equals="nnU-Net's TopKLoss (in DC_and_topk_loss)",
    ),
    LossCard(
        name="focal",
        maker=f"{_MODULES}:FocalLoss",
        formula="-alpha_t (1 - p_t)^gamma log p_t, averaged over voxels and channels",
        use="Many easy voxels; alone or beside Dice.",
        source="Lin et al., ICCV 2017, arXiv:1708.02002, eq. 5; soft labels: Li et al., arXiv:2006.04388",
        equals="MONAI's FocalLoss, softmax and sigmoid",
    ),
    LossCard(
        name="surface_ce",
        maker=f"{_MODULES}:SurfaceCELoss",
        formula="-Σ w log p_t / Σ w, w = 1 + w0 exp(-d² / (2 sigma²)), d = distance to the next class",
        use="Sharper borders, in mm with `spacing`.",
        source="Ronneberger et al., U-Net, MICCAI 2015, arXiv:1505.04597, eq. 2",
        equals="the formula, with scipy's distances",
    ),
    LossCard(
        name="boundary",
        maker=f"{_MODULES}:BoundaryLoss",
        formula="mean of p φ, φ = signed distance to the truth's boundary, negative inside",
        use="Very small structures; never alone: beside dice or generalized_dice, its weight raised slowly.",
        source="Kervadec et al., MIDL 2019, arXiv:1812.07032",
        equals="MONAI's BoundaryLoss",
    ),
    LossCard(
        name="hausdorff_dt",
        maker=f"{_MODULES}:HausdorffDTLoss",
        formula="mean of (p - t)² (d_p^alpha + d_t^alpha), d = distances to the boundaries of prediction and truth",
        use="Lowers the greatest distances; beside an overlap loss, late in training.",
        source="Karimi and Salcudean, IEEE TMI 2020, arXiv:1904.10030, eq. 8",
        equals="MONAI's HausdorffDTLoss",
    ),
    LossCard(
        name="log_hausdorff_dt",
        maker=f"{_MODULES}:LogHausdorffDTLoss",
        formula="log(1 + hausdorff_dt)",
        use="The same on a scale near that of Dice.",
        source="Karimi and Salcudean, IEEE TMI 2020, arXiv:1904.10030; the logarithm is MONAI's",
        equals="MONAI's LogHausdorffDTLoss",
    ),
    LossCard(
        name="cldice",
        maker=f"{_MODULES}:ClDiceLoss",
        formula="1 - 2 T_p T_s / (T_p + T_s), T_p = Σ S(p) t / Σ S(p), T_s = Σ S(t) p / Σ S(t), S = soft skeleton",
        use="Vessels and airways that must stay connected; beside Dice.",
        source="Shit et al., CVPR 2021, arXiv:2003.07311",
        equals="MONAI's SoftclDiceLoss",
        wraps="monai.losses.cldice.soft_skel",
    ),
    LossCard(
        name="dice_ce",
        maker=f"{_MODULES}:DiceCELoss",
        formula="a · dice + b · cross_entropy",
        use="The default: robust for most tasks.",
        source="Isensee et al., nnU-Net, Nature Methods 2021, doi:10.1038/s41592-020-01008-z",
        equals="MONAI's DiceCELoss; 1 plus nnU-Net's DC_and_CE_loss and DC_and_topk_loss",
    ),
    LossCard(
        name="dice_focal",
        maker=f"{_MODULES}:DiceFocalLoss",
        formula="a · dice + b · focal (of each class's yes-or-no question)",
        use="As dice_ce, with many easy voxels.",
        source="Zhu et al., AnatomyNet, Medical Physics 2019, arXiv:1808.05238",
        equals="MONAI's DiceFocalLoss",
    ),
    LossCard(
        name="dice_cldice",
        maker=f"{_MODULES}:DiceClDiceLoss",
        formula="(1 - alpha) dice + alpha cldice",
        use="Vessels and airways.",
        source="Shit et al., CVPR 2021, arXiv:2003.07311, eq. 4",
        equals="MONAI's SoftDiceclDiceLoss",
        wraps="monai.losses.cldice.soft_skel",
    ),
    LossCard(
        name="dconnnet",
        maker="itkit.criterion.dconnnet:DconnLoss",
        formula="cross entropy and Dice of the voted map, cross entropies of links and votes, weakest votes at edges",
        use="What DconnNet's authors train with; its links, or any network's class logits (2-D).",
        source="Yang and Farsiu, CVPR 2023, arXiv:2304.00145",
        equals="the authors' connect_loss",
    ),
    LossCard(
        name="ege_unet",
        maker="itkit.criterion.ege_unet:EGEUNetLoss",
        formula="Σ levels λ (cross entropy + dice), λ = 0.1 to 0.5, main map 1",
        use="What EGE-UNet's authors train with.",
        source="Ruan et al., MICCAI 2023, arXiv:2307.08473",
        equals="the authors' GT_BceDiceLoss",
    ),
    LossCard(
        name="unet3plus",
        maker="itkit.criterion.unet3plus:UNet3PlusLoss",
        formula="focal + (1 - MS-SSIM) + IoU, summed over outputs",
        use="What UNet 3+ is trained with; sides of at least 32.",
        source="Huang et al., ICASSP 2020, arXiv:2004.08790, section 2.2; SSIM: Wang et al., IEEE TIP 2004",
        equals="the authors' IOU, SSIM and MS-SSIM",
    ),
)
"""Our losses, in the order of the page; those with a network's name are the ones that its authors train it with."""

OPTIONS: Mapping[str, str] = {
    "alpha": "weight of false positives (Tversky), of true answers (focal), of the centre-line term (clDice), or the "
    "exponent of distances (Hausdorff)",
    "batch": "sum over the batch before dividing, instead of over each sample",
    "bce_weight": "weight of the binary cross entropy",
    "beta": "weight of false negatives",
    "bicon_weight": "weight of the cross entropy of the votes",
    "ce_weight": "weight of the cross entropy",
    "class_weights": "one weight for each class, the background first; with one logit two (class 0, class 1)",
    "coarse_weight": "weight of the coarse map",
    "density": "a `SizeDensity`: weighs the Dice of each image by how rare its size is",
    "dice_weight": "weight of the Dice term",
    "focal_softmax": "let the focal term take the softmax, too",
    "focal_weight": "weight of the focal term",
    "gamma": "exponent of what is missing",
    "ignore_index": "class number of voxels that count nowhere",
    "include_background": "count class 0 (in the Dice term of a sum)",
    "iterations": "erosions of the skeleton",
    "label_smoothing": "share of the truth that is spread over all classes",
    "level_weights": "weights of the auxiliary maps, deepest first",
    "logarithm": "return log(1 + loss)",
    "num_classes": "tells connectivity logits from class logits",
    "only_present": "average over the classes that the truth holds",
    "sigma": "reach of the surface's weight, in the unit of `spacing`",
    "sigmoid": "ask of each class whether it is there: classes may overlap (BraTS regions)",
    "smooth": "added to numerator and denominator",
    "smooth_mean": "added to the denominator of the harmonic mean",
    "spacing": "distances between voxel centres along the spatial axes (Z Y X or Y X), mm; else 1 each",
    "split_z": "average over the slices of volumes, each on its own",
    "squared": "square probabilities and truth in the denominator",
    "surface_weight": "weight at a surface, added to 1",
    "top_k": "percentage of voxels, those with the greatest loss, that are averaged",
    "weighting": "weight of a class by its size: square, simple or uniform",
    "weights": "weights of focal, MS-SSIM and IoU term",
}
"""Meaning of the losses' options."""
