"""Released weights into our networks, with a report of what happened to every tensor."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from itkit.core.arguments import expect
from itkit.core.errors import WeightsError
from itkit.core.text import shown, some
from itkit.models.adapt import Rules, adapt
from itkit.models.checkpoints import read_weights
from itkit.models.download import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

LOGGER = logging.getLogger(__name__)
_TOLD_BELOW = 0.95
"""A smaller share of a network's tensors or parameters is told with a warning."""
_REFUSED_BELOW = 0.5
"""Smaller shares of both are refused, unless ``partial`` is set."""
_LEAST_COVER = 0.2
"""A prefix counts as one when this share of a file's names has it: half have it where a file holds two encoders."""
_MOST_LEVELS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A tensor that was changed, or deliberately left, because shapes differ.

    Attributes
    ----------
    key
        Its name in the network.
    how
        What was done, or why nothing could be done.
    found, wanted
        Shapes in the file and in the network.
    filled
        Whether its values come from the file; those of a new head do not.
    """

    key: str
    how: str
    found: tuple[int, ...]
    wanted: tuple[int, ...]
    filled: bool = True


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
        Tensors changed to fit, or a head left as it was for other classes, each with how.
    mismatched
        Tensors of a shape that no rule adapts; the network keeps its own.
    missing
        Names of the network that the file lacks; the network keeps its own.
    unexpected
        Names of the file that the network lacks.
    share_tensors, share_parameters
        Share of the network's tensors, and of its parameters' values, that come from the file: 0 to 1.
    share_mismatched
        Share of its parameters' values whose tensors have another shape in the file.
    """

    source: str
    removed: str = ""
    added: str = ""
    matched: tuple[str, ...] = ()
    adapted: tuple[Adapted, ...] = ()
    mismatched: tuple[Adapted, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    share_tensors: float = 1.0
    share_parameters: float = 1.0
    share_mismatched: float = 0.0

    @property
    def random(self) -> tuple[str, ...]:
        """Names of the network's tensors that do not come from the file and keep their initial values."""
        left = (item.key for item in (*self.adapted, *self.mismatched) if item in self.mismatched or not item.filled)
        return (*left, *self.missing)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the network came from the file, and none of the file is left over."""
        return not (self.random or self.unexpected)

    @property
    def shares(self) -> str:
        """Text that says how much of the network came from the file."""
        tensors, parameters = (f"{share:.1%}" for share in (self.share_tensors, self.share_parameters))
        return f"{tensors} of the network's tensors and {parameters} of its parameters come from the file"

    def __str__(self) -> str:
        filled = sum(item.filled for item in self.adapted)
        lines = [f"{self.source}: {len(self.matched) + filled} tensors loaded, {filled} of them adapted; {self.shares}"]
        if self.removed or self.added:
            lines.append(f"  names: {self.removed or '(nothing)'} removed, {self.added or '(nothing)'} added")
        lines += [f"  {item.key}: {item.how} {item.found} -> {item.wanted}" for item in self.adapted]
        lines += [f"  {item.key}: not loaded, {_differ(item)}" for item in self.mismatched]
        for title, keys in (("not in the file", self.missing), ("only in the file", self.unexpected)):
            if keys:
                lines.append(f"  {title}: {some(map(shown, keys), most=5)}")
        return "\n".join(lines)


def load_pretrained(
    model: nn.Module,
    source: str | Path,
    *,
    entry: str | None = None,
    prefix: str | None = None,
    form: str | None = None,
    sha256: str | None = None,
    cache_dir: str | Path | None = None,
    strict: bool = False,
    partial: bool = False,
    head: str = "new",
    inflate: str = "mean",
    resize_kernels: bool = False,
    position_grid: tuple[int, ...] | None = None,
) -> LoadReport:
    """Fill a network with weights from a file or URL, adapting what differs.

    The weights may stand under an entry such as ``state_dict`` or ``network_weights``, and their names may begin with a
    prefix such as ``module.`` or ``model.net.``; both are found. Names of the authors' releases, and those of other
    libraries where a network knows them, become the network's own. An encoder's file fills the encoder of an
    encoder-decoder. No code in the file is executed.

    Parameters
    ----------
    model
        Network to fill in place, from :func:`itkit.models.create_model` or any module.
    source
        Path, ``file://``, ``http://`` or ``https://`` URL; downloads are kept in ``~/.cache/itkit``.
    entry
        Entry of the file that holds the weights, when there are several (``"teacher"``, ``"ema.model"``).
    prefix
        What the names of the wanted weights begin with, when several networks are in the file; by default the prefix
        with which most names fit.
    form
        How the file's weights were trained, where its names do not tell: EfficientNet's ``"timm_tf"`` or ``"timm"``.
    sha256
        Expected digest of the file.
    cache_dir
        Another folder for downloads.
    strict
        Refuse a file that leaves anything missing, unexpected, mismatched or as initialised; adaptations are allowed.
    partial
        Accept a file from which less than half of the network comes.
    head
        With another number of classes: ``"new"`` leaves the head as initialised, ``"copy"`` copies the first classes.
    inflate
        2-D kernels in a 3-D network: ``"mean"`` spreads them over depth, ``"centre"`` fills the middle plane alone.
    resize_kernels
        Resize kernels of another size linearly, as UpKern does.
    position_grid
        Patches a side, ZYX or YX, for which the file's position embeddings were trained; by default equal sides, or
        those of the network's proportions.

    Returns
    -------
    LoadReport
        Which tensors were copied, adapted, mismatched, missing and unexpected, and what share of the network that is. A
        share below 95 % is also logged as a warning.

    Raises
    ------
    WeightsError
        When the file is no file of weights or damaged, when none of its tensors fits, when less than half of the
        network's tensors and of its parameters come from it or more than half of the parameters have another shape
        (unless ``partial`` is set), when weights are not numbers, or when ``strict`` is not met. The network is then
        unchanged.
    """
    expect(prefix, (str, type(None)), "load_pretrained: prefix", "a text or None")
    for name, flag in (("strict", strict), ("partial", partial), ("resize_kernels", resize_kernels)):
        expect(flag, bool, f"load_pretrained: {name}", "True or False")
    for name, value, allowed in (("head", head, {"new", "copy"}), ("inflate", inflate, {"mean", "centre"})):
        if value not in allowed:
            raise ValueError(f"{name} must be {' or '.join(sorted(allowed))}; got {value!r}")
    weights = read_weights(fetch(str(source), sha256=sha256, cache_dir=cache_dir), entry=entry)
    network = getattr(model, "network", model)
    check_form = getattr(network, "check_form", None)
    if check_form is not None:
        check_form(weights, str(source), form)
    elif form is not None:
        raise ValueError(f"form: this network takes weights of one form only; leave out form={form!r}")
    state, report = _fit(
        model, weights, str(source), _rules(model, head, inflate, resize_kernels, position_grid), prefix
    )
    if not report.matched and not report.adapted:
        first = next(iter(report.mismatched), None)
        known = "" if first is None else f"{shown(first.key)}: {_differ(first)}; "
        raise WeightsError(
            f"{source}: none of its {len(weights)} tensors fits; {known}its names look like {_examples(weights)}, "
            f"the network's like {_examples(model.state_dict())}"
        )
    if strict and not report.complete:
        raise WeightsError(f"not loaded, because strict is set: {report}")
    if max(report.share_tensors, report.share_parameters) < _REFUSED_BELOW and not partial:
        raise WeightsError(
            f"{source}: not loaded: only {report.shares}; its names look like {_examples(weights)}, the network's like "
            f"{_examples(model.state_dict())}; set partial=True to load it all the same"
        )
    if report.share_mismatched > _REFUSED_BELOW and not partial:
        raise WeightsError(
            f"{source}: not loaded: its names fit, but it is of another configuration: {report.share_mismatched:.1%} "
            f"of the network's parameters differ in shape, first {shown(report.mismatched[0].key)}: "
            f"{_differ(report.mismatched[0])}; build the network as the file's, or set partial=True"
        )
    model.load_state_dict(state)
    if min(report.share_tensors, report.share_parameters) < _TOLD_BELOW:
        LOGGER.warning("%s: only %s; the others keep their initial values: %s", source, report.shares, _parts(report))
    LOGGER.info("%s", report)
    return report


def _rules(
    model: nn.Module, head: str, inflate: str, resize_kernels: bool, position_grid: tuple[int, ...] | None
) -> Rules:
    size = getattr(model, "image_size", None)
    card = getattr(model, "card", None)
    return Rules(
        head_keys=getattr(card, "head", ()),
        stem_keys=getattr(card, "stem", ()),
        head_inputs=getattr(card, "head_inputs", ()),
        in_channels=getattr(model, "in_channels", None),
        num_classes=getattr(model, "num_classes", None),
        image_size=size if isinstance(size, tuple) else None,
        position_grid=None if position_grid is None else tuple(position_grid),
        inflate=inflate,
        head=head,
        resize_kernels=resize_kernels,
    )


def _fit(
    model: nn.Module, weights: Mapping[str, Tensor], source: str, rules: Rules, prefix: str | None
) -> tuple[dict[str, Tensor], LoadReport]:
    state: dict[str, Tensor] = model.state_dict()
    weights = _converted(model, weights)
    removed, added, kept = _best_names(model, state, weights, source, prefix)
    others = [key for key in weights if not key.startswith(removed)]
    kept = _with_counters(state, kept)
    plugin = _of_plugin(model)
    matched, adapted, mismatched = [], [], []
    for key in [key for key in state if key in kept]:
        target, given = state[key], kept[key]
        _require_numbers(source, key, given)
        fitted = adapt(key, given, target, model.get_submodule(key.rpartition(".")[0]), rules)
        if fitted is not None and fitted.value is not None:
            state[key] = fitted.value.to(target.dtype).contiguous()
        filled = fitted is not None and fitted.value is not None
        how = (_why_not(key, given, target) or plugin) if fitted is None else fitted.how
        entry = Adapted(key=key, how=how, found=tuple(given.shape), wanted=tuple(target.shape), filled=filled)
        if fitted is None:
            mismatched.append(entry)
        elif how:
            adapted.append(entry)
        else:
            matched.append(key)
    filled_keys = {*matched, *(item.key for item in adapted if item.filled)}
    sizes = {key: parameter.numel() for key, parameter in model.named_parameters(remove_duplicate=False)}
    report = LoadReport(
        source=source,
        removed=removed,
        added=added,
        matched=tuple(matched),
        adapted=tuple(adapted),
        mismatched=tuple(mismatched),
        missing=tuple(key for key in state if key not in kept),
        unexpected=(*others, *(removed + key.removeprefix(added) for key in kept if key not in state)),
        share_tensors=len(filled_keys) / max(1, len(state)),
        share_parameters=sum(size for key, size in sizes.items() if key in filled_keys) / max(1, sum(sizes.values())),
        share_mismatched=sum(sizes.get(item.key, 0) for item in mismatched) / max(1, sum(sizes.values())),
    )
    return state, report


def _differ(item: Adapted) -> str:
    return f"{item.found} in the file, {item.wanted} here{item.how and f'; {item.how}'}"


def _why_not(key: str, given: Tensor, target: Tensor) -> str:
    if given.is_complex() and not target.is_complex():
        return "its values are complex numbers"
    if target.is_floating_point() and not given.is_floating_point():
        return f"its values are {str(given.dtype).removeprefix('torch.')}, as of a quantised network"
    if given.ndim == target.ndim > 2 and given.shape[:2] == target.shape[:2]:
        return "a kernel of another size; resize_kernels=True resizes it"
    if "pos" in key and given.ndim == target.ndim == 3:
        return "the grid of its positions can't be told from their number; name it with position_grid"
    return ""


def _of_plugin(model: nn.Module) -> str:
    """Say what a card of another package lacks, without which no head and no first layer is adapted."""
    card = getattr(model, "card", None)
    lacks = card is not None and not (card.head and card.stem)
    return "the card names no head and stem, so neither is adapted" if lacks else ""


def _require_numbers(source: str, key: str, value: Tensor) -> None:
    """Refuse weights that have become nan, as those of a training that diverged."""
    if value.is_floating_point() and value.numel():
        wrong = int(value.numel() - torch.isfinite(value.float()).sum())
        if wrong == value.numel():
            raise WeightsError(
                f"{source}: not loaded: all values of {shown(key)} are nan or infinite; take another file"
            )
        if wrong:
            LOGGER.warning("%s: %d of %d values of %s are nan or infinite", source, wrong, value.numel(), shown(key))


def _with_counters(state: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add counters of batches that files of before 2018 lack: torch starts them from 0, too."""
    counters = {
        key: torch.zeros_like(value, device="cpu")
        for key, value in state.items()
        if key.endswith(".num_batches_tracked")
        and key not in kept
        and key.replace("num_batches_tracked", "running_var") in kept
    }
    return {**kept, **counters}


def _converted(model: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    convert: Any = getattr(getattr(model, "network", model), "adapt_state_dict", None)
    return weights if convert is None else convert(weights)


def _best_names(
    model: nn.Module, state: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str, prefix: str | None
) -> tuple[str, str, dict[str, Tensor]]:
    """Find the change of prefix with which most names fit, and return it with the weights under their new names.

    Of equal ones the first counts, so that names stay when they can.
    """
    best, best_score = ("", "", dict(weights)), (-1, -1)
    for removed in _prefixes_of(weights) if prefix is None else [_given_prefix(prefix, weights, source)]:
        stripped = {key.removeprefix(removed): value for key, value in weights.items() if key.startswith(removed)}
        named = _converted(model, stripped)
        for added in _model_prefixes(model):
            pairs = [(value, state.get(added + key)) for key, value in named.items()]
            same = sum(target is not None and target.shape == value.shape for value, target in pairs)
            score = (same, sum(target is not None for _, target in pairs))
            if score > best_score:
                best, best_score = (removed, added, {added + key: value for key, value in named.items()}), score
            if score[1] >= min(len(state), len(named)):
                break
        if best_score[1] >= min(len(state), len(weights)):
            break
    removed, added, kept = best
    twin = _twin_of(removed, weights) if prefix is None else ""
    if twin:
        LOGGER.warning(
            "%s: it holds the same names after %s and after %s; the weights after %s are loaded, prefix=%r takes the "
            "others",
            source, shown(removed), shown(twin), shown(removed), twin,
        )  # fmt: skip
    return removed, added, dict(_converted(model, kept)) if added else kept


def _prefixes_of(weights: Mapping[str, Tensor]) -> list[str]:
    """List what the names of a file's networks may begin with: nothing, or the modules that hold a good part of it."""
    counts: Counter[str] = Counter()
    for key in weights:
        parts = key.split(".")[:-1]
        counts.update(".".join(parts[:levels]) + "." for levels in range(1, min(len(parts), _MOST_LEVELS) + 1))
    return ["", *(name for name, count in counts.items() if count >= _LEAST_COVER * len(weights))]


def _twin_of(removed: str, weights: Mapping[str, Tensor]) -> str:
    """Return another prefix of a file behind which all the names of the chosen one stand, as those of a teacher."""
    own = [key.removeprefix(removed) for key in weights if removed and key.startswith(removed)]
    others = (name for name in _prefixes_of(weights) if own and name and not name.startswith(removed))
    return next((name for name in others if all(name + key in weights for key in own)), "")


def _given_prefix(prefix: str, weights: Mapping[str, Tensor], source: str) -> str:
    dotted = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
    if not any(key.startswith(dotted) for key in weights):
        known = dict.fromkeys(key.partition(".")[0] for key in weights)
        raise WeightsError(
            f"{source}: no name begins with {dotted!r}; the names begin with {some(map(shown, known), most=8)}"
        )
    return dotted


def _model_prefixes(model: nn.Module) -> Iterator[str]:
    """List what can stand before an encoder's names: nothing, or a module at most two levels down."""
    yield ""
    for name, module in model.named_modules():
        if name and name.count(".") < 2 and next(module.children(), None) is not None:
            yield f"{name}."


def _parts(report: LoadReport) -> str:
    """Name the parts of a network that keep their initial values, and how many tensors of each."""
    counts = Counter(re.sub(r"\..*", "", key) for key in report.random)
    return some((f"{name} ({count})" for name, count in counts.most_common()), most=6)


def _examples(weights: Mapping[str, Tensor]) -> str:
    return ", ".join(shown(key) for key in list(weights)[:3])
