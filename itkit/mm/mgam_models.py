"""Segmentors for MMEngine: any network, several losses, sliding windows over whole volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from itkit.core.errors import ArgumentError, ModelError
from itkit.criterion import DeepSupervision, create_loss, list_losses
from itkit.mm.preprocessing import SegDataPreProcessor
from itkit.mm.structures import Seg2DDataSample, Seg3DDataSample, VolumeData
from itkit.models import create_model, list_models
from itkit.models.windows import Precision, SlidingWindow

_MOST_CLASSES_OF_A_BYTE = 256


@MODELS.register_module()
class mgam_Seg_Lite(BaseModel):  # noqa: N801 - a given name
    """A segmentor for slices or volumes.

    Parameters
    ----------
    backbone
        The network, which maps ``(N, C, …)`` to logits ``(N, K, …)`` (or, in training, to several, finest first): a
        module, a dictionary whose ``type`` is a class, a name in MMEngine's registry, or a name of ``itkit models``.
        A network of ours gets ``num_classes`` and ``spatial_dims`` unless they are given.
    criterion
        One or several losses: modules; dictionaries whose ``type`` is a class or a name of `itkit.criterion`, with an
        optional ``weight``; or such names.
    num_classes
        Number of classes, background included; 1 for a network with one logit.
    gt_sem_seg_key
        Field of the data samples that holds the truth.
    use_half
        Compute in half precision: float16 on a GPU, bfloat16 on a CPU; losses are computed in float32.
    binary_segment_threshold
        Probability above which a voxel belongs to class 1, for one logit (0.5) or two classes (the larger one).
    inference
        How windows lie: arguments of `itkit.models.windows.SlidingWindow` such as ``patch_size`` and ``overlap``;
        ``None``: the network sees images as a whole.
    inference_PatchSize, inference_PatchStride
        The same, as older configurations write it; the overlap is the largest that a stride asks for.
    keep_logits
        Keep the logits of all classes in the data samples of predictions.
    data_preprocessor
        Makes batches; default `SegDataPreProcessor`.
    init_cfg
        See MMEngine's ``BaseModule``.
    """

    spatial_dims: int | None = None
    """2 or 3; ``None``: both."""

    def __init__(
        self,
        backbone: Any,
        criterion: Any,
        num_classes: int,
        gt_sem_seg_key: str = "gt_sem_seg",
        *,
        use_half: bool = False,
        binary_segment_threshold: float | None = None,
        inference: Mapping[str, Any] | None = None,
        inference_PatchSize: Sequence[int] | None = None,  # noqa: N803 - a given name
        inference_PatchStride: Sequence[int] | None = None,  # noqa: N803 - a given name
        keep_logits: bool = False,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(SegDataPreProcessor() if data_preprocessor is None else data_preprocessor, init_cfg)
        if num_classes < 1:
            raise ArgumentError(f"num_classes: expected at least 1; got {num_classes}")
        if binary_segment_threshold is not None and (num_classes > 2 or not 0 <= binary_segment_threshold <= 1):
            raise ArgumentError(
                "binary_segment_threshold: expected a probability, with one or two classes; got "
                f"{binary_segment_threshold} with {num_classes}"
            )
        self.num_classes = num_classes
        self.gt_sem_seg_key = gt_sem_seg_key
        self.use_half = use_half
        self.binary_segment_threshold = binary_segment_threshold
        self.keep_logits = keep_logits
        self.backbone = self._network(backbone)
        self.criteria = nn.ModuleList()
        self.loss_weights: list[float] = []
        for one in [criterion] if isinstance(criterion, nn.Module | Mapping | str) else criterion:
            loss, weight = _criterion(one)
            self.criteria.append(loss)
            self.loss_weights.append(weight)
        self.loss_names = _names(self.criteria)
        self.inference = _windows(inference, inference_PatchSize, inference_PatchStride)
        if self.inference is not None:
            self._require_dims(len(self.inference["patch_size"]), "windows")
            SlidingWindow(**self.inference)  # names what is wrong

    def _network(self, backbone: Any) -> nn.Module:
        if isinstance(backbone, str):
            backbone = {"type": backbone}
        if isinstance(backbone, Mapping) and isinstance(backbone.get("type"), str):
            options = {key: value for key, value in backbone.items() if key != "type"}
            if backbone["type"] in list_models():
                dims = {} if self.spatial_dims is None else {"spatial_dims": self.spatial_dims}
                return create_model(backbone["type"], **{"num_classes": self.num_classes, **dims, **options})
        network = MODELS.build(backbone) if isinstance(backbone, Mapping) else backbone
        if not isinstance(network, nn.Module):
            raise ModelError(f"backbone: expected a module or how to build one; got {type(network).__name__}")
        return network

    def _require_dims(self, dims: int, what: str) -> None:
        if self.spatial_dims is not None and dims != self.spatial_dims:
            axes = "Z Y X" if self.spatial_dims == 3 else "Y X"
            raise ArgumentError(
                f"{type(self).__name__}: {what}: expected {self.spatial_dims} axes ({axes}); got {dims}"
            )

    def forward(
        self, inputs: Tensor | Sequence[Tensor], data_samples: Sequence[Any] | None = None, mode: str = "tensor"
    ) -> Any:
        """Compute a batch.

        Parameters
        ----------
        inputs
            ``(N, C, …)``, or ``N`` images ``(C, …)``.
        data_samples
            ``N`` data samples; needed for losses.
        mode
            ``"tensor"``: what the network puts out. ``"loss"``: each loss by name. ``"predict"``: the data samples with
            ``pred_sem_seg`` (and ``seg_logits``).

        Raises
        ------
        ArgumentError
            When the mode is unknown, or samples lack the truth.
        """
        first = inputs[0]
        self._require_dims(first.ndim - 1, "images")
        if mode == "predict":
            return self._predict(inputs, data_samples)
        batch = inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))
        with self._casting(batch.device):
            output = self.backbone(batch)
        if mode == "tensor":
            return output
        if mode == "loss":
            if data_samples is None:
                raise ArgumentError("mode loss: expected data samples with the truth")
            return self._losses(output, self._truth(data_samples, batch))
        raise ArgumentError(f"mode: expected tensor, loss or predict; got {mode!r}")

    def _casting(self, device: torch.device) -> AbstractContextManager[Any]:
        if not self.use_half:
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16 if device.type == "cpu" else torch.float16)

    def _truth(self, samples: Sequence[Any], batch: Tensor) -> Tensor:
        labels = []
        for number, sample in enumerate(samples):
            if self.gt_sem_seg_key not in sample:
                raise ArgumentError(f"sample {sample.get('case', number)}: no {self.gt_sem_seg_key} to learn from")
            data = getattr(sample, self.gt_sem_seg_key).data
            labels.append(data[0] if data.ndim == batch.ndim - 1 else data)
        truth = torch.stack(labels).to(batch.device).long()
        return (truth > 0).float()[:, None] if self.num_classes == 1 else truth

    def _losses(self, output: Any, truth: Tensor) -> dict[str, Tensor]:
        outputs = output.float() if isinstance(output, Tensor) else [one.float() for one in output]
        losses = {}
        with torch.autocast(truth.device.type, enabled=False):
            for name, loss, weight in zip(self.loss_names, self.criteria, self.loss_weights, strict=True):
                several = not isinstance(outputs, Tensor) and not isinstance(loss, DeepSupervision)
                value = DeepSupervision(loss)(outputs, truth) if several else loss(outputs, truth)
                losses[name] = value if weight == 1 else weight * value
        return losses

    def _predict(self, inputs: Any, samples: Sequence[Any] | None) -> list[Any]:
        images = list(inputs) if not isinstance(inputs, Tensor) else list(inputs.unbind(0))
        flat = images[0].ndim == 3
        kind = Seg2DDataSample if flat else Seg3DDataSample
        samples = [kind() for _ in images] if samples is None else list(samples)
        for image, sample in zip(images, samples, strict=True):
            labels, logits = self.segment(image)
            data = _data_class(sample, flat=flat)
            sample.pred_sem_seg = data(data=labels[None])
            if logits is not None:
                sample.seg_logits = data(data=logits)
        return samples

    @torch.no_grad()
    def segment(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the classes of an image ``(C, …)``, and the logits ``(K, …)`` if they are to be kept."""
        flat = image.ndim == 3
        volume = image[None, :, None] if flat else image[None]
        if self.inference is None:
            with self._casting(image.device):
                made = self.backbone(image[None])
            whole = (made if isinstance(made, Tensor) else made[0]).float()
            whole = whole[:, :, None] if flat else whole
            classes, logits = self.classes_of(whole), whole
        else:
            windows = SlidingWindow(**{"precision": self._precision(image.device), **self.inference})
            is_plain = self.num_classes > 1 and self.binary_segment_threshold is None and not self.keep_logits
            if is_plain:  # the logits are never in memory as a whole
                classes, logits = windows.labels(self.backbone, volume), volume
            else:
                logits = windows.logits(self.backbone, volume)
                classes = self.classes_of(logits)
        kept = logits[0] if self.keep_logits else None
        if flat:
            return classes[0, 0], None if kept is None else kept[:, 0]
        return classes[0], kept

    def _precision(self, device: torch.device) -> Precision:
        if not self.use_half:
            return "32"
        return "bf16" if device.type == "cpu" else "16"

    def classes_of(self, logits: Tensor) -> Tensor:
        """Return the class of each voxel, uint8 (int16 above 256 classes), of logits ``(N, K, …)``."""
        if self.num_classes == 1:
            limit = 0.5 if self.binary_segment_threshold is None else self.binary_segment_threshold
            return (logits[:, 0].sigmoid() > limit).to(torch.uint8)
        if self.binary_segment_threshold is not None:
            return (logits.softmax(1)[:, 1] > self.binary_segment_threshold).to(torch.uint8)
        return logits.argmax(1).to(torch.uint8 if logits.shape[1] <= _MOST_CLASSES_OF_A_BYTE else torch.int16)


