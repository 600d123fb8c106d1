"""Every command of the catalogue that writes volumes keeps the contract."""

from itkit.catalogue import load, named
from itkit.testing import phantoms
from itkit.testing.contracts import OperationContract


class TestResample(OperationContract):
    operation = load("itk_resample")
    changed = {"spacing": (2.0, 2.0, 2.0)}

    def values(self, source, dest):
        return {"mode": "dataset", "source": source, "dest": dest, "spacing": (1.5, 1.0, 1.0)}


class TestOrient(OperationContract):
    operation = load("itk_orient")
    changed = {"orient": "SRA"}

    def values(self, source, dest):
        return {"source": source, "dest": dest, "orient": "LPI"}


class TestPatch(OperationContract):
    operation = load("itk_patch")
    changed = {"patch_size": (5, 5, 5)}

    def values(self, source, dest):
        return {
            "source": source,
            "dest": dest,
            "patch_size": (4, 6, 5),
            "patch_stride": (4, 4, 4),
            "keep_empty_label_prob": 0.5,
        }


class TestAug(OperationContract):
    operation = load("itk_aug")
    changed = {"random_rot": (90.0, 0.0, 0.0)}

    def values(self, source, dest):
        return {
            "source": source / "image",
            "label_source": source / "label",
            "dest": dest / "image",
            "label_dest": dest / "label",
            "number": 2,
            "random_rot": (15.0, 5.0, 5.0),
        }


class TestExtract(OperationContract):
    operation = load("itk_extract")
    reads_images = False
    changed = {"mappings": ("1:2",)}

    def values(self, source, dest):
        return {"source": source / "label", "dest": dest, "mappings": ("3:1", "1:300")}


class TestCombine(OperationContract):
    operation = load("itk_combine")
    reads_images = False
    changed = {"map": ("b:2->7",)}

    def values(self, source, dest):
        inputs = (f"a={source / 'label'}", f"b={source}")
        return {"inputs": inputs, "dest": dest, "map": ("a:1,3->300", "b:2->1")}


class TestPresegment(OperationContract):
    operation = load("itk_presegment")
    needs_labels = False
    changed = {"threshold": (0.0, 500.0)}

    def values(self, source, dest):
        return {"source": source, "dest": dest, "target": "threshold", "threshold": (-9000.0, 9000.0)}


class TestCrop(OperationContract):
    operation = load("itk_crop")
    changed = {"margin_mm": (0.0, 2.0, 0.0)}

    def values(self, source, dest):
        return {"source": source, "dest": dest, "to": "foreground", "multiple_of": (2, 3, 4)}


class TestPostprocess(OperationContract):
    operation = load("itk_postprocess")
    reads_images = False
    changed = {"opening_mm": 1.7}

    def values(self, source, dest):
        return {"source": source / "label", "dest": dest, "largest": ("all",), "closing_mm": 2.0}


class TestEnhance(OperationContract):
    operation = load("itk_enhance")
    changed = {"steps": ("normalize zscore", "clip -1 1")}

    def values(self, source, dest):
        return {"source": source, "dest": dest, "steps": ("clip -160 240", "denoise median 1vox", "normalize robust")}


class TestAlign(OperationContract):
    operation = load("itk_align")
    test_several_channels_are_one_case = test_a_vector_file_is_its_channels = (
        None  # the first channel drives the others
    )
    changed = {"dtype": "float64"}

    def values(self, source, dest):
        return {"source": source, "fixed": source, "dest": dest, "transform": "translation", "levels": 1}


class OfNumbers(OperationContract):
    """Commands that write tables and no volumes: their tables are compared; there is no dataset to describe."""

    operation = None
    test_the_description_goes_on_and_says_what_was_done = None

    @staticmethod
    def volumes(folder):
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}

    def test_unreadable_file_in_the_middle(self, tmp_path):
        ids = phantoms.write_dataset(tmp_path / "raw", 3)
        (tmp_path / "raw" / "label" / f"{ids[1]}.nii.gz").write_bytes(b"\x1f\x8b broken")
        result = self.run(tmp_path / "raw", tmp_path / "out")
        assert result.exit_code == 1
        assert [record.status for record in result.records].count("done") == 2
        tables = self.volumes(tmp_path / "out")
        assert tables
        assert not any(line.startswith(ids[1].encode()) for text in tables.values() for line in text.splitlines())


class TestEvaluate(OfNumbers):
    operation = load("itk_evaluate")
    reads_images = False
    changed = {"labels": ("1",)}

    def values(self, source, dest):
        return {"gt": source / "label", "pred": source / "label", "dest": dest, "format": ("json", "csv")}


class TestStats(OfNumbers):
    operation = load("itk_stats")
    changed = {}
    test_several_channels_are_one_case = test_a_vector_file_is_its_channels = None  # channels are columns of one table
    test_a_missing_channel_or_another_grid_fails_that_case_by_name = None  # it writes no file of a case
    test_second_run_skips_and_a_changed_parameter_does_not = None  # no parameter changes its numbers

    def values(self, source, dest):
        return {"source": source, "dest": dest}


class TestSplit(OfNumbers):
    """It writes one file for all cases, at every run."""

    operation = load("itk_split")
    test_several_channels_are_one_case = test_a_vector_file_is_its_channels = None  # of a case, it writes the name
    test_a_missing_channel_or_another_grid_fails_that_case_by_name = None  # it compares no grids
    test_second_run_skips_and_a_changed_parameter_does_not = None  # every run writes its only file

    def values(self, source, dest):
        return {"source": source, "output": dest / "splits.json", "folds": 2, "stratify": "classes"}

    @staticmethod
    def volumes(folder):
        return {path.name: path.read_bytes() for path in sorted(folder.glob("splits.json"))}

    def test_unreadable_file_in_the_middle(self, tmp_path):
        ids = phantoms.write_dataset(tmp_path / "raw", 3)
        (tmp_path / "raw" / "label" / f"{ids[1]}.nii.gz").write_bytes(b"\x1f\x8b broken")
        result = self.run(tmp_path / "raw", tmp_path / "out")
        assert result.exit_code == 1
        assert {record.case_id: record.status for record in result.records}[ids[1]] == "failed"
        assert ids[1].encode() not in self.volumes(tmp_path / "out")["splits.json"]


def test_no_command_is_forgotten():
    tested = {value.operation.name for value in globals().values() if getattr(value, "operation", None)}
    assert set(named("process")) - tested <= {
        "itk_check",
        "itk_collect",
        "itk_convert",
        "itk_describe",
        "itk_infer",
        "itk_wsi",
    }  # they have contracts of their own
