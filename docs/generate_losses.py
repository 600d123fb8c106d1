"""Write ``docs/explanation/losses.md`` from the losses' cards and signatures: ``python docs/generate_losses.py``."""

from __future__ import annotations

import inspect
from pathlib import Path

PAGE = Path(__file__).parent / "explanation" / "losses.md"

INTRODUCTION = """# Losses

Made from the losses' cards (`itkit/criterion/cards.py`) by `docs/generate_losses.py`.

```python
import torch

from itkit.criterion import DiceCELoss, functional

logits = torch.randn(2, 4, 16, 24, 24, requires_grad=True)  # (N, K, *spatial)
labels = torch.randint(0, 4, (2, 16, 24, 24))  # class numbers
loss = DiceCELoss(batch=True, ignore_index=255)(logits, labels)
loss.backward()
same = functional.dice_ce_loss(logits, labels, batch=True, ignore_index=255)
assert torch.equal(loss, same)
```

Each loss is a function in `itkit.criterion.functional`, a class in `itkit.criterion`, and a name for
`itkit.criterion.create_loss` and for `[training] loss` of a plan.

## What all of them take

- **Logits** `(N, K, *spatial)`, 2-D or 3-D. Half precision is computed in float32, whether or not autocast is on, and
  the loss is float32: a volume has more voxels than float16 can count.
- **A target**: integer class numbers `(N, *spatial)` or `(N, 1, *spatial)`, or shares `(N, K, *spatial)`, one-hot or
  soft. The overlap of soft labels is the smaller of probability and share, so that the loss is least where both are
  equal.
- **Classes that overlap** (such as the regions of BraTS) with `sigmoid=True` and shares. One logit is the foreground's.
- **`ignore_index`**: voxels of this class number count nowhere: they change neither the loss nor any gradient.

```python
import torch

from itkit.criterion import DiceCELoss, FocalLoss

logits = torch.randn(2, 3, 8, 8, 8)
regions = torch.rand(2, 3, 8, 8, 8) > 0.5  # whole tumour, core, enhancing: voxels may belong to several
print(DiceCELoss(sigmoid=True)(logits, regions), FocalLoss(sigmoid=True, alpha=0.25)(logits, regions))
```

A target that does not fit is an `ArgumentError` that says why: class numbers in a float type, a class that the logits
lack (2 or 255 with one logit), shares outside 0 to 1 or, without `sigmoid`, of another sum than 1. So are weights of
another number than there are classes.

With `split_z=True` a loss is averaged over the slices of volumes, each on its own, as for networks that see slices.

## Several losses, several outputs

```python
import torch

from itkit.criterion import DeepSupervision, DiceCELoss, loss_of

outputs = [torch.randn(2, 3, 16, 16), torch.randn(2, 3, 8, 8)]  # finest first; the target is sampled for smaller ones
labels = torch.randint(0, 3, (2, 16, 16))
print(DeepSupervision(DiceCELoss())(outputs, labels))  # weights 2/3, 1/3
print(loss_of([{"name": "dice", "batch": True}, {"name": "boundary", "weight": 0.1}])(outputs[0], labels))
print(loss_of({"name": "dice_ce", "deep_supervision": [0.8, 0.2]})(outputs, labels))
```

## The losses of three networks

They take what `create_model` returns in training mode, with deep supervision or without. The authors of DconnNet train
on links between pixels, which the network returns with `links=True`; of class logits `DconnLoss` computes the same
terms, a link's probability being the product of its ends'.

```python
import torch

from itkit.criterion import DconnLoss
from itkit.models import create_model

network = create_model("dconnnet", num_classes=3, links=True, width=8, blocks=(1, 1, 1, 1)).train()
links = network(torch.randn(2, 1, 64, 64))  # (2, 24, 64, 64)
print(DconnLoss(num_classes=3)(links, torch.randint(0, 3, (2, 64, 64))))
```

## All losses

"""


def _options(class_name: str) -> str:
    from itkit import criterion

    parameters = inspect.signature(getattr(criterion, class_name)).parameters.values()
    return ", ".join(f"`{parameter.name}={parameter.default!r}`" for parameter in parameters)


def page() -> str:
    """Return the page."""
    from itkit.criterion.cards import CARDS, OPTIONS, SYMBOLS

    parts = [INTRODUCTION, f"{SYMBOLS}.\n"]
    for card in CARDS:
        computed = f"\n- Computed by `{card.wraps}`, which `pip install 'itkit[train]'` brings." if card.wraps else ""
        parts.append(
            f"\n### `{card.name}`: `{card.class_name}`\n\n{card.use}\n\n"
            f"- Formula: {card.formula}\n- Source: {card.source}\n- Tested to equal: {card.equals}.{computed}\n"
            f"- Options: {_options(card.class_name)}\n"
        )
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in OPTIONS.items())
    parts.append(f"\n## Options\n\n| option | meaning |\n|---|---|\n{rows}")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
