"""Write ``docs/models/``: a table of all networks and a page for each family, from the cards.

Run ``python docs/generate_models.py`` to render the pages, with ``--measure`` to count parameters and operations and
to compare with the recorded outputs of the authors' code anew (minutes; kept in ``docs/models/measured.json``).
``measure_models.py`` adds time, memory, ONNX and compilation to that file.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "models"
MEASURED = FOLDER / "measured.json"
PARITY = ROOT / "tests" / "models" / "parity"
SIDES = {2: 512, 3: 96}
CLASSES = 14

if TYPE_CHECKING:
    from collections.abc import Callable

    from itkit.models import ModelCard, Weights

INTRODUCTION = f"""# Networks

Every network maps an image `(N, C, Y, X)` or `(N, C, Z, Y, X)` to logits of the same size, pads and crops by itself,
and keeps the parameter names of its authors' code, so that released weights load.

```python
from itkit.models import create_model, list_models, load_pretrained

print(list_models("mednext*"))
network = create_model("mednext_s", in_channels=1, num_classes=3, spatial_dims=3)
```

`create_model(..., pretrained=True)` fills a network with its authors' weights where they are released as a file; the
page of each family names their origin and licence. `load_pretrained(network, path_or_url)` fills it from any file of
the authors (or of this package), and returns a report of every tensor: copied, adapted to other channels, classes, axes
or sizes, missing, or left over; see [Load weights](../how-to/load-weights.md).

## Networks of nnU-Net

`unet` and `resenc_unet` are nnU-Net's. Their strides and kernels follow from a patch size and a voxel spacing by its
rule (`create_model("unet", patch_size=(32, 192, 192), spacing=(5, 0.8, 0.8))`), or are those of its plans:
`create_model(**from_nnunet_plans(folder))` builds what nnU-Net has trained in a folder such as
`nnUNetTrainer__nnUNetPlans__3d_fullres`, and `load_pretrained(network, folder / "fold_0/checkpoint_final.pth")`
fills it.

## Your own network

Describe it by a card and register the function or class that builds it; `create_model`, `list_models` and
`itkit models` then know it as they know ours, pad its inputs and crop its logits:

```python
import torch

from itkit.models import ModelCard, create_model, register_model


@register_model(ModelCard(name="my_network", spatial_dims=(2, 3), divisor=2))
def build(in_channels, num_classes, spatial_dims, width=8):
    conv = {{2: torch.nn.Conv2d, 3: torch.nn.Conv3d}}[spatial_dims]
    return torch.nn.Sequential(conv(in_channels, width, 3, padding=1), torch.nn.ReLU(), conv(width, num_classes, 1))


network = create_model("my_network", num_classes=3, width=16)
assert network(torch.zeros(1, 1, 33, 40)).shape == (1, 3, 33, 40)
```

A package registers its networks for everybody who installs it by entry points: the network's name, and the path of its
card (or of the decorated function). Keep the card in a module that does not import torch and let it name its builder by
path, so that listing the networks stays quick:

```toml
[project.entry-points."itkit.models"]
my_network = "my_package.cards:MY_NETWORK"  # ModelCard(name="my_network", builder="my_package.network:build", ...)
```

A plug-in that can't be imported, or whose name is taken, is named in a warning and left out; all others work. Test your
network with the suite that ours run:

```python
from itkit.testing.model_contract import ModelContract


class TestMyNetwork(ModelContract):
    names = ("my_network",)
```

## Losses

Losses have names, too; those called like a network are the ones that its authors train it with:

```python
from itkit.criterion import create_loss, list_losses, register_loss

print(list_losses())
loss = create_loss("dice_ce", include_background=False, ignore_index=255)
```

[Losses](../explanation/losses.md) has their formulas, sources and options. `register_loss("my_loss")` decorates a loss
of your own, and packages register theirs by entry points of the group `itkit.losses`.

## The networks

Parameters and operations are of the published configuration with one input channel, {CLASSES} classes and the stated
input; one multiply-add is two operations, counted by `torch.utils.flop_counter` for convolutions and matrix products
only (state-space scans and norms are left out). *Forward* is the time of one image of that size on one core of a
server CPU (Intel Xeon, float32; CPU seconds, up to a third more where it did other work meanwhile). *Training* is the
peak of all tensors in the forward and backward pass of one such image in float32, without the optimiser's state and
without `use_checkpoint`. *Difference* is the greatest deviation from the recorded outputs of the authors' code,
relative to the greatest output value, over all recorded configurations of the family.

Training in bfloat16 on a CPU needs 3-D maps wider than 2 voxels at the deepest level: for narrower ones PyTorch's
convolution (oneDNN, torch 2.13) reads unset memory, and gradients may become `nan`.

