"""Wrappers for several processes that let the model's own attributes and methods through, gradients in step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from itkit.core.errors import ArgumentError, ModelError


class _AttributesOfTheModel(nn.Module):
    """A wrapper that has the attributes and methods of the model in it, beside its own."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapper, or else of the model."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "module" or "module" not in self.__dict__.get("_modules", {}):
                raise
        return self._of_model(getattr(self.module, name))

    def _of_model(self, value: Any) -> Any:
        """Return what an attribute of the model is for those who ask the wrapper."""
        return value


@MODEL_WRAPPERS.register_module()
class RemasteredDDP(_AttributesOfTheModel, MMDistributedDataParallel):
    """Distributed data parallel whose model keeps its own attributes, methods and training step.

    MMEngine's wrapper hides attributes that a model has beyond those of ``BaseModel``, and ignores a ``train_step`` of
    the model's own. Here both are the model's. While a method of the model runs, whatever calls the model goes through
    DistributedDataParallel, so gradients are averaged over the processes as usual.

    Parameters
    ----------
    module
        The model.
    device_ids
        As in torch; left out for a model on the CPU, where MMEngine's runner passes a GPU's number.
    **kwargs
        See MMEngine's ``MMDistributedDataParallel``.

    Notes
    -----
    The detour of the model's calls is the idea of Lightning's ``_ForwardRedirection``, the other way round.
    """

    def __init__(self, module: nn.Module, device_ids: Any = None, **kwargs: Any) -> None:
        on_cpu = all(tensor.device.type == "cpu" for tensor in [*module.parameters(), *module.buffers()])
        super().__init__(module=module, device_ids=None if on_cpu else device_ids, **kwargs)
        self._calls = 0

    def _of_model(self, value: Any) -> Any:
        is_method = inspect.ismethod(value) and value.__self__ is self.module
        return self._through_this(value) if is_method else value

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Compute the model, and prepare its gradients to be averaged."""
        self._calls += 1
        return super().forward(*inputs, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """Train one step: as the model does it, if it has a ``train_step`` of its own.

        Raises
        ------
        ModelError
            When the model's own step never calls the model: its gradients would differ between processes.
        """
        step: Any = type(self.module).train_step
        if step is BaseModel.train_step:
            result: dict[str, torch.Tensor] = super().train_step(data, optim_wrapper)
            return result
        before = self._calls
        result = self._through_this(self.module.train_step)(data, optim_wrapper)
        if self._calls == before:
            raise ModelError(
                f"{type(self.module).__name__}.train_step computes losses without calling the model (self(...)), so "
                "that gradients are not averaged over the processes; compute them by self(..., mode=...)"
            )
        return result

    def _through_this(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of the model whose calls of the model pass through this wrapper."""
        module = self.module

        @wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            if "forward" in module.__dict__:  # within another method of the model
                return method(*args, **kwargs)
            own = module.forward

            def detour(*inputs: Any, **options: Any) -> Any:
                module.forward = own
                try:
                    return self(*inputs, **options)
                finally:
                    module.forward = detour

            module.forward = detour
            try:
                return method(*args, **kwargs)
            finally:
                del module.forward

        return called


@MODEL_WRAPPERS.register_module()
class RemasteredFSDP(_AttributesOfTheModel):
    """Fully sharded data parallel (FSDP2): every process holds a part of each parameter.

    The model stays what it is, with its names, attributes and methods: FSDP2 gathers parameters in hooks of the modules
    themselves, so that a model's own ``train_step`` keeps gradients in step, too. Works with NCCL and with gloo on the
    CPU, where FSDP1, which MMEngine wraps, does not. Save and resume with `RemasteredFSDP_Strategy`.

    Parameters
    ----------
    module
        The model.
    shard_modules
        Names of classes (``"TransformerBlock"``) or of modules (``"backbone.stages.0"``) that are gathered apart from
        the rest; by default the children of the backbone that have parameters.
    methods
        Further methods of the model that use parameters without calling the model.
    reshard_after_forward, mp_policy, offload_policy, mesh
        See `torch.distributed.fsdp.fully_shard`. ``mp_policy`` may be a dictionary of types by name.
    """

    def __init__(
        self,
        module: nn.Module,
        shard_modules: Sequence[str] = (),
        methods: Sequence[str] = (),
        *,
        reshard_after_forward: bool = True,
        mp_policy: Any = None,
        offload_policy: Any = None,
        mesh: Any = None,
    ) -> None:
        super().__init__()
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        options: dict[str, Any] = {"reshard_after_forward": reshard_after_forward, "mesh": mesh}
        if mp_policy is not None:
            options["mp_policy"] = _precision_policy(mp_policy)
        if offload_policy is not None:
            options["offload_policy"] = offload_policy
        for part in _parts(module, shard_modules):
            fully_shard(part, **options)
        fully_shard(module, **options)
        for name in methods:
            register_fsdp_forward_method(module, name)
        self.module = module

    @property
    def _model(self) -> Any:
        return self.module

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Compute the model."""
        return self.module(*inputs, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        """Train one step as the model does it."""
        return self._model.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> Any:
        """Validate one batch as the model does it."""
        return self._model.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Test one batch as the model does it."""
        return self._model.test_step(data)


def _precision_policy(given: Any) -> Any:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if not isinstance(given, Mapping):
        return given
    types = {key: getattr(torch, value) if isinstance(value, str) else value for key, value in given.items()}
    return MixedPrecisionPolicy(**types)


def _parts(module: nn.Module, wanted: Sequence[str]) -> list[nn.Module]:
    """Return the modules that are sharded apart, inner ones first."""
    named = dict(module.named_modules())
    if not wanted:
        backbone = getattr(module, "backbone", None)
        children = backbone.children() if isinstance(backbone, nn.Module) else ()
        return [child for child in children if any(True for _ in child.parameters())]
    found = [part for name, part in named.items() if name and (name in wanted or type(part).__name__ in wanted)]
    for text in wanted:
        if text not in named and all(type(part).__name__ != text for part in named.values()):
            raise ArgumentError(f"shard_modules: the model has no module and no class {text!r}")
    return list(reversed(found))
