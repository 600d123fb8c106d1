"""Dense manifest lines say the same as those that they replace, and nobody's line is lost when a file is rewritten."""

import json
import multiprocessing
import os
import random
import resource
import time
from dataclasses import replace

import pytest

import itkit
from itkit.core.errors import LayoutError
from itkit.core.operation import Record
from itkit.core.packed import Packed, Sorter
from itkit.engine import dense, lines, packing, records
from itkit.engine import manifest as module
from itkit.engine.dense import Forms
from itkit.engine.manifest import Manifest
from itkit.engine.packing import pack
from itkit.testing import phantoms

NAMES = ["a", "x/b", "ü\udcfc", 'with "quotes"', "label", "{", "a\u2028b"]


def record(case, number=0, **more):
    stamp = {"bytes": 811 + number, "mtime_ns": 1795923420094944100 + number, "ctime_ns": 1795923420149179065}
    grid = {"size": [8, 8, 8], "spacing": [2.5, 0.8, 0.7], "dtype": "int16", "classes": None}
    base = case.rpartition("/")[2]
    values = {
        "key": "k",
        "inputs": {
            "image": {"file": f"{base}.mhd", "parts": [{**stamp, "inode": 5}, {**stamp, "inode": 6}]},
            "label": {"file": "other.mha"},
            "targets": {"image": "image"},
            "stamp": "s",
            "more_files": {"stat": "0a"},
        },
        "outputs": (
            {"path": f"image/{case}.mha", "name": "image", "case": case, **grid, **stamp, "inode": 7},
            {"path": "elsewhere.raw", **stamp, "inode": 2**62},
        ),
        "facts": {"number": number},
        "warnings": ("a warning",) if number % 2 else (),
        "took_s": 0.25,
    }
    return Record(case, **{"status": "done", **values, **more})


def at(dest, shard=None):
    (dest / ".itkit").mkdir(exist_ok=True)
    return Manifest(dest, shard)


def lines_of(dest):
    return [json.loads(line) for line in (dest / ".itkit" / "manifest.jsonl").read_bytes().splitlines()]


def test_a_dense_file_reads_as_the_one_before(tmp_path):
    manifest = at(tmp_path)
    sent = [record(name, number) for number, name in enumerate(NAMES * 3)]
    sent.append(record("content", outputs=({"path": "c.mha", "bytes": 1, "mtime_ns": 2, "sha256": "f"},)))
    manifest.append("itk_orient", *sent)
    before = dict(manifest.latest_done("itk_orient"))
    assert before == {one.case_id: one for one in sent}
    assert pack(manifest.path)
    assert dict(manifest.latest_done("itk_orient")) == before
    assert len(lines_of(tmp_path)) == len(NAMES) + 1  # older lines of a case no longer count
    for line in lines_of(tmp_path):
        assert {"case", "key", "inputs", "outputs", "status", "message", "seconds"} <= line.keys()
    assert pack(manifest.path)  # dense lines once more
    assert dict(manifest.latest_done("itk_orient")) == before
    manifest.append("itk_orient", record("a", 77))
    assert manifest.latest_done("itk_orient")["a"].facts == {"number": 77}


def test_what_counts_is_the_same_before_and_after(tmp_path):
    rng = random.Random(1)
    manifest = at(tmp_path)
    for number in range(300):
        Manifest(tmp_path, rng.choice([None, "1/2"])).append(
            rng.choice(["itk_orient", "itk_crop"]),
            record(rng.choice("abcdefgh"), number, status=rng.choice(["done", "done", "failed", "skipped", "left"])),
        )
    with manifest.path.open("a") as file:
        file.write('{"run": 1, "operation": "itk_orient", "case": "torn", "status": "done", "outputs": [{"pa')
    before = [dict(manifest.latest_done(name)) for name in ("itk_orient", "itk_crop")]
    highest = manifest.latest_done("itk_crop").highest
    for shard in (None, "1/2"):
        assert pack(Manifest(tmp_path, shard).path)
    assert [dict(manifest.latest_done(name)) for name in ("itk_orient", "itk_crop")] == before
    assert manifest.latest_done("itk_crop").highest == highest


def six_pairs(folder):
    """Return the parameters of a run over pairs that differ in their names alone."""
    phantoms.write_dataset(folder / "raw", 1)
    for kind in ("image", "label"):
        for number in range(1, 6):
            os.link(folder / "raw" / kind / "case_00.nii.gz", folder / "raw" / kind / f"case_{number:02d}.nii.gz")
    return {"source": folder / "raw", "dest": folder / "out", "orient": "RAS"}


