"""Momentum contrast (MoCo v1 and v2): self-supervised pre-training of an encoder.

Source: K. He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020, arXiv:1911.05722;
X. Chen et al., "Improved baselines with momentum contrastive learning", arXiv:2003.04297; repository
facebookresearch/moco (MIT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

VERSIONS: Mapping[str, Mapping[str, Any]] = {"v1": {"T": 0.07, "mlp": False}, "v2": {"T": 0.2, "mlp": True}}
"""Arguments by which the two versions differ; v2 also augments more strongly and decays its rate by a cosine."""


class MoCo(nn.Module):
    """Query encoder, its slow copy, and a queue of the copy's outputs as negatives.

    Parameters
    ----------
    base_encoder
        Called twice as ``base_encoder(num_classes=dim)``; returns an encoder that ends in a linear layer named ``fc``.
        ``itkit.models.moco.encoders.zoo_encoder`` makes one from any registered network.
    dim
        Length of the feature vectors.
    K
        Vectors in the queue; a multiple of the batch summed over all processes.
    m
        Share of the old weights that the key encoder keeps at each step.
    T
        Temperature of the softmax.
    mlp
        Whether a hidden layer precedes ``fc`` (v2).
    groups
        Parts into which each process splits its batch; each passes through the encoders on its own, the keys in random
        order. A multiple of ``groups`` images makes a batch.

    Notes
    -----
    An encoder with batch normalisation can tell which key belongs to a query by the statistics that both share; the
    loss then falls, and nothing is learnt (section 3.3 of the paper). On one process ``groups`` prevents it: statistics
    are taken over a part of the batch, and a query's part holds other images than its key's. It stands for the
    processes of the paper, as in the authors' demonstration on one GPU (``moco_cifar10_demo.ipynb``).

    Several processes (``torch.distributed``) share their keys. They also exchange images before the key encoder, so
    that batch statistics do not betray which key belongs to which query. Wrapped in ``DistributedDataParallel`` only
    the query encoder has gradients.

    Examples
    --------
    >>> from itkit.models.blocks.resnet import DEPTHS, ResNet
    >>> encoder = lambda num_classes: ResNet(DEPTHS["resnet18"], num_classes=num_classes, in_channels=1, width=8)
    >>> moco = MoCo(encoder, dim=16, K=8, **VERSIONS["v2"])
    >>> logits, labels = moco(torch.randn(4, 1, 32, 32), torch.randn(4, 1, 32, 32))
    >>> logits.shape, labels.tolist(), moco.queue_ptr.item()
    (torch.Size([4, 9]), [0, 0, 0, 0], 4)
    """

    queue: Tensor
    queue_ptr: Tensor

    def __init__(
        self,
        base_encoder: Callable[..., nn.Module],
        dim: int = 128,
        K: int = 65536,  # noqa: N803  # the paper's symbol
        m: float = 0.999,
        T: float = 0.07,  # noqa: N803  # the paper's symbol
        mlp: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if groups < 1:
            raise ValueError(f"groups: expected at least 1; got {groups}")
        if dim < 1 or K < 1:
            raise ValueError(f"dim, K: expected at least 1; got {dim}, {K}")
        if not 0 <= m <= 1:
            raise ValueError(f"m: expected a share from 0 to 1; got {m}")
        if T <= 0:
            raise ValueError(f"T: expected a positive temperature; got {T}")
        self.K, self.m, self.T = K, m, T
        self.groups = groups
        self.encoder_q = base_encoder(num_classes=dim)
        self.encoder_k = base_encoder(num_classes=dim)
        for encoder in (self.encoder_q, self.encoder_k):
            last = getattr(encoder, "fc", None)
            if not isinstance(last, nn.Linear):
                raise TypeError(f"base_encoder: expected a last layer 'fc' of type Linear; got {type(last).__name__}")
            if mlp:
                hidden = nn.Linear(last.in_features, last.in_features)
                encoder.fc = nn.Sequential(hidden, nn.ReLU(), last)
        for key, query in zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True):
            key.data.copy_(query.data)
            key.requires_grad = False
        self.register_buffer("queue", functional.normalize(torch.randn(dim, K), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def forward(self, im_q: Tensor, im_k: Tensor) -> tuple[Tensor, Tensor]:
        """Compare two views of each image; moves the key encoder and the queue on, in evaluation mode too.

        Parameters
        ----------
        im_q, im_k
            Views ``(N, C, *spatial)`` of the same images in the same order.

        Returns
        -------
        logits, labels
            ``(N, 1 + K)`` with the positive pair first, and zeros ``(N,)``, for ``cross_entropy``.

        Raises
        ------
        ValueError
            When ``K`` is no multiple of the batch over all processes, or the batch none of ``groups``.
        """
        query = functional.normalize(self._in_groups(self.encoder_q, im_q), dim=1)
        with torch.no_grad():
            self.update_key_encoder()
            key, all_keys = self._encode_keys(im_k)
        positive = (query * key).sum(1, keepdim=True)
        negative = query @ self.queue.clone().to(query.dtype)
        logits = torch.cat([positive, negative], dim=1) / self.T
        self.enqueue(all_keys)
        return logits, torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Move the key encoder's parameters, not its buffers, a step of ``1 - m`` towards the query encoder's."""
        for key, query in zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True):
            key.mul_(self.m).add_(query, alpha=1 - self.m)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest vectors of the queue by ``keys`` ``(M, dim)``; ``K`` must be a multiple of ``M``."""
        count = keys.shape[0]
        if self.K % count:
            raise ValueError(f"K: expected a multiple of the {count} keys of a step over all processes; got {self.K}")
        start = int(self.queue_ptr)
        self.queue[:, start : start + count] = keys.T.to(self.queue.dtype)
        self.queue_ptr[0] = (start + count) % self.K

    def _encode_keys(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys of this process's images, and of all processes' in their order."""
        if not _is_distributed():
            count = images.shape[0]
            shuffled = torch.randperm(count, device=images.device) if self.groups > 1 else None
            given = images if shuffled is None else images[shuffled]
            keys = functional.normalize(self._in_groups(self.encoder_k, given), dim=1)
            keys = keys if shuffled is None else keys[shuffled.argsort()]
            return keys, keys
        gathered = gather(images)
        order = torch.randperm(gathered.shape[0], device=images.device)
        distributed.broadcast(order, src=0)
        own = slice(distributed.get_rank() * images.shape[0], (distributed.get_rank() + 1) * images.shape[0])
        encoded = self._in_groups(self.encoder_k, gathered[order[own]])
        keys = gather(functional.normalize(encoded, dim=1))[order.argsort()]
        return keys[own], keys

    def _in_groups(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """Encode the parts of a batch one after another."""
        if self.groups == 1:
            encoded: Tensor = encoder(images)
            return encoded
        if images.shape[0] % self.groups:
            raise ValueError(f"groups: expected a divisor of the batch of {images.shape[0]}; got {self.groups}")
        return torch.cat([encoder(part) for part in images.chunk(self.groups)])


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@torch.no_grad()
def gather(tensor: Tensor) -> Tensor:
    """Join the equally shaped tensors of all processes along the first axis, by rank; no gradient passes."""
    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class TwoViews:
    """Applies one random transform twice and returns both results: a query and a key view."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform

    def __call__(self, image: Any) -> list[Any]:
        """Return the two views of an image."""
        return [self.transform(image), self.transform(image)]
