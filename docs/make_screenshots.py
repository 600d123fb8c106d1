"""Draw the pages of itkit-app as pictures: ``docs/make_screenshots.py OUT``, light and dark, at 100, 150 and 200 %.

The pictures in ``docs/images`` are some of these, made smaller by ``--docs``. No display is needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sample_run import overlay, write_log

if TYPE_CHECKING:
    from PIL import Image

SIZES = {"1": (1280, 800), "1.5": (1060, 700), "2": (960, 640)}
THEMES = ("light", "dark")
IN_DOCS = ("start", "resample-run", "viewer", "swipe", "train")
WIDTH = 900
IMAGES = Path(__file__).parent / "images"
COLUMNS, GAP = 3, 6


def main() -> None:
    """Draw everything, each scale and theme in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--docs", action="store_true", help="also write the pictures of the documentation")
    parser.add_argument("--one", nargs=2, metavar=("SCALE", "THEME"))
    given = parser.parse_args()
    given.out = given.out.absolute()
    if given.one:
        draw(given.out, *given.one)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for scale in SIZES:
        for theme in THEMES:
            environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "QT_SCALE_FACTOR": scale}
            words = [sys.executable, __file__, str(given.out), "--one", scale, theme]
            subprocess.run(words, env=environment, check=True)
    if given.docs:
        for name in (f"{page}-{theme}" for page in IN_DOCS for theme in THEMES):
            shrink(given.out / f"{name}-1.png", IMAGES / f"app-{name}.png")
        for theme in THEMES:
            for scale in ("1", "2"):
                at_a_glance(given.out, theme, scale).save(IMAGES / f"app-pages-{theme}-{scale}.png", optimize=True)


def at_a_glance(folder: Path, theme: str, scale: str) -> Image.Image:
    """Return all pages of a theme and scale in one small picture."""
    from PIL import Image

    sources = [Image.open(path).convert("RGB") for path in sorted(folder.glob(f"*-{theme}-{scale}.png"))]
    wide = (WIDTH - GAP * (COLUMNS - 1)) // COLUMNS
    high = round(wide * sources[0].height / sources[0].width)
    rows = -(-len(sources) // COLUMNS)
    sheet = Image.new("RGB", (WIDTH, rows * (high + GAP) - GAP), "#808890")
    for number, source in enumerate(sources):
        row, column = divmod(number, COLUMNS)
        small = source.resize((wide, high), Image.Resampling.LANCZOS)
        sheet.paste(small, (column * (wide + GAP), row * (high + GAP)))
    return sheet.quantize(128, dither=Image.Dither.NONE)


def shrink(source: Path, target: Path) -> None:
    """Write a picture in the size of the pages, with its 256 best colours, so that the repository stays small."""
    from PIL import Image

    picture = Image.open(source).convert("RGB")
    picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


def draw(out: Path, scale: str, theme: str) -> None:
    """Draw every page in one scale and theme."""
    from PyQt6.QtCore import QSettings
    from PyQt6.QtGui import QCursor
    from PyQt6.QtWidgets import QApplication

    work = Path(tempfile.mkdtemp(prefix="itkit-pictures-"))
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, str(work / "settings"))
    app = QApplication(["pictures"])
    import itkit
    from itkit.forms import pipeline_text
    from itkit.gui.app import MainWindow

    window = MainWindow()
    window.set_theme(theme)
    window.resize(*SIZES[scale])
    QCursor.setPos(*SIZES[scale])  # over no button
    window.show()

    def wait(holds: Callable[[], bool] = lambda: False, seconds: float = 0.4) -> None:
        end = time.monotonic() + seconds
        while not holds() and time.monotonic() < end:
            app.processEvents()
            time.sleep(0.01)
        for _ in range(20):
            app.processEvents()
            time.sleep(0.01)

    def save(name: str) -> None:
        window.grab().save(str(out / f"{name}-{theme}-{scale}.png"))

    os.chdir(work)
    torso = Path(itkit.__file__).parent / "data" / "torso"
    for kind in ("image", "label"):
        (Path("torso") / kind).mkdir(parents=True)
        for case in ("case_01", "case_02", "case_03"):
            shutil.copy(torso / f"{kind}.nii.gz", Path("torso") / kind / f"{case}.nii.gz")
    Path("torso/image/case_02.nii.gz").write_bytes((torso / "image.nii.gz").read_bytes()[:90_000])
    shutil.copy(torso / "dataset.json", "torso")

    window.start_page.kinds.button(3).setChecked(True)
    window.start_page.source.setText("torso")
    window.start_page.work.setText("results")
    window.show_page("start")
    wait()
    save("start")
    Path("chain.toml").write_text(pipeline_text(window.start_page.steps[1:]), encoding="utf-8")
    window.open_path(Path("chain.toml"))
    wait()
    save("pipeline")
    page = window.open_operation("itk_resample")
    page.form.set_values({"mode": "dataset", "source": "torso", "dest": "resampled", "spacing": ["4", "x", ""]})
    wait()
    page.form.parentWidget().parentWidget().ensureWidgetVisible(page.form.rows["spacing"])
    wait()
    save("resample-wrong")
    page.form.set_values({"spacing": ["4", "3", "-1"]})
    page.plan()
    wait(lambda: page.job.is_over, 60)
    save("resample-plan")
    page.run()
    wait(lambda: page.job.is_over, 60)
    save("resample-run")
    for name in ("itk_enhance", "itk_convert", "itk_check", "itkit plan", "itkit train"):
        window.open_operation(name)
        wait()
        save(name.replace("_", "-").replace(" ", "-"))
    window.show_page("queue")
    wait()
    save("queue")
    window.show_page("viewer")
    wait()
    save("viewer-empty")
    viewer = window.viewer_page
    window.open_path(Path("torso/image/case_01.nii.gz"))
    wait(lambda: viewer.scene.mip is not None and viewer.list.item(2).icon().availableSizes() != [], 30)
    save("viewer")
    viewer.compare_with(Path("resampled/image/case_01.mha"))
    wait(lambda: viewer.other_scene.mip is not None, 30)
    save("side-by-side")
    viewer.modes.buttons()[2].setChecked(True)
    for view in viewer.views.planes:
        view.swiped.emit(0.4)
    wait()
    save("swipe")
    run = Path("run")
    write_log(run)
    (run / "overlays" / "case_01.png").write_bytes(overlay())
    window.open_path(run)
    wait()
    save("train")
    window.jobs.queue.close()
    window.close()
    os.chdir("/")
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
