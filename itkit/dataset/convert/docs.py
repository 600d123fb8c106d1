"""Make the documentation pages of datasets from their specs: ``python -m itkit.dataset.convert.docs docs/datasets``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from itkit.catalogue import ALIASES, CATALOGUE, named
from itkit.core.plugins import resolve
from itkit.dataset.convert.spec import DatasetSpec
from itkit.io.disk import write_text

_CLASSES_IN_A_TABLE = 40


def pages() -> dict[str, str]:
    """Return all pages by file name, including the list of datasets."""
    specs = {name.removeprefix("convert_"): load_spec(name) for name in named("convert")}
    return {"index.md": _index(specs), **{f"{name}.md": page(name, spec) for name, spec in specs.items()}}


def load_spec(operation: str) -> DatasetSpec:
    """Import the facts about a dataset from the ``meta.py`` beside its converter.

    Examples
    --------
    >>> load_spec("convert_kits23").title
    'KiTS23 (kidney tumour segmentation)'
    """
    package = CATALOGUE[operation].path.rpartition(".")[0]
    spec: DatasetSpec = resolve(f"{package}.meta:SPEC")
    return spec


def _index(specs: dict[str, DatasetSpec]) -> str:
    rows = [
        f"| [{spec.title}]({name}.md) | `{name}` | {', '.join(spec.modality)} | {_classes(spec)} | {spec.licence} |"
        for name, spec in specs.items()
    ]
    return "\n".join(
        [
            "# Datasets",
            "",
            "`itkit convert-dataset NAME SOURCE DEST --mp` turns an unpacked release into one layout: `image/`,",
            "`label/`, `series_meta.json` (grids) and `dataset.json` (names, labels, splits, licence, what was left",
            "out and why); `itkit convert-dataset NAME --help` shows all options. Your own data:",
            "[add_your_dataset.md](add_your_dataset.md).",
            "",
            "| dataset | NAME | modality | classes | licence |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _classes(spec: DatasetSpec) -> str:
    counts = sorted({len(one.labels) - 1 for one in (spec.variants or (spec,))})
    return " / ".join(str(count) for count in counts) if counts != [0] else "in the release"


def page(name: str, spec: DatasetSpec) -> str:
    """Return the text of one dataset's page."""
    return "\n".join([*_lines(name, spec), ""])


def _lines(name: str, spec: DatasetSpec) -> Iterator[str]:
    module = CATALOGUE[f"convert_{name}"].path.partition(":")[0]
    yield f"# {spec.title}"
    yield ""
    yield "<!-- made from its spec by `python -m itkit.dataset.convert.docs`; change that instead -->"
    yield ""
    yield "<!-- skip: needs the release -->"
    yield "```bash"
    yield f"itkit convert-dataset {name} SOURCE DEST --mp"
    yield f"python -m {module} SOURCE DEST --mp   # the same"
    yield "```"
    yield ""
    facts = (
        ("Modality", ", ".join(spec.modality)),
        ("Channels", ", ".join(spec.channels) if len(spec.channels) > 1 else ""),
        ("Licence of the data", spec.licence),
        ("Home page", spec.homepage),
        ("Please cite", spec.citation),
        ("Facts are about", spec.version),
    )
    yield from (f"- {title}: {text}" for title, text in facts if text)
    yield ""
    aliases = {
        values["variant"]: alias.removeprefix("convert_")
        for alias, (operation, values) in ALIASES.items()
        if operation == f"convert_{name}"
    }
    family = spec.variants or (spec,)
    if spec.variants:
        yield "The converter recognises the release by its files; `--variant` chooses it explicitly:"
        yield ""
        for one in family:
            short = one.name.removeprefix(f"{name}_")
            also = f", also as `{aliases[short]}`" if short in aliases else ""
            yield f"- `{short}`: {one.title}{also}"
        yield ""
    yield "## Files that are read"
    yield ""
    for path, role in dict.fromkeys((p.example, p.role) for one in family for p in one.patterns):
        yield f"- {role}: `{path}`"
    yield ""
    yield "Folders above these and the letter case of extensions do not matter. Names starting with a dot are ignored."
    yield ""
    yield "## Labels"
    yield ""
    if spec.label_note:
        yield f"{spec.label_note[:1].upper()}{spec.label_note[1:]}."
        yield ""
    for one in family:
        yield from _label_lines(one, is_family=bool(spec.variants))
    if any(pattern.role == "part" for pattern in spec.patterns):
        yield f"By default, overlapping masks follow the rule `--overlap {spec.overlap}`. In `dataset.json`,"
        yield "`overlap_voxels` is the number of voxels that belong to several classes; each voxel counts once."
        yield ""
    quirks = tuple(dict.fromkeys(quirk for one in family for quirk in one.quirks))
    if quirks:
        yield "## Peculiarities of the release"
        yield ""
        yield "| in the release | what the converter does |"
        yield "|---|---|"
        yield from (f"| {quirk.fact} | {quirk.action} |" for quirk in quirks)
        yield ""
    yield "## Sources of these facts"
    yield ""
    yield from (f"- {source}" for source in spec.sources)
    if spec.unverified:
        yield f"- not verified: {', '.join(spec.unverified)}"


def _label_lines(spec: DatasetSpec, *, is_family: bool) -> Iterator[str]:
    named = {value: label for value, label in spec.labels.items() if value}
    if not named:
        return
    if is_family:
        yield f"**{spec.title}** ({len(named)} {'class' if len(named) == 1 else 'classes'})"
        yield ""
    if len(named) > _CLASSES_IN_A_TABLE:
        yield ", ".join(f"{value} {label}" for value, label in named.items())
    else:
        yield "| value | name |"
        yield "|---|---|"
        yield from (f"| {value} | {label} |" for value, label in named.items())
    yield ""


def write_pages(folder: Path) -> None:
    """Write all pages into a folder.

    Raises
    ------
    WriteError
        When a page can't be written.
    """
    for name, text in pages().items():
        write_text(folder / name, text)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/datasets"))