def test_a_pair_takes_less_than_400_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 1)
    values = six_pairs(tmp_path)
    itkit.run("itk_orient", **values)
    sizes = [len(line) for line in (tmp_path / "out" / ".itkit" / "manifest.jsonl").read_bytes().splitlines()]
    assert max(sizes[1:]) < 400
    assert {one.status for one in itkit.run("itk_orient", **values).records} == {"skipped"}
    index = tmp_path / "out" / "series_meta.json"
    before = index.read_bytes()
    index.unlink()
    itkit.run("itk_orient", **values)
    assert index.read_bytes() == before


def test_what_is_long_is_no_form_that_every_reader_keeps(tmp_path):
    manifest = at(tmp_path)
    facts = {"patches": [{"file": f"p{number}.mha", "start": [0, 0, number]} for number in range(200)]}
    for case in ("a", "b", "c"):
        manifest.append("op", record(case, facts=facts))
    assert pack(manifest.path)
    lines = lines_of(tmp_path)
    assert len(json.dumps([line.get("forms") for line in lines])) < 2000
    assert [line["facts"] for line in lines] == [facts] * 3
    assert manifest.latest_done("op")["b"] == record("b", facts=facts)


def _append(dest, name, count):
    manifest = Manifest(dest)
    for number in range(count):
        manifest.append("itk_orient", record(f"{name}{number}", number))


def test_no_line_is_lost_while_a_file_is_rewritten(tmp_path):
    manifest = at(tmp_path)
    manifest.append("itk_orient", *(record(f"first{number}", number) for number in range(50)))
    writers = [multiprocessing.get_context("fork").Process(target=_append, args=(tmp_path, name, 150)) for name in "xy"]
    for writer in writers:
        writer.start()
    rewritten, is_writing = 0, True
    while is_writing:
        is_writing = any(writer.is_alive() for writer in writers)
        rewritten += pack(manifest.path)
        time.sleep(0.002)
    for writer in writers:
        writer.join()
    assert rewritten
    assert len(manifest.latest_done("itk_orient")) == 350


def test_records_outlive_the_file_that_they_were_read_from(tmp_path):
    manifest = at(tmp_path)
    manifest.append("itk_orient", *(record(f"c{number:03d}", number) for number in range(100)))
    records = manifest.latest_done("itk_orient")
    assert pack(manifest.path)
    manifest.path.unlink()
    assert [one.facts["number"] for one in records.values()] == list(range(100))


def test_a_damaged_line_is_passed_over_whenever_it_is_found(tmp_path):
    manifest = at(tmp_path)
    manifest.append("itk_orient", record("a", 1), record("b", 2), record("a", 3))
    data = manifest.path.read_bytes().splitlines(keepends=True)
    data[2] = data[2].replace(b'"outputs": [', b'"outputs": [7, ')  # whole JSON, but no record
    manifest.path.write_bytes(b"".join(data))
    records = manifest.latest_done("itk_orient")
    assert [(case, one.facts["number"]) for case, one in sorted(records.items())] == [("a", 1), ("b", 2)]


def test_more_manifests_than_files_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_MOST_OPEN", 2)
    for number in range(1, 6):
        at(tmp_path, f"{number}/5").append("itk_orient", record(f"c{number}", number))
    assert [one.facts["number"] for _, one in sorted(Manifest(tmp_path).latest_done("itk_orient").items())] == [
        1, 2, 3, 4, 5,
    ]  # fmt: skip


def test_without_locks_nothing_is_rewritten(tmp_path, monkeypatch):
    manifest = at(tmp_path)
    manifest.append("itk_orient", record("a"))
    before = manifest.path.stat().st_ino
    monkeypatch.setattr(packing, "try_lock", lambda file: "no locks")
    assert not pack(manifest.path)
    assert manifest.path.stat().st_ino == before


@pytest.mark.parametrize("seed", range(3))
def test_packed_values_come_back_in_order(seed):
    rng = random.Random(seed)
    values = [(rng.randrange(500), number) for number in range(rng.choice([3, 700, 2000]))]
    sorter = Sorter(key=lambda value: value[0])
    for value in values:
        sorter.add(value)
    found = sorter.in_order()
    assert list(found) == sorted(values, key=lambda value: value[0])
    assert found[len(found) // 2] == sorted(values, key=lambda value: value[0])[len(found) // 2]
    assert found[-1] == found[len(found) - 1]
    packed = Packed(values)
    assert packed == values
    assert packed[5:1:-2] == values[5:1:-2]


def dense_lines_of(dest):
    return [line for line in lines_of(dest) if "form" in line]


def test_a_long_run_appends_dense_lines_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 20_000)
    manifest = at(tmp_path)
    sent = [record(f"{name}{number}", number % 5) for number in range(10) for name in NAMES]
    for first in range(0, len(sent), 7):
        manifest.append("itk_orient", *sent[first : first + 7])
    assert len(sent) - 20 < len(dense_lines_of(tmp_path)) < len(sent)
    before = manifest.path.stat().st_ino
    assert dict(Manifest(tmp_path).latest_done("itk_orient")) == {one.case_id: one for one in sent}
    manifest.tidy()
    assert manifest.path.stat().st_ino == before, "there was nothing to make dense"
    assert dict(manifest.newest()["itk_orient"]) == {one.case_id: one for one in sent}


