"""Every parameter keeps its description where there are no sources."""

import compileall
import gc
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import pytest

import itkit
from itkit.catalogue import CATALOGUE, load
from itkit.cli.help_pages import descriptions
from itkit.core import params
from itkit.core.errors import ParamsError
from itkit.core.fields import FreeText
from itkit.core.params import DESCRIPTIONS, Params
from itkit.engine.options import RunOptions

ROOT = Path(itkit.__file__).parent


def test_what_is_stored_is_what_the_sources_say():
    stored = json.loads((ROOT / "core" / DESCRIPTIONS).read_text(encoding="utf-8"))
    assert stored == descriptions(), "run: make help-pages"


def test_without_sources_every_description_is_the_same(tmp_path):
    skipped = shutil.ignore_patterns("models", "criterion", "__pycache__", "*.c", "*.h")
    shutil.copytree(ROOT, tmp_path / "itkit", ignore=skipped)
    assert compileall.compile_dir(tmp_path / "itkit", quiet=2, legacy=True)
    for path in (tmp_path / "itkit").rglob("*.py"):
        path.unlink()
    code = "import itkit, json; print(itkit.__file__); " + (
        f"print(json.dumps({{name: itkit.schema(name) for name in {list(CATALOGUE)}}}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
                          env=environment)  # fmt: skip
    place, text = done.stdout.splitlines()
    assert place == str(tmp_path / "itkit" / "__init__.pyc")
    assert json.loads(text) == {name: itkit.schema(name) for name in CATALOGUE}


class OurParams(Params):
    """A model that is in no file of ours."""

    word: Annotated[str, FreeText("yes")] = "yes"
    """Something to say."""


def test_models_of_others_are_read_from_their_sources():
    assert OurParams.descriptions() == {"word": "Something to say."}


def test_the_schema_of_an_operation_has_parameters_and_run_options():
    found = itkit.schema("itk_orient")
    assert found["operation"] == "itk_orient"
    assert found["params"]["properties"].keys() == load("itk_orient").params.model_fields.keys()
    assert found["options"]["properties"].keys() == RunOptions.model_fields.keys()
    with pytest.raises(ParamsError, match="no operation 'itk_oriend'; did you mean 'itk_orient'"):
        itkit.schema("itk_oriend")


def give_way(*_):
    time.sleep(0)


def test_threads_read_descriptions_at_once():
    """Python's parser fails where another thread parses while it collects garbage; a server answers in many."""
    params._texts_in_source.cache_clear()
    models = [load(name).params for name in CATALOGUE]
    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(1000, 1000, 1000)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda model: model.descriptions(), models))
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(give_way)
    assert all(all(texts.values()) for texts in found)