@MODELS.register_module()
class mgam_Seg2D_Lite(mgam_Seg_Lite):  # noqa: N801 - a given name
    """A segmentor for slices ``(N, C, Y, X)``; see `mgam_Seg_Lite`."""

    spatial_dims = 2


@MODELS.register_module()
class mgam_Seg3D_Lite(mgam_Seg_Lite):  # noqa: N801 - a given name
    """A segmentor for volumes ``(N, C, Z, Y, X)``; see `mgam_Seg_Lite`."""

    spatial_dims = 3


def _criterion(given: Any) -> tuple[nn.Module, float]:
    """Build a loss; return it with its weight."""
    if isinstance(given, nn.Module):
        return given, 1.0
    options = {"type": given} if isinstance(given, str) else dict(given)
    weight = float(options.pop("weight", 1.0)) if options.get("type") in list_losses() or "weight" in options else 1.0
    kind = options.get("type")
    if isinstance(kind, str) and kind in list_losses():
        return create_loss(kind, **{key: value for key, value in options.items() if key != "type"}), weight
    try:
        loss = MODELS.build(options)
    except KeyError as error:
        raise ModelError(f"criterion: no loss is called {kind!r} (itkit.criterion.list_losses() has ours)") from error
    if not isinstance(loss, nn.Module):
        raise ModelError(f"criterion: expected a module; {kind!r} made {type(loss).__name__}")
    return loss, weight


