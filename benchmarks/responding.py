"""How long the window of itkit-app answers nothing while a job runs and a case is opened: its longest turn.

python benchmarks/responding.py [--cases 150] [--slices 400] [--scale 1]

A turn is what the event loop does before it looks for the next key or click. CPU time is that of the window's thread;
wall time also counts what other threads of the window, and other programs, take away. The third column is wall time
without that in which the kernel had no core for the thread (Linux tells it): what it would be on a machine of one's own.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path


def write_case(folder, slices):
    import numpy as np

    import itkit
    from itkit.core.geometry import Geometry
    from itkit.core.volume import Volume

    size = (slices, 512, 512)
    for kind in ("image", "label"):
        small = itkit.read(Path(itkit.__file__).parent / "data" / "torso" / f"{kind}.nii.gz", kind)
        index = [np.arange(count) * have // count for count, have in zip(size, small.shape_zyx, strict=True)]
        grid = Geometry(size, (1.0, 0.8, 0.8), direction_xyz=small.geometry.direction_xyz)
        (folder / kind).mkdir(parents=True)
        volume = Volume(np.ascontiguousarray(small.array_zyx[np.ix_(*index)]), grid, kind)
        itkit.write(volume, folder / kind / "ct.mha")


def without_core_ms():
    """Return for how long this thread has waited for a core so far, ms; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
    except OSError:
        return 0.0
    return int(text.split()[1]) / 1e6


class Turns:
    """Runs the event loop, and keeps its longest turn for each thing that is done meanwhile."""

    def __init__(self, app):
        self.app = app
        self.longest = {}

    def run(self, name, holds, seconds=120.0):
        until = time.monotonic() + seconds
        while not holds() and time.monotonic() < until:
            waited, cpu, wall = without_core_ms(), time.thread_time(), time.perf_counter()
            self.app.processEvents()
            cpu, wall = 1000 * (time.thread_time() - cpu), 1000 * (time.perf_counter() - wall)
            own = max(cpu, wall - (without_core_ms() - waited))
            old = self.longest.get(name, (0.0, 0.0, 0.0))
            self.longest[name] = tuple(map(max, old, (cpu, wall, own)))
            time.sleep(0.002)


def measure(cases, slices):
    from PyQt6.QtCore import QSettings
    from PyQt6.QtWidgets import QApplication

    app = QApplication(["responding"])
    from itkit.gui.app import MainWindow
    from itkit.testing.phantoms import write_dataset

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
            QSettings.setPath(kind, QSettings.Scope.UserScope, str(root / "settings"))  # nobody's own are changed
        write_dataset(root / "many", cases)
        write_case(root / "large", slices)
        window = MainWindow()
        window.resize(1600, 1000)
        window.show()
        turns = Turns(app)
        page = window.open_operation("itk_resample")
        turns.run("start", lambda: False, 0.5)
        turns.longest.clear()
        values = {"mode": "dataset", "source": str(root / "many"), "dest": str(root / "out")}
        page.form.set_values({**values, "spacing": ["2", "2", "2"]})
        page.run()
        turns.run("a job runs, its page is shown", lambda: page.job.view.ended >= cases // 2)
        viewer = window.viewer_page
        window.open_path(root / "large" / "image" / "ct.mha")
        turns.run("a case is opened meanwhile", lambda: viewer.scene.mip is not None)
        grid = viewer.scene.grid
        began = time.monotonic()

        def moved():
            share = (time.monotonic() - began) / 2
            viewer.go_to(grid.point_xyz(tuple(size * (0.3 + 0.4 * share) for size in grid.size_zyx)))
            return share >= 1

        turns.run("the crosshair moves meanwhile", moved)
        turns.run("and comes to rest", lambda: False, 0.6)
        window.show_page("jobs")
        turns.run("the job ends", lambda: page.job.is_over)
        window.jobs.queue.close()
        window.close()
    print("| what happens | CPU ms | wall ms | with a core |\n|---|---|---|---|")
    for name, times in turns.longest.items():
        print(f"| {name} | {' | '.join(f'{one:.0f}' for one in times)} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--scale", default="1")
    given = parser.parse_args()
    os.environ |= {"QT_QPA_PLATFORM": "offscreen", "QT_SCALE_FACTOR": given.scale}
    measure(given.cases, given.slices)


if __name__ == "__main__":
    main()
