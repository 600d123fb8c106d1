"""CPU time that the viewer of itkit-app takes for a frame: three planes of a 512 x 512 x 1000 CT, the crosshair moving.

python benchmarks/viewer.py [--slices 1000] [--frames 60]
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

SIZE = (1600, 1000)


def measure(slices, frames):
    import numpy as np
    from PyQt6.QtWidgets import QApplication

    app = QApplication(["viewer"])
    import itkit
    from itkit.core.geometry import Geometry
    from itkit.core.volume import Volume
    from itkit.gui.app import MainWindow
    from itkit.gui.viewer.opening import CaseFiles, Loaded, with_looks
    from itkit.gui.viewer.slices import turned

    size = (slices, 512, 512)
    volumes = {}
    for kind in ("image", "label"):
        small = itkit.read(Path(itkit.__file__).parent / "data" / "torso" / f"{kind}.nii.gz", kind)
        index = [np.arange(count) * have // count for count, have in zip(size, small.shape_zyx, strict=True)]
        grid = Geometry(size, (1.0, 0.8, 0.8), direction_xyz=small.geometry.direction_xyz)
        volumes[kind] = Volume(np.ascontiguousarray(small.array_zyx[np.ix_(*index)]), grid, kind)
    loaded = with_looks(Loaded(CaseFiles("ct"), volumes["image"], volumes["label"]))
    window = MainWindow()
    window.resize(*SIZE)
    window.show_page("viewer")
    window.show()
    page = window.viewer_page
    copies = {id(volume): turned(volume) for volume in volumes.values()}
    began = time.process_time()
    page.scene.show(loaded)
    page.scene.set_turned(copies)
    page._show_state()
    app.processEvents()
    first = time.process_time() - began
    rows = {}
    for name, step in (("all three planes", (1, 1, 1)), ("one plane", (1, 0, 0))):
        spent = []
        for number in range(frames + 10):
            index = [size // 3 + number * by for size, by in zip(grid.size_zyx, step, strict=True)]
            began = time.process_time()
            page.go_to(grid.point_xyz(tuple(map(float, index))))
            app.processEvents()
            spent.append(1000 * (time.process_time() - began))
        spent = sorted(spent[10:])
        rows[name] = (spent[len(spent) // 2], spent[int(len(spent) * 0.95)])
    page.scene.set_style(outlined=True)
    scale = window.devicePixelRatioF()
    for name, (median, worst) in rows.items():
        print(f"| {scale:.0%} | {name} | {median:.1f} | {worst:.1f} |", flush=True)
    print(f"| {scale:.0%} | first picture of a case that has been read | {1000 * first:.0f} | |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    if given.measure:
        measure(given.slices, given.frames)
        return
    print(f"512 x 512 x {given.slices} voxels, int16 with labels, window of {SIZE[0]} x {SIZE[1]}; CPU ms a frame\n")
    print("| scale | what moves | median | 95 % |\n|---|---|---|---|", flush=True)
    for scale in ("1", "2"):
        environment = {**os.environ, "QT_SCALE_FACTOR": scale, "QT_QPA_PLATFORM": "offscreen"}
        words = [sys.executable, __file__, "--measure", "--slices", str(given.slices), "--frames", str(given.frames)]
        subprocess.run(words, env=environment, check=True)


if __name__ == "__main__":
    main()
