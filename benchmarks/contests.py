"""The comparisons of whole commands: both command lines, the check of their outputs, and the target ratios."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from workplace import LOTS, SCRIPTS, TIMES, Workplace

from itkit.io.formats.inspect import read_geometry

Command = Callable[[Path], list[object]]
"""Function that returns the command line for a destination, which does not exist yet."""


@dataclass(frozen=True)
class Contest:
    """One job, with our command and the peer's command."""

    name: str
    peer_name: str
    ours: Command
    peer: Command
    check: tuple[str, ...] = ()
    """Arguments of ``scripts/agree.py`` before the two destinations."""
    wall_target: float | None = None
    cpu_target: float | None = None
    forget: tuple[Path, ...] = field(default_factory=tuple)
    """Files to delete before each run: an earlier run left them in its source, and they would save the next one work."""


def contests(place: Workplace) -> list[Contest]:
    """List the comparisons of whole commands."""
    pairs, mha, headers = place.pairs, place.pairs_mha, place.headers
    ours, theirs = place.ours.command, place.itkit4.command
    two = ("--mp", "--workers", "2")
    script = (place.itkit4.python, SCRIPTS / "simpleitk_loop.py")
    framework = (place.frameworks.python, SCRIPTS / "framework_loop.py")
    traces = ("meta.json", "series_meta.json")

    def same(
        name: str,
        *words: object,
        check: tuple[str, ...],
        wall: float,
        cpu: float | None = None,
        ours_needs: tuple[str, ...] = (),
        peer_needs: tuple[str, ...] = (),
    ) -> Contest:
        def side(command: Callable[[str], Path], more: tuple[str, ...] = ()) -> Command:
            return lambda dest: [command(name), *(dest if word == "DEST" else word for word in words), *two, *more]

        shown = (word for word in words if isinstance(word, str) and word != "DEST")
        title = " ".join((name.removeprefix("itk_"), *shown))
        return Contest(title, "itkit 4.0.0", side(ours, ours_needs), side(theirs, peer_needs), check, wall, cpu)

    def resample(spacing: str, source: Path = pairs) -> Command:
        return lambda dest: [ours("itk_resample"), "dataset", source, dest, "--spacing", *[spacing] * 3, *two]

    def check(nii: Path) -> Contest:
        words = ("check", nii, "--min-size", "8", "8", "8")
        return Contest(
            "check a dataset", "itkit 4.0.0",
            lambda _: [ours("itk_check"), *words], lambda _: [theirs("itk_check"), *words, *two],
            wall_target=0.05,
            forget=tuple(nii / folder / name for name in traces for folder in (".", "image", "label")),
        )  # fmt: skip

    def simple(nii: Path, mha: Path, note: str, *, is_checked: bool) -> list[Contest]:
        def checked(*words: str) -> tuple[str, ...]:
            return words if is_checked else ()

        rows = [
            check(nii),
            *(
                same("itk_resample", "dataset", nii, "DEST", "--spacing", *[spacing] * 3,
                     check=checked("resample", str(nii)), wall=wall, cpu=cpu)
                for spacing, wall, cpu in (("1.5", 0.22, 0.27), ("1.0", 0.18, 0.20))
            ),
            same("itk_orient", mha, "DEST", "LPI", check=checked("orient"), wall=0.22,
                 peer_needs=("--field", "dataset")),
            same("itk_extract", nii / "label", "DEST", "1:1", "5:2", "7:3", check=checked("extract"), wall=0.20),
        ]  # fmt: skip
        return [replace(row, name=f"{row.name} ({note})") for row in rows]

    count = len(list((pairs / "image").iterdir()))
    rows = [
        Contest(
            "check 2,000 headers",
            "ReadImageInformation loop",
            lambda _: [ours("itk_check"), "check", headers],
            lambda _: [*script, "headers", headers],
            wall_target=0.05,
            forget=tuple(headers / name for name in traces),
        ),
        *simple(pairs, mha, f"{count} cases", is_checked=True),
        *simple(place.many / "nii.gz", place.many / "mha", f"{TIMES * count} cases", is_checked=False),
        replace(check(place.lots), name=f"check a dataset ({LOTS * count} cases)"),
        Contest(
            f"stats ({TIMES * count} cases)", "nnUNetv2_extract_fingerprint",
            lambda dest: [ours("itk_stats"), place.many / "nii.gz", dest, *two],
            lambda dest: [place.frameworks.python, SCRIPTS / "nnunet_fingerprint.py", place.many / "nii.gz", dest, 2],
            cpu_target=0.10,
        ),
        Contest(
            "evaluate 12 classes, 11 M voxels", "MONAI's four functions",
            lambda dest: [
                ours("itk_evaluate"), place.evaluation / "gt", place.evaluation / "pred", dest,
                "--metrics", "dice", "hd95", "assd", "nsd", "--format", "json",
            ],
            lambda dest: [
                place.frameworks.python, SCRIPTS / "monai_metrics.py", place.evaluation / "gt",
                place.evaluation / "pred", dest, 12, 2,
            ],
            check=("evaluate",), cpu_target=0.05,
        ),
        same("itk_patch", mha, "DEST", "--patch-size", *["96"] * 3, "--patch-stride", *["48"] * 3, check=("patch",),
             wall=0.16, ours_needs=("--orient", "LPI")),
        Contest(
            "aug -n 3 --random-rot 15 10 10",
            "itkit 4.0.0",
            *(
                lambda dest, command=command: [
                    command("itk_aug"), pairs / "image", pairs / "label", "-oimg", dest / "image", "-olbl",
                    dest / "label", "-n", "3", "--random-rot", "15", "10", "10", *two,
                ]
                for command in (ours, theirs)
            ),
            check=("aug", str(pairs)),
            wall_target=0.40,
        ),
        Contest(
            "resample to 1.5 mm",
            "a SimpleITK script",
            resample("1.5"),
            lambda dest: [*script, "resample", pairs, dest, "1.5"],
        ),
        Contest(
            "orient to LPI", "a SimpleITK script",
            lambda dest: [ours("itk_orient"), mha, dest, "LPI", *two], lambda dest: [*script, "orient", mha, dest],
        ),
    ]  # fmt: skip
    rows += [
        Contest(
            "resample to 1.5 mm", f"a {name} script",
            lambda dest: [*resample("1.5")(dest), "--ext", ".nii.gz"],
            lambda dest, name=name: [*framework, name.lower(), pairs, dest, "1.5"],
        )
        for name in ("TorchIO", "MONAI")
    ]  # fmt: skip
    grid = read_geometry(next((pairs / "image").iterdir()))
    size = [round(n * step / 1.5) for n, step in zip(grid.size_zyx, grid.spacing_zyx, strict=True)]
    rows.append(
        Contest(
            "resample to the size at 1.5 mm", "a script with nnU-Net's resampling, linear",
            lambda dest: [ours("itk_resample"), "dataset", pairs, dest, "--size", *size, *two, "--ext", ".nii.gz"],
            lambda dest: [*framework, "nnu-net", pairs, dest, "1.5"],
            check=("voxels",),
        )
    )  # fmt: skip
    sources = [pairs / "label"] * 10
    rows.append(
        Contest(
            "combine 10 label sources", "a SimpleITK script",
            lambda dest: [
                ours("itk_combine"), "-i", *(f"s{n}={folder}" for n, folder in enumerate(sources)),
                "--map", *(f"s{n}:{n + 1}->{n + 1}" for n, _ in enumerate(sources)), "-o", dest, *two,
            ],
            lambda dest: [
                place.itkit4.python, SCRIPTS / "combine_loop.py", dest,
                *(f"{folder}:{n + 1}" for n, folder in enumerate(sources)),
            ],
            check=("combine",),
            wall_target=0.5,
        )
    )  # fmt: skip
    raw = place.data / "raw"
    for spacing, target in (("1.5", 1.5), ("1.0", 1.5)):
        results = raw / spacing
        rows.append(
            Contest(
                f"resample to {spacing} mm, whole run ({TIMES * count} cases)", "the floor (codec + disk)",
                resample(spacing, place.many / "nii.gz"),
                lambda dest, results=results: [
                    place.ours.python, SCRIPTS / "floor.py", place.many / "nii.gz", results, dest, 2
                ],
                wall_target=target,
            )
        )  # fmt: skip
    named = place.data / "named"
    rows.append(
        Contest(
            f"convert nnunet, whole run ({TIMES * count} cases)", "the floor (codec + disk)",
            lambda dest: [ours("itk_convert"), "nnunet", named, dest, *two],
            lambda dest: [place.ours.python, SCRIPTS / "floor.py", named, raw / "same", dest, 2],
            wall_target=1.4,
        )
    )  # fmt: skip
    rows += [
        Contest(
            f"crop --to body, whole run ({TIMES * count} cases)", "the floor (codec + disk)",
            lambda dest: [ours("itk_crop"), place.many / "nii.gz", dest, "--to", "body", *two],
            lambda dest: [place.ours.python, SCRIPTS / "floor.py", place.many / "nii.gz", raw / "cropped", dest, 2],
            wall_target=1.5,
        ),
        Contest(
            "presegment --target lungs", "a SimpleITK script",
            lambda dest: [ours("itk_presegment"), place.chests, dest, "--target", "lungs", *two],
            lambda dest: [*script, "lungs", place.chests, dest],
            check=("lungs",),
            cpu_target=0.5,
        ),
        Contest(
            f"enhance clip + z-score, whole run ({TIMES * count} cases)", "the floor (codec + disk)",
            lambda dest: [
                ours("itk_enhance"), place.many / "nii.gz", dest, "--clip", "-160", "240", "--normalize", "zscore", *two,
            ],
            lambda dest: [
                place.ours.python, SCRIPTS / "floor.py", place.many / "nii.gz", raw / "enhanced", dest, 2, 4,
            ],
            wall_target=1.5,
        ),
        Contest(
            "align rigid", "the same SimpleITK registration by hand",
            lambda dest: [ours("itk_align"), place.moving / "moving", place.moving / "fixed", dest],
            lambda dest: [
                place.itkit4.python, SCRIPTS / "align_by_hand.py", place.moving / "moving", place.moving / "fixed", dest,
            ],
            check=("align",),
            cpu_target=1.05,
        ),
    ]  # fmt: skip
    rows.append(
        Contest(
            "itk_check --help", "python -c pass",
            lambda _: [ours("itk_check"), "--help"], lambda _: [place.ours.python, "-c", "pass"], wall_target=2.5,
        )
    )  # fmt: skip
    return rows
