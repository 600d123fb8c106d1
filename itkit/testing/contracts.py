"""The test suite that every command must pass: subclass `OperationContract` in a test module and name the command.

Examples
--------
Test a command of your own like this::

    class TestMyCommand(OperationContract):
        operation = MY_OPERATION

        def values(self, source, dest):
            return {"source": source, "dest": dest}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from itkit.cli.adapter import parse
from itkit.cli.help import help_text
from itkit.core.fields import Axes, Unit, marker
from itkit.core.files import DATASET_META, volume_suffix
from itkit.core.operation import Operation
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv
from itkit.engine.runner import RunResult, execute
from itkit.testing import phantoms


class OperationContract:
    """Tests for any command that reads a dataset and writes to a folder.

    Attributes
    ----------
    operation
        The command.
    changed
        Parameters that change the outputs.
    reads_images
        Whether the command reads images; ``False`` if it only reads label maps.
    needs_labels
        Whether the command leaves out images without a label.
    """

    operation: ClassVar[Operation[Any]]
    changed: ClassVar[dict[str, Any]] = {}
    reads_images: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True

    def values(self, source: Path, dest: Path) -> dict[str, Any]:
        """Return parameters for a dataset and a destination."""
        raise AssertionError("a contract's subclass says how its command is called")

    def run(self, source: Path, dest: Path, *, options: dict[str, Any] | None = None, **values: Any) -> RunResult:
        """Run the command."""
        params = make_params(self.operation.params, {**self.values(source, dest), **values})
        return execute(self.operation, params, make_params(RunOptions, options or {}))

    @staticmethod
    def volumes(folder: Path) -> dict[str, bytes]:
        """Return the bytes of every output volume."""
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and volume_suffix(path)
        }

    def test_help_shows_axis_order_and_unit(self) -> None:
        text = help_text(self.operation)
        for field in self.operation.params.model_fields.values():
            axes, unit = marker(field, Axes), marker(field, Unit)
            assert axes is None or set(axes.order) != set("ZYX") or "order Z Y X" in text
            assert unit is None or unit.name in text
        assert self.operation.example.split()[0] in text

    def test_argv_and_back(self, tmp_path: Path) -> None:
        params = make_params(self.operation.params, self.values(tmp_path / "a b", tmp_path / "c"))
        assert parse(self.operation, to_argv(params))[0] == params

    def test_one_worker_equals_two(self, tmp_path: Path) -> None:
        phantoms.write_dataset(tmp_path / "raw", 5)
        assert self.run(tmp_path / "raw", tmp_path / "one").exit_code == 0
        assert self.run(tmp_path / "raw", tmp_path / "two", options={"workers": 2}).exit_code == 0
        assert self.volumes(tmp_path / "one")
        assert self.volumes(tmp_path / "one") == self.volumes(tmp_path / "two")

    def test_second_run_skips_and_a_changed_parameter_does_not(self, tmp_path: Path) -> None:
        phantoms.write_dataset(tmp_path / "raw", 2)
        self.run(tmp_path / "raw", tmp_path / "out")
        before = self.volumes(tmp_path / "out")
        again = self.run(tmp_path / "raw", tmp_path / "out")
        assert {record.status for record in again.records} == {"skipped"}
        assert self.volumes(tmp_path / "out") == before
        other = self.run(tmp_path / "raw", tmp_path / "out", **self.changed)
        assert {record.status for record in other.records} == {"done"}
        assert self.volumes(tmp_path / "out") != before

    def test_unreadable_file_in_the_middle(self, tmp_path: Path) -> None:
        ids = phantoms.write_dataset(tmp_path / "raw", 3)
        for name in ("image", "label"):
            (tmp_path / "raw" / name / f"{ids[1]}.nii.gz").write_bytes(b"\x1f\x8b broken")
        result = self.run(tmp_path / "raw", tmp_path / "out")
        assert result.exit_code == 1
        assert [record.case_id for record in result.records if record.status == "failed"]
        assert sum(record.status == "done" for record in result.records) >= 2
        assert not any(ids[1] in name for name in self.volumes(tmp_path / "out"))

    def test_the_source_is_untouched(self, tmp_path: Path) -> None:
        phantoms.write_dataset(tmp_path / "raw", 2)
        before = {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
        self.run(tmp_path / "raw", tmp_path / "out")
        assert before == {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}

    def test_several_channels_are_one_case(self, tmp_path: Path) -> None:
        """Each channel gives the same result as when it is the only channel: same grid, same draw, same position."""
        channels = ("t1", "t1c", "flair")
        phantoms.write_channels(tmp_path / "raw", 2, channels=channels)
        assert self.run(tmp_path / "raw", tmp_path / "out").exit_code == 0
        found = self.volumes(tmp_path / "out")
        expected = {}
        for channel in channels:
            phantoms.write_channels(tmp_path / channel, 2, channels=channels, layout=channel)
            assert self.run(tmp_path / channel, tmp_path / f"only_{channel}").exit_code == 0
            for name, data in self.volumes(tmp_path / f"only_{channel}").items():
                is_label = not self.reads_images or "label" in name
                expected[name if is_label else name.replace(".mha", f"_{channel}.mha")] = data
        assert found == expected

    def test_a_vector_file_is_its_channels(self, tmp_path: Path) -> None:
        from itkit.io.sitk_toolkit import read_volume

        channels = ("t1", "t2")
        for layout in ("vector", *channels):
            phantoms.write_channels(tmp_path / layout, 2, channels=channels, layout=layout)
            assert self.run(tmp_path / layout, tmp_path / f"of_{layout}").exit_code == 0
        for name in self.volumes(tmp_path / "of_vector"):
            if not self.reads_images or "label" in name:
                assert (tmp_path / "of_vector" / name).read_bytes() == (tmp_path / "of_t1" / name).read_bytes()
                continue
            whole = read_volume(tmp_path / "of_vector" / name, channels=True)
            for number, channel in enumerate(channels):
                one = read_volume(tmp_path / f"of_{channel}" / name)
                assert whole.geometry == one.geometry
                assert (whole.array_zyx[..., number] == one.array_zyx).all()
        assert self.volumes(tmp_path / "of_vector").keys() == self.volumes(tmp_path / "of_t1").keys()

    def test_a_missing_channel_or_another_grid_fails_that_case_by_name(self, tmp_path: Path) -> None:
        if not self.reads_images:
            return
        from itkit.io.sitk_toolkit import read_volume, write_volume

        ids = phantoms.write_channels(tmp_path / "raw", 3)
        (tmp_path / "raw" / "image" / f"{ids[0]}_t2.mha").unlink()
        crooked = tmp_path / "raw" / "image" / f"{ids[1]}_t2.mha"
        volume = read_volume(crooked)
        write_volume(volume.with_array(volume.array_zyx[:-1], volume.geometry.crop((0, 0, 0), (8, 14, 11))), crooked)
        write_volume(volume, tmp_path / "raw" / "image" / f"{ids[2]}_stray.mha")
        result = self.run(tmp_path / "raw", tmp_path / "out")
        said = {record.case_id: record.message for record in result.records if record.status == "failed"}
        assert said.keys() == {ids[0], ids[1]}
        assert f"{ids[0]}_t2" in said[ids[0]]
        assert "image_t1 and image_t2 differ in size" in said[ids[1]]
        assert f"{ids[2]}_stray" in result.summary.unpaired
        assert all(ids[2] in name for name in self.volumes(tmp_path / "out"))

    def test_the_description_goes_on_and_says_what_was_done(self, tmp_path: Path) -> None:
        """`dataset.json` has the same bytes after one run, two, or shards; it never comes from the destination."""
        phantoms.write_channels(tmp_path / "raw", 3)
        if self.needs_labels:
            (tmp_path / "raw" / "label" / "case_02.mha").unlink()
        before = json.loads((tmp_path / "raw" / DATASET_META).read_text())
        self.run(tmp_path / "raw", tmp_path / "out")
        (path,) = (tmp_path / "out").rglob(DATASET_META)
        text = path.read_text()
        after = json.loads(text)
        assert {name: after[name] for name in ("name", "channels")} == {
            name: before[name] for name in ("name", "channels")
        }
        assert [entry["operation"] for entry in after["history"]] == [self.operation.name]
        values, params = self.values(tmp_path / "raw", tmp_path / "out"), after["history"][0]["params"]
        assert all(params[name] == str(path) for name, path in values.items() if isinstance(path, Path))
        cases = {*after.get("cases", {}), *(case for split in after.get("splits", {}).values() for case in split)}
        assert any("case_02" in case for case in cases) != self.needs_labels
        self.run(tmp_path / "raw", tmp_path / "out")
        assert path.read_text() == text
        path.unlink()
        for shard in ("1/2", "2/2"):
            self.run(tmp_path / "raw", tmp_path / "out", options={"shard": shard, "existing": "redo"})
        assert path.read_text() == text
        path.write_text('{"name": "of somebody else"}')
        result = self.run(tmp_path / "raw", tmp_path / "out")
        assert path.read_text() == '{"name": "of somebody else"}'
        assert any("dataset.json was not written by this command" in line for line in result.summary.lines)