"""


def example_of(card: ModelCard) -> str:
    """Write a runnable example with the quick configuration."""
    dims = card.spatial_dims[0]
    size = (card.tiny_size,) * dims if isinstance(card.tiny_size, int) else tuple(card.tiny_size)[:dims]
    options = "".join(f", {key}={value!r}" for key, value in card.tiny.items())
    if len(options) > 60:
        options = ",\n    " + ",\n    ".join(f"{key}={value!r}" for key, value in card.tiny.items()) + ",\n"
        call = f'create_model(\n    "{card.name}",\n    num_classes=3,\n    spatial_dims={dims}{options})'
    else:
        call = f'create_model("{card.name}", num_classes=3, spatial_dims={dims}{options})'
    return f"""```python
import torch

from itkit.models import create_model

network = {call}
image = torch.zeros({(1, 1, *size)})
assert network.eval()(image).shape == {(1, 3, *size)}
```
"""


def millions(count: float | None) -> str:
    """Write a count in millions."""
    return "" if count is None else f"{count / 1e6:.2f} M"


def row_of(card: ModelCard, facts: dict[str, Any], *, link: bool) -> str:
    """Write a card's row of the table."""
    numbers = facts["networks"].get(card.name, {})
    parity = facts["parity"].get(card.family)
    size = " x ".join(map(str, numbers.get("size", ())))
    key = f"{card.name}/{card.spatial_dims[0]}"
    took, memory = (facts.get(trial, {}).get(key, {}) for trial in ("time", "memory"))
    cells = (
        f"[`{card.name}`]({card.family}.md)" if link else f"`{card.name}`",
        "/".join(f"{dims}-D" for dims in card.spatial_dims),
        millions(numbers.get("parameters")),
        millions(card.paper_parameters),
        f"{numbers['operations'] / 1e9:.1f} G at {size}" if numbers.get("operations") else "",
        f"{took['forward_s']:.1f} s" if "forward_s" in took else "",
        f"{memory['training_bytes'] / 2**30:.2f} GiB" if "training_bytes" in memory else "",
        f"[{card.year}](https://doi.org/{card.doi})" if card.doi else str(card.year),
        f"{parity:.0e}" if parity is not None else "the same code" if card.built_by else "keys only",
        card.code_licence,
    )
    return "| " + " | ".join(cells) + " |"


def weights_lines(cards: list[ModelCard]) -> list[str]:
    """Write where the weights of a family come from, one line a set."""
    sets: dict[tuple[str, ...], list[Weights]] = {}
    for weights in (weights for card in cards for weights in card.weights):
        sets.setdefault((weights.trained_on, weights.page, weights.licence, weights.what), []).append(weights)
    lines = []
    for (data, page, licence, what), files in sets.items():
        direct = [weights for weights in files if weights.url]
        how = f"; `pretrained={data!r}` downloads them" if direct else ""
        checked = sum(bool(weights.sha256) for weights in direct)
        if direct:
            how += {0: ", no digest is published", len(direct): ", the digest is checked"}.get(
                checked, f", the digest of {checked} of {len(direct)} files is known and checked"
            )
        lines.append(f"- Weights trained on {data}, for {what}: <{page}> (licence: {licence}){how}")
    return lines or ["- Weights: none released"]


def abilities_text(card: ModelCard) -> str:
    """Say what a network can do."""
    abilities = {
        "deep supervision": card.deep_supervision,
        "checkpointing (`use_checkpoint`)": card.checkpointing,
        "bfloat16": card.bf16,
        "`torch.compile`": card.compiles,
        "export": card.onnx,
    }
    return ", ".join(key for key, value in abilities.items() if value)


def by_text(title: str, cards: list[ModelCard], text: Callable[[ModelCard], str]) -> list[str]:
    """Write one line for each text that some of the cards share."""
    names: dict[str, list[str]] = {}
    for card in cards:
        names.setdefault(text(card), []).append(f"`{card.name}`")
    if len(names) == 1:
        return [f"- {title}: {next(iter(names))}"]
    return [f"- {title} ({', '.join(group)}): {words}" for words, group in names.items()]


def tried_lines(cards: list[ModelCard], facts: dict[str, Any]) -> list[str]:
    """Write what came of exporting to ONNX and of compiling the quick configurations."""
    lines = []
    for trial, title in (("onnx", "ONNX Runtime, from `torch.onnx.export`"), ("compile", "`torch.compile` in C++")):
        for card in cards:
            for dims in card.spatial_dims:
                found = facts.get(trial, {}).get(f"{card.name}/{dims}")
                if found is None:
                    continue
                text = found.get("error") or f"the same logits within {found['difference']:.0e}"
                lines.append(f"- {title} (`{card.name}`, {dims}-D): {text}")
    return lines


