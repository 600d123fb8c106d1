"""Array jobs: the SLURM script of the examples with a stand-in for ``sbatch``, and a hundred shards at once."""

import importlib
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import BIN, leftovers, tree

import itkit
from itkit.testing import phantoms

SCRIPT = Path(__file__).parents[1] / "examples" / "cluster" / "orient.sbatch"
SBATCH = """#!{python}
# Runs the tasks of an array job on this machine, all at once, with the variables that SLURM sets.
import os, re, subprocess, sys
script, *words = sys.argv[1:]
first, last = map(int, re.search(r"#SBATCH --array=(\\d+)-(\\d+)", open(script).read()).groups())
tasks = []
for number in range(first, last + 1):
    values = {{"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": str(last - first + 1)}}
    tasks.append(subprocess.Popen(["bash", script, *words], env={{**os.environ, **values}}))
sys.exit(max([task.wait() for task in tasks]))
"""


def volumes(folder):
    return {name: data for name, data in tree(folder).items() if name.endswith(".mha")}


def test_the_slurm_script_makes_the_whole_of_its_shards(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 5)
    itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "whole", orient="LPI")
    script = tmp_path / "orient.sbatch"
    script.write_text(re.sub(r"--array=1-\d+", "--array=1-3", SCRIPT.read_text()))
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SBATCH.format(python=sys.executable))
    sbatch.chmod(0o755)
    path = os.pathsep.join(map(str, [sbatch.parent, BIN, os.environ["PATH"]]))
    call = ["sbatch", script, tmp_path / "raw", tmp_path / "out"]
    for said in ("2 done, 0 skipped", "0 done, 2 skipped"):  # sent again, as after a time limit
        done = subprocess.run(
            list(map(str, call)), env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 3
        assert said in done.stdout
    assert volumes(tmp_path / "out") == volumes(tmp_path / "whole")
    assert not leftovers(tmp_path / "out")


def test_the_page_shows_the_script_of_the_examples():
    page = (SCRIPT.parents[2] / "docs" / "how-to" / "run-on-a-cluster.md").read_text()
    assert SCRIPT.read_text().strip() in page


def _shard(raw, dest, number, count, start):
    start.wait()
    result = itkit.run("itk_orient", source=raw, dest=dest, orient="LPI", shard=f"{number}/{count}")
    sys.exit(result.exit_code)


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_many_shards_at_once_make_every_case_once(tmp_path, count):
    raw, dest, cases = tmp_path / "raw", tmp_path / "out", 2 * count + 3
    phantoms.write_dataset(raw, 1)
    for kind in ("image", "label"):
        for number in range(1, cases):
            os.link(raw / kind / "case_00.nii.gz", raw / kind / f"case_{number:04d}.nii.gz")
    context = multiprocessing.get_context("fork")
    start = context.Event()
    shards = [context.Process(target=_shard, args=(raw, dest, n + 1, count, start)) for n in range(count)]
    for shard in shards:
        shard.start()
    start.set()
    for shard in shards:
        shard.join()
    assert [shard.exitcode for shard in shards] == [0] * count
    found = volumes(dest)
    assert len(found) == 2 * cases
    assert len({data for name, data in found.items() if name.startswith("image/")}) == 1
    lines = [line for path in (dest / ".itkit").glob("manifest-*.jsonl") for line in path.read_text().splitlines()]
    assert len(lines) == cases  # nothing twice
    assert not leftovers(dest)
    again = itkit.run("itk_orient", source=raw, dest=dest, orient="LPI")
    assert again.summary.counts == {"done": 0, "skipped": cases, "failed": 0}


def test_the_plan_on_the_page_is_what_the_script_makes_of_its_rates(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parents[2] / "benchmarks")
    plan = importlib.import_module("plan")
    page = (SCRIPT.parents[2] / "docs" / "how-to" / "run-on-a-cluster.md").read_text()
    measured = re.search(r"> a pair: ([\d.]+) core s, ([\d.]+) MB read, ([\d.]+) MB written\n", page)
    core_s, read, written = map(float, measured.groups())
    rates = plan.Rates(core_s, round(1e6 * read), round(1e6 * written))
    call = re.search(r"plan\.py --cases (\d+) --size .* --cores (\d+) --nodes ([\d ]+) --store (\d+)", page)
    cases, cores, nodes, store = call.groups()
    table = plan.table(rates, int(cases), int(cores), [*map(int, nodes.split())], float(store))
    quoted = "\n".join(line[2:] for line in page.splitlines() if line.startswith(">") and "a pair" not in line).strip()
    said, made = (
        [float(number.replace(",", "")) for number in re.findall(r"\d[\d,.]*\d|\d", text)] for text in (quoted, table)
    )
    assert said == pytest.approx(made, abs=0.11)  # the page rounds what a pair costs
    assert re.sub(r"[\d,.]+", "", quoted) == re.sub(r"[\d,.]+", "", table)