def test_runs_that_append_dense_lines_to_one_file_do_not_mix_up_what_they_share(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    rng = random.Random(2)
    at(tmp_path)
    runs = [Manifest(tmp_path) for _ in range(3)]
    sent = {}
    for number in range(200):
        if number % 50 == 49:
            assert pack(runs[0].path)  # by another run: the numbers of all forms change
        one = record(f"c{number}", rng.randrange(4))
        sent[one.case_id] = one
        rng.choice(runs).append("itk_orient", one)
    assert len(dense_lines_of(tmp_path)) == 200
    assert dict(Manifest(tmp_path).latest_done("itk_orient")) == sent
    assert pack(runs[0].path)
    assert dict(Manifest(tmp_path).latest_done("itk_orient")) == sent


def test_what_a_lost_line_defined_is_said_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    manifest = at(tmp_path)
    manifest.append("itk_orient", record("a", 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (manifest.path.stat().st_size + 100, hard))
    try:
        with pytest.raises(LayoutError, match="can't be written"):
            manifest.append("itk_orient", record("b", 2), record("c", 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    manifest.append("itk_orient", record("c", 2), record("d", 1))
    assert {case: one.facts["number"] for case, one in Manifest(tmp_path).latest_done("itk_orient").items()} == {
        "a": 1, "c": 2, "d": 1,
    }  # fmt: skip


def test_what_later_lines_need_is_on_disk_before_them(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file).st_size))
    manifest = at(tmp_path)
    sizes = []
    for number in (1, 1, 2, 1, 2):
        manifest.append("itk_orient", record(f"c{len(sizes)}", number))
        sizes.append(manifest.path.stat().st_size)
    assert flushed == [sizes[0], sizes[2]]


def test_a_line_that_would_not_read_back_is_written_in_full(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    whole = packing.full
    monkeypatch.setattr(
        packing, "full", lambda line, forms: whole(line, forms) | {"seconds": 0.25 + (line["case"] == "b")}
    )
    manifest = at(tmp_path)
    sent = [record("a", 1), record("b", 2), record("c", 2), record("d", 1)]
    manifest.append("itk_orient", *sent)
    assert [line["case"] for line in dense_lines_of(tmp_path)] == ["a", "c", "d"]
    assert dict(Manifest(tmp_path).latest_done("itk_orient")) == {one.case_id: one for one in sent}


def test_a_file_full_of_forms_gets_no_more_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    monkeypatch.setattr(module, "_MOST_NEW_FORMS", 3)
    manifest = at(tmp_path)
    sent = [record(f"c{number}", number) for number in range(9)]
    manifest.append("itk_orient", *sent)
    assert sum(len(line.get("forms", ())) for line in lines_of(tmp_path)) == 3
    assert dict(Manifest(tmp_path).latest_done("itk_orient")) == {one.case_id: one for one in sent}


class Interrupting(dict):
    """Facts during whose writing the user presses Ctrl-C."""

    def items(self):
        raise KeyboardInterrupt


def found(dest):
    return {case: one.facts["number"] for case, one in Manifest(dest).latest_done("itk_orient").items()}


def of_grid(case, number, name):
    return record(case, number, outputs=({**record(case, number).outputs[0], "name": name},))


def test_an_interrupt_while_a_line_is_made_takes_none_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    manifest = at(tmp_path)
    manifest.append("itk_orient", record("a", 1))
    with pytest.raises(KeyboardInterrupt):
        manifest.append("itk_orient", replace(of_grid("b", 2, "other"), facts=Interrupting(number=2)))
    manifest.append("itk_orient", of_grid("b", 2, "other"), of_grid("c", 1, "other"))
    assert found(tmp_path) == {"a": 1, "b": 2, "c": 1}


def test_files_that_somebody_has_joined_or_sorted_say_the_same(tmp_path):
    for shard, numbers in (("1/2", (1, 2, 3)), ("2/2", (3, 2, 1))):
        manifest = at(tmp_path, shard)
        manifest.append("itk_orient", *(record(f"{shard[0]}-{number}", number) for number in numbers))
        assert pack(manifest.path)
    before = found(tmp_path)
    parts = sorted((tmp_path / ".itkit").glob("manifest-*.jsonl"))
    lines = [line for part in parts for line in part.read_bytes().splitlines(keepends=True)]
    for part in parts:
        part.unlink()
    for joined in (lines, sorted(lines), lines[::-1]):
        Manifest(tmp_path).path.write_bytes(b"".join(joined))
        assert found(tmp_path) == before
        assert Manifest(tmp_path).newest()["itk_orient"].keys() == before.keys()
        assert pack(Manifest(tmp_path).path)
        assert found(tmp_path) == before


def test_a_number_with_two_meanings_has_none():
    forms = Forms()
    for value in (1, 2, 1):
        forms.learn({"forms": {"7": value, "8": 0}})
    assert forms.value(8) == 0
    with pytest.raises(KeyError):
        forms.value(7)


def test_a_damaged_line_counts_for_nothing_when_a_file_is_rewritten(tmp_path):
    manifest = at(tmp_path)
    manifest.append("itk_orient", record("a", 1), record("b", 2), record("a", 3))
    data = manifest.path.read_bytes().splitlines(keepends=True)
    data[2] = data[2].replace(b'"outputs": [', b'"outputs": [7, ')
    manifest.path.write_bytes(b"".join(data))
    assert pack(manifest.path)
    assert found(tmp_path) == {"a": 1, "b": 2}


def test_lines_without_what_they_share_are_named_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 1)
    values = six_pairs(tmp_path)
    itkit.run("itk_orient", **values)
    manifest = Manifest(tmp_path / "out")
    first, *others = manifest.path.read_bytes().splitlines(keepends=True)
    assert b'"forms"' in first
    manifest.path.write_bytes(b"".join(others))
    for _ in range(2):
        (told,) = [line for line in itkit.run("itk_orient", **values).summary.lines if "forms" in line]
        assert told.startswith(f"warning: {manifest.path}: {len(others)} lines can't be read")
    assert pack(manifest.path)
    with manifest.path.open("ab") as file:
        file.write(first)
    assert {one.status for one in itkit.run("itk_orient", **values).records} == {"skipped"}


def test_a_run_that_begins_anew_again_and_again_says_no_more_than_readers_keep(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOSE_BYTES", 0)
    monkeypatch.setattr(dense, "MOST_FORMS_READ", 600)
    manifest = at(tmp_path)
    for turn in range(4):
        manifest.append("itk_orient", *(record(f"{turn}-{number}", 256 * turn + number) for number in range(256)))
        manifest.path.write_bytes(b"\n" + manifest.path.read_bytes())  # other runs write where there are no locks
    assert len(found(tmp_path)) == 4 * 256


def test_what_is_packed_is_not_packed_again_whatever_the_names(tmp_path, monkeypatch):
    manifest = at(tmp_path)
    manifest.append("itk_orient", *(record(f"{name}{number}", 1) for number in range(9) for name in NAMES))
    inodes = []
    for size in (1 << 20, 5000, 5000):
        monkeypatch.setattr(module, "LOOSE_BYTES", size)
        later = Manifest(tmp_path)
        assert len(later.latest_done("itk_orient")) == 9 * len(NAMES)
        later.tidy()
        inodes.append(later.path.stat().st_ino)
    assert inodes[0] != inodes[1] == inodes[2]


def test_lines_below_one_that_is_too_long_to_read_count(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MOST_BYTES", 5000)
    manifest = at(tmp_path)
    manifest.append("itk_orient", record("a", 1))
    with manifest.path.open("a") as file:
        file.write('{"run": 1, "operation": "itk_orient", "case": "' + "b" * (5000 + (2 << 20)) + '"}\n')
    manifest.append("itk_orient", record("c", 2), record("a", 3))
    assert found(tmp_path) == {"a": 3, "c": 2}
    assert pack(manifest.path)
    assert found(tmp_path) == {"a": 3, "c": 2}


def test_damage_is_looked_for_once(tmp_path, monkeypatch):
    manifest = at(tmp_path)
    manifest.append("itk_orient", *(record(f"c{number}", number) for number in range(9)))
    known = manifest.latest_done("itk_orient")
    whole, read = records.with_places, []

    def misleading(file):
        read.append(file)
        return [(place + 1, line) for place, line in whole(file)]

    monkeypatch.setattr(records, "with_places", misleading)
    manifest.path.write_bytes(b"\n" + manifest.path.read_bytes()[:-2])  # by somebody who does not wait for its end
    assert list(known.values()) == []
    assert len(read) == 1
