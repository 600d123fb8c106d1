"""One suite that every command runs: subclass `OperationContract` in a test module, name the command, done.

Examples
--------
A command of your own is tested like ours::

    class TestMyCommand(OperationContract):
        operation = MY_OPERATION

        def values(self, source, dest):
            return {"source": source, "dest": dest}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from itkit.cli.adapter import parse
from itkit.cli.help import help_text
from itkit.core.fields import Axes, Unit, marker
from itkit.core.files import volume_suffix
from itkit.core.operation import Operation
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv
from itkit.engine.runner import RunResult, execute
from itkit.testing import phantoms


class OperationContract:
    """What any command that maps a dataset to a folder keeps.

    Attributes
    ----------
    operation
        The command.
    changed
        Parameters that make other outputs.
    """

    operation: ClassVar[Operation[Any]]
    changed: ClassVar[dict[str, Any]] = {}

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
