"""Time from opening a CT in itkit-web until its planes are seen, and time of a frame, in headless Chromium without a GPU.

python benchmarks/web_page.py [--slices 160]
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright
from responding import write_case

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from web.servers import TOKEN, started

FRAMES = """async () => {
  const plane = document.querySelector('[data-plane=axial] canvas'), times = [];
  plane.focus();
  for (let at = 0; at < 40; at++) {
    const begun = performance.now();
    plane.dispatchEvent(new KeyboardEvent('keydown', { key: at % 2 ? 'PageUp' : 'ArrowRight', bubbles: true }));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - begun);
  }
  return times.sort((a, b) => a - b)[20];
}"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=160)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder) / "root"
        write_case(root, given.slices)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with started(root, Path(folder) / "state") as web:
            page = browser.new_context(base_url=web.origin, viewport={"width": 1600, "height": 1000}).new_page()
            page.goto(f"/?token={TOKEN}")
            page.wait_for_selector("#operations .choice")
            began = time.perf_counter()
            page.evaluate("location.hash = '#/view?path=image/ct.mha'")
            for name, selector in (
                ("first picture", ".viewer[data-first-ms]"),
                ("all voxels and labels", ".viewer[data-ready]"),
                ("projection", ".viewer[data-projected]"),
            ):
                page.wait_for_selector(selector, timeout=180_000, state="attached")
                rows.append((name, f"{time.perf_counter() - began:.1f} s"))
            rows.append(("a frame, three planes and labels", f"{page.evaluate(FRAMES):.0f} ms"))
        browser.close()
    megabytes = 2 * given.slices * 512 * 512 / 1e6
    print(f"512 x 512 x {given.slices} voxels, {megabytes:.0f} MB as int16, with labels; software rendering\n")
    print("| until | wall time |\n|---|---|")
    for name, text in rows:
        print(f"| {name} | {text} |", flush=True)


if __name__ == "__main__":
    main()
