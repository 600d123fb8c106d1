"""Released weights into our networks, with a report of what happened to every tensor."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itkit.core.errors import WeightsError
from itkit.core.text import some
from itkit.models.adapt import Rules, adapt
from itkit.models.checkpoints import read_weights
from itkit.models.download import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

LOGGER = logging.getLogger(__name__)
_FILE_PREFIXES = ("", "model.", "network.", "net.", "backbone.", "encoder.", "encoder_q.", "module.encoder_q.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A tensor that was changed, or deliberately left, because shapes differ."""

    key: str
    how: str
    found: tuple[int, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What happened to each tensor of a file and of a network.

    Attributes
    ----------
    source
        The path or URL.
    removed, added
        Prefix taken from the file's names, and prefix put before them.
    matched
        Names copied as they are.
    adapted
        Tensors changed to fit, each with how.
    mismatched
        Tensors of a shape that no rule adapts; the network keeps its own.
    missing
        Names of the network that the file lacks; the network keeps its own.
    unexpected
        Names of the file that the network lacks.
    """

    source: str
    removed: str = ""
    added: str = ""
    matched: tuple[str, ...] = ()
    adapted: tuple[Adapted, ...] = ()
    mismatched: tuple[Adapted, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every tensor of the network came from the file, and none of the file is left over."""
        return not (self.mismatched or self.missing or self.unexpected)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.matched)} tensors copied"]
        if self.removed or self.added:
            lines.append(f"  names: {self.removed or '(nothing)'} removed, {self.added or '(nothing)'} added")
        lines += [f"  {item.key}: {item.how} {item.found} -> {item.wanted}" for item in self.adapted]
        lines += [f"  {item.key}: not loaded, {item.found} in the file, {item.wanted} here" for item in self.mismatched]
        for title, keys in (("not in the file", self.missing), ("only in the file", self.unexpected)):
            if keys:
                lines.append(f"  {title}: {some(keys, most=5)}")
        return "\n".join(lines)


def load_pretrained(
    model: nn.Module,
    source: str | Path,
    *,
    entry: str | None = None,
    sha256: str | None = None,
    cache_dir: str | Path | None = None,
    strict: bool = False,
    head: str = "new",
    inflate: str = "mean",
    resize_kernels: bool = False,
) -> LoadReport:
    """Fill a network with weights from a file or URL, adapting what differs.

    The weights may stand under an entry such as ``state_dict`` or ``network_weights``, and their names may begin with a
    prefix such as ``module.``; both are found. An encoder's file fills the encoder of an encoder-decoder. No code
    in the file is executed.

    Parameters
    ----------
    model
        Network to fill in place, from :func:`itkit.models.create_model` or any module.
    source
        Path, ``file://``, ``http://`` or ``https://`` URL; downloads are kept in ``~/.cache/itkit``.
    entry
        Entry of the file that holds the weights, when there are several (``"teacher"``, ``"ema.model"``).
    sha256
        Expected digest of the file.
    cache_dir
        Another folder for downloads.
    strict
        Refuse a file that leaves anything missing, unexpected or mismatched; adaptations are allowed.
    head
        With another number of classes: ``"new"`` leaves the head as initialised, ``"copy"`` copies the first classes.
    inflate
        2-D kernels in a 3-D network: ``"mean"`` spreads them over depth, ``"centre"`` fills the middle plane alone.
    resize_kernels
        Resize kernels of another size linearly, as UpKern does.

    Returns
    -------
    LoadReport
        Which tensors were copied, adapted, mismatched, missing and unexpected.

    Raises
    ------
    WeightsError
        When the file is unsafe or damaged, when none of its tensors fits, or when ``strict`` is not met. The network
        is then unchanged.
    """
    for name, value, allowed in (("head", head, {"new", "copy"}), ("inflate", inflate, {"mean", "centre"})):
        if value not in allowed:
            raise ValueError(f"{name} must be {' or '.join(sorted(allowed))}; got {value!r}")
    weights = read_weights(fetch(str(source), sha256=sha256, cache_dir=cache_dir), entry=entry)
    size = getattr(model, "image_size", None)
    rules = Rules(
        in_channels=getattr(model, "in_channels", None),
        num_classes=getattr(model, "num_classes", None),
        image_size=size if isinstance(size, tuple) else None,
        inflate=inflate,
        head=head,
        resize_kernels=resize_kernels,
    )
    state, report = _fit(model, weights, str(source), rules)
    if not report.matched and not report.adapted:
        raise WeightsError(
            f"{source}: none of its {len(weights)} tensors fits; its names look like {_examples(weights)}, "
            f"the network's like {_examples(model.state_dict())}"
        )
    if strict and not report.complete:
        raise WeightsError(f"not loaded, because strict is set: {report}")
    model.load_state_dict(state)
    LOGGER.info("%s", report)
    return report


def _fit(
    model: nn.Module, weights: Mapping[str, Tensor], source: str, rules: Rules
) -> tuple[dict[str, Tensor], LoadReport]:
    state: dict[str, Tensor] = model.state_dict()
    weights = _converted(model, weights)
    removed, added = _best_prefixes(model, state, weights)
    others = [key for key in weights if not key.startswith(removed)]
    kept = {added + key.removeprefix(removed): weights[key] for key in weights if key.startswith(removed)}
    if removed or added:
        kept = dict(_converted(model, kept))
    matched, adapted, mismatched = [], [], []
    for key in [key for key in state if key in kept]:
        target = state[key]
        fitted = adapt(key, kept[key], target, model.get_submodule(key.rpartition(".")[0]), rules)
        value, how = fitted if fitted is not None else (target, "")
        state[key] = value.to(target.dtype).contiguous()
        entry = Adapted(key=key, how=how, found=tuple(kept[key].shape), wanted=tuple(target.shape))
        if fitted is None:
            mismatched.append(entry)
        elif how:
            adapted.append(entry)
        else:
            matched.append(key)
    report = LoadReport(
        source=source,
        removed=removed,
        added=added,
        matched=tuple(matched),
        adapted=tuple(adapted),
        mismatched=tuple(mismatched),
        missing=tuple(key for key in state if key not in kept),
        unexpected=(*others, *(removed + key.removeprefix(added) for key in kept if key not in state)),
    )
    return state, report


def _converted(model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    convert = getattr(getattr(model, "network", model), "adapt_state_dict", None)
    return weights if convert is None else convert(weights)


def _best_prefixes(model: nn.Module, state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[str, str]:
    """Find the prefix change that matches most names; of equal ones the first, so that names stay when they can."""
    best, best_score = ("", ""), (-1, -1)
    for removed in _FILE_PREFIXES:
        keys = [key for key in weights if key.startswith(removed)]
        for added in _model_prefixes(model) if keys else ():
            pairs = [(weights[key], state.get(added + key.removeprefix(removed))) for key in keys]
            same = sum(target is not None and target.shape == value.shape for value, target in pairs)
            score = (same, sum(target is not None for _, target in pairs))
            if score > best_score:
                best, best_score = (removed, added), score
        if best_score[1] >= min(len(state), len(weights)):
            break
    return best


def _model_prefixes(model: nn.Module) -> Iterator[str]:
    """List what can stand before an encoder's names: nothing, or a module at most two levels down."""
    yield ""
    for name, module in model.named_modules():
        if name and name.count(".") < 2 and next(module.children(), None) is not None:
            yield f"{name}."


def _examples(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(list(weights)[:3])