def size_text(card: ModelCard) -> str:
    """Say which input sizes a network takes."""
    if card.fixed_size:
        return "fixed, the option `image_size`; smaller images are padded"
    padding = f"padded to multiples of {card.divisor}" if card.divisor > 1 else ""
    least = f"to at least {card.minimum_size}" if card.minimum_size > card.divisor else ""
    if not padding and least:
        least = f"padded {least}"
    return "any; " + (", and ".join(filter(None, (padding, least))) or "nothing is padded")


_COLUMNS = (
    "name",
    "axes",
    "parameters",
    "in the paper",
    "operations",
    "forward",
    "training",
    "paper",
    "difference",
    "licence of the authors' code",
)
HEADER = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"


def papers_lines(cards: list[ModelCard], code: str) -> list[str]:
    """Write the papers of a family and their authors' code: a sentence, or one line for each paper."""
    papers: dict[tuple[str, str, str, str], list[str]] = {}
    for card in cards:
        papers.setdefault((card.paper, card.doi, card.repository, card.code_licence), []).append(f"`{card.name}`")
    lines = []
    for (paper, doi, repository, licence), names in papers.items():
        source = f"{paper}, [doi:{doi}](https://doi.org/{doi})" if doi else paper
        text = f"{source}. Authors' code: <{repository}> ({licence})"
        lines.append(f"{text}; {code}." if len(papers) == 1 else f"- {', '.join(names)}: {text}")
    return lines if len(papers) == 1 else [*lines, "", f"{code[0].upper()}{code[1:]}."]


def family_page(family: str, cards: list[ModelCard], facts: dict[str, Any]) -> str:
    """Write a family's page."""
    first = cards[0]
    code = (
        f"built by the package `{first.built_by}`, which `itkit[train]` installs"
        if first.built_by
        else "the code here is written anew"
    )
    notes = sorted({card.notes for card in cards if card.notes})
    lines = [
        f"# {first.title if len(cards) == 1 else family}",
        "",
        *papers_lines(cards, code),
        "",
        *weights_lines(cards),
        *by_text("Input size", cards, size_text),
        *by_text("Can", cards, abilities_text),
        *tried_lines(cards, facts),
        *[f"- {note}" for note in notes],
        "",
        HEADER,
        *[row_of(card, facts, link=False) for card in cards],
        "",
        "The options below give a version small enough to try out.",
        "",
        example_of(first),
    ]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Render all pages: file name to text."""
    from itkit.models import list_models, model_card

    facts = json.loads(MEASURED.read_text(encoding="utf-8"))
    families: dict[str, list[ModelCard]] = {}
    for card in map(model_card, list_models(plugins=False)):
        families.setdefault(card.family, []).append(card)
    rows = [row_of(card, facts, link=True) for cards in families.values() for card in cards]
    index = INTRODUCTION + "\n".join([HEADER, *rows]) + "\n"
    return {"index.md": index} | {f"{name}.md": family_page(name, cards, facts) for name, cards in families.items()}


def measure_network(name: str) -> dict[str, Any]:
    """Count parameters and operations of a published configuration; the images have no storage."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from itkit.models import create_model, model_card

    card = model_card(name)
    dims = card.spatial_dims[0]
    network = create_model(name, num_classes=CLASSES).eval()
    size = network.image_size or (SIDES[dims],) * dims
    facts = {"parameters": sum(p.numel() for p in network.parameters()), "size": list(size)}
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, *size))
    return {**facts, "operations": counter.get_total_flops()}


def _forward(values: dict[str, Any], network: Any, *images: Any) -> Any:
    import torch

    state = network.state_dict()
    for key, numbers in values.items():
        state[key].copy_(torch.tensor(numbers))
    return network(*images)


def measure_parity() -> dict[str, float]:
    """Compare with all recorded outputs that a plain call gives; the greatest relative difference a family."""
    from itkit.models import from_reference
    from itkit.models.reference import builder_path
    from tests.models.parity import fill

    worst: dict[str, float] = {}
    for path in sorted(PARITY.glob("*.npz")):
        spec = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if "state_dict" not in spec:
            continue

        forward = partial(_forward, spec.get("overrides", {}))
        report = fill.check(from_reference(spec), path.stem, forward=forward)
        if report["ok"]:
            family = builder_path(spec["official_class"]).split(".")[2]
            worst[family] = max(worst.get(family, 0.0), *(output["max_rel"] for output in report["outputs"]))
    return worst


def main(arguments: list[str]) -> None:
    """Measure when asked, then write the pages."""
    from itkit.models import list_models

    FOLDER.mkdir(parents=True, exist_ok=True)
    if "--measure" in arguments:
        facts = {
            "networks": {name: measure_network(name) for name in list_models(plugins=False)},
            "parity": measure_parity(),
        }
        facts = {**json.loads(MEASURED.read_text(encoding="utf-8")), **facts}
        MEASURED.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
