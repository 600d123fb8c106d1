"""Pictures of the volumes of a validation; those of the best one are kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from itkit.core.thumbnail import png
from itkit.inference.model_folder import ModelFacts
from itkit.training.overlays import overlay_picture
from itkit.training.plan_file import Plan
from itkit.training.run_report import OVERLAYS

_STAGED = ".overlays"


class Pictures:
    """Draws volumes into a hidden folder of the run, which all its processes share.

    Parameters
    ----------
    run
        The folder of the run.
    plan
        The plan.
    """

    def __init__(self, run: Path, plan: Plan) -> None:
        self.staged = run / _STAGED
        self.kept = run / OVERLAYS
        self.plan = plan

    def draw(self, facts: ModelFacts, batch: dict[str, Any], found: Any) -> None:
        """Draw each volume of a batch.

        Parameters
        ----------
        facts
            The network's description.
        batch
            ``image`` ``(N, C, Z, Y, X)``, ``label`` ``(N, Z, Y, X)``, ``case`` and ``spacing``.
        found
            Predicted numbers of classes ``(N, Z, Y, X)``.
        """
        self.staged.mkdir(parents=True, exist_ok=True)
        z, y, x = (float(value[0]) for value in batch["spacing"])
        for number, case in enumerate(batch["case"]):
            picture = overlay_picture(
                batch["image"][number, 0].float().cpu().numpy(),
                batch["label"][number].cpu().numpy(),
                found[number].cpu().numpy(),
                spacing_zyx=(z, y, x),
                orient=facts.orient,
                intensity=self.plan.preprocess.intensity.of(facts.channels[0]),
                values=facts.values,
            )
            (self.staged / f"{case.replace('/', '_')}.png").write_bytes(png(picture))

    def keep(self) -> None:
        """Let the pictures of this validation take the place of earlier ones."""
        if self.staged.is_dir():
            self.kept.mkdir(exist_ok=True)
            for path in self.staged.iterdir():
                path.replace(self.kept / path.name)

    def forget(self) -> None:
        """Remove the pictures of this validation that are not kept."""
        shutil.rmtree(self.staged, ignore_errors=True)
