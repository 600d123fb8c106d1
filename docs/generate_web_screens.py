"""Take the pictures of `itkit-web` that the documentation shows: a real server, a real CT, a real browser.

``python docs/generate_web_screens.py`` writes ``docs/images/web-*.png``, light and dark; with a folder, it writes every
page there, on a wide and a narrow screen, to be looked at. It needs the extras ``web`` and ``dev``, and Chromium.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from sample_run import overlay, write_log

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from web.servers import TOKEN, serving  # noqa: E402  the tests' server

IMAGES = ROOT / "docs" / "images"
TORSO = ROOT / "itkit" / "data" / "torso"
SCREENS = {
    "wide": (1280, 860, "light"),
    "dark": (1280, 860, "dark"),
    "phone": (390, 800, "light"),
    "phone-dark": (390, 800, "dark"),
}
PUBLISHED = ("viewer", "form", "curves")
IN_DOCS = {"wide": "", "dark": "-dark"}


def form(page: Page) -> None:
    """Fill in a form."""
    page.goto("/#/op/itk_resample")
    page.locator("[name=mode]").select_option("dataset")
    page.locator("[name=source]").fill("torso")
    page.locator("[name=dest]").fill("resampled")
    for number, value in enumerate(("2", "x", "")):
        page.locator("[name=spacing]").nth(number).fill(value)
    expect(page.locator("#field-spacing-problem")).to_be_visible()
    page.locator("#field-spacing").evaluate("box => box.scrollIntoView({ block: 'center' })")


def plan(page: Page) -> None:
    """Ask what would happen."""
    page.locator("[name=spacing]").nth(1).fill("2")
    page.locator("#plan").click()
    expect(page.locator("#plan_table tbody tr")).to_have_count(1)
    page.locator("#plan_table").scroll_into_view_if_needed()


def job(page: Page) -> None:
    """Run it."""
    page.locator("#run").click()
    expect(page.locator("#state")).to_have_text("done", timeout=60_000)


def viewer(page: Page) -> None:
    """Look at the result."""
    page.get_by_role("link", name="View torso").click()
    page.wait_for_selector(".viewer[data-ready]")
    page.locator("#outline").check()
    page.wait_for_timeout(500)


def chain(page: Page) -> None:
    """Propose the steps for a dataset."""
    page.goto("/#/start/dataset")
    page.locator("#start-source").fill("torso")
    page.locator("#start-work").fill("results")
    expect(page.locator("#run-chain")).to_be_enabled()


PAGES: dict[str, Callable[[Page], Any]] = {
    "start": lambda page: page.goto("/#/"),
    "form": form,
    "plan": plan,
    "job": job,
    "viewer": viewer,
    "files": lambda page: page.goto("/#/files/torso"),
    "jobs": lambda page: page.goto("/#/jobs"),
    "chain": chain,
    "tool": lambda page: page.goto("/#/op/itkit%20train"),
    "trainings": lambda page: page.goto("/#/train"),
    "curves": lambda page: page.goto("/#/train/run"),
}


@contextmanager
def pages(screen: str) -> Iterator[Page]:
    """Give the page on a screen, with a dataset of one case below its root."""
    width, height, scheme = SCREENS[screen]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder) / "data"
        for kind in ("image", "label"):
            (root / "torso" / kind).mkdir(parents=True)
            shutil.copy(TORSO / f"{kind}.nii.gz", root / "torso" / kind / "torso.nii.gz")
        shutil.copy(TORSO / "dataset.json", root / "torso")
        write_log(root / "run")
        (root / "run" / "overlays" / "case_01.png").write_bytes(overlay())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with serving(root, Path(folder) / "state") as web:
            context = browser.new_context(
                base_url=web.origin, viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page = context.new_page()
            page.goto(f"/?token={TOKEN}")
            yield page
            context.close()
        browser.close()


def main(folder: Path | None) -> None:
    """Take the pictures."""
    for screen in SCREENS if folder else IN_DOCS:
        with pages(screen) as page:
            for name, go in PAGES.items():
                go(page)
                page.wait_for_timeout(500)
                page.evaluate("document.activeElement?.blur()")
                if folder:
                    page.screenshot(path=folder / f"{screen}-{name}.png")
                elif name in PUBLISHED:
                    path = IMAGES / f"web-{name}{IN_DOCS[screen]}.png"
                    page.screenshot(path=path)
                    Image.open(path).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
