"""Synthetic releases of every dataset, made once."""

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from itkit.catalogue import ALIASES, load
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.engine.runner import execute

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

import make_fake
import verify_converted

ROOT = Path(tempfile.mkdtemp(prefix="itkit-releases-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)
NAMES = sorted(make_fake.GENERATORS)


class Release:
    """A synthetic release and the truth about it."""

    def __init__(self, name, folder, cases=2):
        self.name, self.folder = name, folder
        self.truth = make_fake.make(name, folder, cases)
        self.source = folder / self.truth["root"]

    def problems(self, dest, *reports, **options):
        """What `verify_converted` finds wrong in a converted folder."""
        return verify_converted.verify(self.folder / "expected.json", dest, reports, **options)[0]


@cache
def release(name):
    """Return the release of a name; shared, so never to be changed."""
    return Release(name, ROOT / name)


def tree(folder):
    """Every visible file below a folder with its bytes; series_meta.json, which holds times, left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".itkit" not in path.parts and path.name != "series_meta.json"
    }


def convert(name, source, dest, **values):
    """Run a converter in this process; returns the run's result and its events."""
    operation = load(f"convert_{name}")
    values = {**ALIASES.get(f"convert_{name}", ("", {}))[1], **values}
    run_names = RunOptions.model_fields.keys()
    options = make_params(RunOptions, {key: value for key, value in values.items() if key in run_names})
    own = {key: value for key, value in values.items() if key not in run_names}
    params = make_params(operation.params, {"source": source, "dest": dest, **own})
    events = []
    result = execute(operation, params, options, on_event=events.append)
    return result, events
