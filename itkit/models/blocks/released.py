"""Released weights of encoders in networks that add a decoder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, cast

from itkit.models.decoders import EncoderDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor


class _Adapts(Protocol):
    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]: ...


class ReleasedEncoderDecoder(EncoderDecoder):
    """Encoder and decoder that also take the files of the encoder alone.

    The encoder has a method ``adapt_state_dict`` that converts every known layout to its own names.
    """

    def adapt_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert weights of the whole network, or of the encoder alone, to this network's names.

        Weights whose names are unknown stay as they are.
        """
        inner = under(state, "encoder.")
        adapted = cast("_Adapts", self.encoder).adapt_state_dict(inner)
        own = self.encoder.state_dict()
        if not any(key in own for key in adapted):
            return dict(state)
        whole = any(key.startswith("encoder.") for key in state)
        rest = {key: value for key, value in state.items() if whole and not key.startswith("encoder.")}
        return {f"encoder.{key}": value for key, value in adapted.items()} | rest


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries whose names start with a prefix, without it; all entries where none does.

    Examples
    --------
    >>> under({"backbone.a": 1, "head.b": 2}, "backbone."), under({"a": 1}, "backbone.")
    ({'a': 1}, {'a': 1})
    """
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return found or dict(state)


def rename(key: str, rules: Iterable[tuple[str, str]]) -> str:
    """Apply substitutions of regular expressions to a name, one after the other.

    Examples
    --------
    >>> rename("stem.conv", [(r"^stem", "patch"), (r"conv$", "proj")])
    'patch.proj'
    """
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
