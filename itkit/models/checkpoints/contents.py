"""Where the weights stand in what a file holds."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from itkit.core.text import shown, some
from itkit.models.checkpoints.stored import StoredArray, StoredTensor, as_tensor
from itkit.models.checkpoints.unpickler import Name, Placeholder

WRAPPERS = (
    "state_dict", "model_state_dict", "network_weights", "model_state", "model", "network", "net", "weights", "module",
)  # fmt: skip
"""Entries under which training codes keep the weights, in the order in which they are tried."""
_INSERTED = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What wrappers put into names: of torch.compile, FSDP, and activation checkpointing."""
_PARALLEL = "module."
_SYSTEM = re.compile(
    r"(?:os|posix|nt|sys|subprocess|shutil|socket|pty|importlib|runpy|ctypes|code|webbrowser|urllib|requests)\."
    r"|builtins\.(?:eval|exec|compile|open|__import__|input|print|breakpoint)$"
)
_MOST_DEPTH = 200
_MOST_MAPPINGS = 10_000

Found = StoredTensor | Tensor


def find_weights(content: Any) -> tuple[str, dict[str, Found]]:
    """Find the entry that holds the weights: the first of :data:`WRAPPERS` that does, else the largest of any name.

    Returns
    -------
    tuple
        The entry's name, dots for nesting (empty for the whole content), and its tensors by name.
    """
    found = _behind_wrappers(content, "", set())
    if found is not None:
        return found
    others = [(path, tensors_of(value)) for path, value in _mappings(content) if not path.startswith("optim")]
    return max(others, key=lambda pair: len(pair[1]), default=("", {}))


def _behind_wrappers(content: Any, path: str, seen: set[int]) -> tuple[str, dict[str, Found]] | None:
    """Search wrappers in their order, the innermost first; no mapping is searched twice."""
    seen.add(id(content))
    inside = entries(content)
    for name in WRAPPERS:
        inner = inside.get(name)
        if inner is not None and id(inner) not in seen and len(seen) < _MOST_DEPTH:
            found = _behind_wrappers(inner, f"{path}.{name}" if path else name, seen)
            if found is not None:
                return found
    tensors = tensors_of(content)
    return (path, tensors) if tensors else None


def entries(content: Any) -> Mapping[Any, Any]:
    """Return the entries of a mapping, or of an object of a class that is a mapping and is not built."""
    if isinstance(content, Placeholder):
        return content.entries
    return content if isinstance(content, Mapping) else {}


def tensors_of(content: Any) -> dict[str, Found]:
    """Return the tensors that stand in a mapping under names, or are the parameters and buffers of a whole module."""
    if isinstance(content, Placeholder) and (attributes := _module_state(content)):
        return dict(_of_module(attributes))
    found = ((str(key), as_tensor(value)) for key, value in entries(content).items())
    return {key: value for key, value in found if value is not None}


def _module_state(content: Any) -> Mapping[str, Any]:
    state = content.state if isinstance(content, Placeholder) else None
    return state if isinstance(state, Mapping) and "_modules" in state and "_parameters" in state else {}


def _of_module(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Found]]:
    """Yield the tensors of a module saved as a whole, named as in its ``state_dict``; its class is not needed."""
    waiting, left = [("", attributes, 0)], _MOST_MAPPINGS
    while waiting and left:
        prefix, state, depth = waiting.pop()
        left -= 1
        passing = state.get("_non_persistent_buffers_set")
        hidden = passing if isinstance(passing, set) else set()
        for kind in ("_parameters", "_buffers"):
            for key, value in entries(state.get(kind)).items():
                tensor = as_tensor(value)
                if tensor is not None and not (kind == "_buffers" and key in hidden):
                    yield f"{prefix}{key}", tensor
        if depth < _MOST_DEPTH:
            children = [
                (f"{prefix}{key}.", _module_state(child), depth + 1)
                for key, child in entries(state.get("_modules")).items()
                if _module_state(child)
            ]
            waiting += reversed(children)


def _mappings(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the mappings and modules inside, each once, the outermost first, with the names that lead there."""
    waiting, seen = deque([("", content)]), {id(content)}
    while waiting and len(seen) < _MOST_MAPPINGS:
        path, outer = waiting.popleft()
        if path:
            yield path, outer
        for key, inner in entries(outer).items():
            if isinstance(inner, Mapping | Placeholder) and id(inner) not in seen and path.count(".") < len(WRAPPERS):
                seen.add(id(inner))
                waiting.append((f"{path}.{key}" if path else str(key), inner))


def without_wrappers(names: Mapping[str, Found]) -> dict[str, Found]:
    """Take out of names what data-parallel, compiled, sharded and recomputing wrappers put in.

    Examples
    --------
    >>> list(without_wrappers({"module._orig_mod.stem.weight": None, "module.head._fsdp_wrapped_module.bias": None}))
    ['stem.weight', 'head.bias']
    """
    cleaned = {_INSERTED.sub("", key): value for key, value in names.items()}
    while cleaned and all(key.startswith(_PARALLEL) for key in cleaned):
        cleaned = {key.removeprefix(_PARALLEL): value for key, value in cleaned.items()}
    return cleaned


def plain(content: Any) -> Any:
    """Return a copy of plain values, with arrays of numpy; tensors become placeholders.

    What stands in several places is one object in all of them, as it was.
    """
    return _plain(content, {}, 0)


def _plain(content: Any, known: dict[int, Any], depth: int) -> Any:
    if isinstance(content, StoredTensor | Tensor):
        return Placeholder(f"a tensor of shape {tuple(content.shape)}")
    if isinstance(content, StoredArray):
        array = content.array()
        return Placeholder("an array of objects") if array is None else array
    if isinstance(content, np.ndarray) or not isinstance(content, Mapping | list | tuple):
        return content
    if id(content) in known:
        return known[id(content)]
    if depth > _MOST_DEPTH:
        return Placeholder("what is nested too deeply")
    if isinstance(content, Mapping):
        mapping: dict[Any, Any] = {}
        known[id(content)] = mapping
        for key, value in content.items():
            mapping[key] = _plain(value, known, depth + 1)
        return mapping
    listed: list[Any] = []
    known[id(content)] = listed
    listed += [_plain(value, known, depth + 1) for value in content]
    if isinstance(content, tuple):
        known[id(content)] = tuple(listed)
    return known[id(content)]


def system_calls(content: Any) -> list[str]:
    """List the functions of the operating system and the interpreter that a file asks to call: no weights need them."""
    found: dict[str, None] = {}
    waiting, seen = [content], {id(content)}
    while waiting and len(seen) < _MOST_MAPPINGS:
        outer = waiting.pop()
        inside: list[Any] = list(outer) if isinstance(outer, list | tuple) else list(entries(outer).values())
        if isinstance(outer, Placeholder):
            if _SYSTEM.match(outer.path):
                found[outer.path] = None
            inside += [*outer.arguments, *outer.items, outer.state]
        for inner in inside:
            if isinstance(inner, Mapping | Placeholder | list | tuple) and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return list(found)


def summary(content: Any) -> str:
    """Return what a file holds, in a few words."""
    inside = entries(content)
    if inside:
        return "entries " + some((shown(repr(key)[:60]) for key in inside), most=8)
    if isinstance(content, Placeholder | Name):
        return f"an object of {shown(content.path[:100])}, which is not built"
    return f"a {type(content).__name__}"
