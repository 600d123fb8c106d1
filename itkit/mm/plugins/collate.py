"""Batches of datasets whose items hold several samples each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from mmengine.structures import BaseDataElement

from itkit.core.errors import ArgumentError

_INPUTS, _SAMPLES = "inputs", "data_samples"


@FUNCTIONS.register_module()
def multi_sample_collate(data_batch: Sequence[Any]) -> dict[str, Any]:
    """Collate items each of which holds one or several samples, e.g. all patches that were cut from one volume.

    Parameters
    ----------
    data_batch
        Items of a dataset. An item is a sample ``{"inputs": …, "data_samples": …}``; a list of samples, also nested; or
        one dictionary with a list of inputs and a (possibly nested) list of as many data samples.

    Returns
    -------
    dict
        ``inputs``, ``data_samples`` and other keys, each a list with one entry a sample. Its length is the batch size:
        a loader with ``batch_size`` 4 whose items hold 3 samples each gives batches of 12.

    Raises
    ------
    ArgumentError
        When an item holds other numbers of inputs and data samples, or something else than samples.
    """
    samples = [sample for item in data_batch for sample in _samples(item)]
    if not samples:
        raise ArgumentError("multi_sample_collate: the batch holds no sample")
    keys = samples[0].keys()
    if strange := next((sample for sample in samples if sample.keys() != keys), None):
        raise ArgumentError(
            f"multi_sample_collate: samples differ in their keys: {sorted(map(str, keys))}, {sorted(map(str, strange))}"
        )
    collated = pseudo_collate(samples)
    return {key: list(values) if isinstance(values, tuple) else values for key, values in collated.items()}


def _samples(item: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(item, Mapping):
        inputs = item.get(_INPUTS)
        if not isinstance(inputs, list | tuple):
            yield item
            return
        flat = {key: list(_flat(value)) if isinstance(value, list | tuple) else value for key, value in item.items()}
        count = len(flat[_INPUTS])
        for key, values in flat.items():
            if not isinstance(values, list) or len(values) != count:
                found = len(values) if isinstance(values, list) else "one value"
                raise ArgumentError(f"multi_sample_collate: an item has {count} inputs, but {key!r} has {found}")
        yield from ({key: values[number] for key, values in flat.items()} for number in range(count))
    elif isinstance(item, list | tuple):
        for inner in item:
            yield from _samples(inner)
    else:
        raise ArgumentError(f"multi_sample_collate: expected dictionaries or lists of them; got {type(item).__name__}")


def _flat(values: Any) -> Iterator[Any]:
    """Yield what nested lists hold; a data element is one value."""
    if isinstance(values, list | tuple) and not isinstance(values, BaseDataElement):
        for value in values:
            yield from _flat(value)
    else:
        yield values