def _names(losses: Sequence[nn.Module] | nn.ModuleList) -> list[str]:
    """Name each loss by its class; two of one class get numbers."""
    names = [f"loss_{type(loss).__name__}" for loss in losses]
    counts, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        result.append(f"{name}_{seen[name]}" if counts[name] > 1 else name)
        seen[name] += 1
    return result


def _windows(
    inference: Mapping[str, Any] | None, size: Sequence[int] | None, stride: Sequence[int] | None
) -> dict[str, Any] | None:
    if inference is not None and size is not None:
        raise ArgumentError("give inference or inference_PatchSize, not both")
    if inference is not None:
        return dict(inference)
    if size is None:
        if stride is not None:
            raise ArgumentError("inference_PatchStride: give inference_PatchSize, too")
        return None
    steps = size if stride is None else stride
    if len(steps) != len(size) or any(not 0 < step <= side for step, side in zip(steps, size, strict=True)):
        raise ArgumentError(
            f"inference_PatchStride: expected steps of 1 to the patch's sides {tuple(size)}; got {steps}"
        )
    return {"patch_size": tuple(size), "overlap": max(1 - step / side for step, side in zip(steps, size, strict=True))}


def _data_class(sample: BaseDataElement, *, flat: bool) -> type[BaseDataElement]:
    kind = getattr(sample, "kind", None)
    if kind is not None:
        return kind  # type: ignore[no-any-return]
    return PixelData if flat else VolumeData
