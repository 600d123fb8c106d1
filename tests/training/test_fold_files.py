"""Which cases train and validate: files of several tools, drawn folds, and patients that stay together."""

import json

import pytest

from itkit.catalogue import load
from itkit.core.errors import LayoutError, ParamsError
from itkit.dataset.folder import DatasetFolder
from itkit.engine.options import RunOptions
from itkit.engine.runner import execute
from itkit.io.splits import read_splits
from itkit.training.splits import draw_fold, read_fold

from .cases import write_dataset

CASES = [f"case_{number}" for number in range(4)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("splits"), 4)


def split(dataset, path, **values):
    operation = load("itk_split")
    params = operation.params(source=dataset, output=path, folds=2, **values)
    assert execute(operation, params, RunOptions(seed=7)).exit_code == 0
    return path


def test_drawn_folds_are_those_of_itk_split(dataset, tmp_path):
    path = split(dataset, tmp_path / "splits.json")
    for fold in range(2):
        assert read_fold(path, fold, CASES) == draw_fold(CASES[::-1], 2, fold, seed=7)
        train = DatasetFolder(dataset, split="train", split_file=path, fold=fold)
        assert tuple(case.case_id for case in train.cases) == draw_fold(CASES, 2, fold, seed=7).train


def test_a_split_that_shares_a_patient_is_refused(dataset, tmp_path):
    path = split(dataset, tmp_path / "splits.json")
    values = json.loads(path.read_text())
    values["groups"] = {"Kim": ["case_0", "case_3"], "Lee": ["case_1", "case_2"]}
    values["folds"][0] = {"train": ["case_0", "case_1"], "val": ["case_2", "case_3"]}
    path.write_text(json.dumps(values))
    with pytest.raises(ParamsError, match="Kim, Lee would both train and validate"):
        read_fold(path, 0, CASES)
    path.write_text(json.dumps([{"train": ["case_0", "case_1"], "val": ["case_2"]}]))
    with pytest.raises(ParamsError, match="Kim would both train and validate"):
        read_fold(path, 0, CASES, {"case_1": "Kim", "case_2": "Kim"})


def test_drawn_folds_keep_patients_together():
    groups = {f"c{number}": f"p{number // 3}" for number in range(12)}
    for seed in range(5):
        folds = [draw_fold(list(groups), 4, fold, seed, groups) for fold in range(4)]
        assert sorted(case for fold in folds for case in fold.val) == sorted(groups)
        for fold in folds:
            assert not {groups[case] for case in fold.train} & {groups[case] for case in fold.val}
    with pytest.raises(ParamsError, match="4 patients can't be dealt into 5 folds"):
        draw_fold(list(groups), 5, 0, 0, groups)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "can't be read"),
        ('{"folds": 3}', "expected folds"),
        ('[{"train": "case_0"}]', "expected folds"),
        ('[{"train": ["x"], "val": ["case_0"]}]', "the dataset has no image with a label of x"),
        ('[{"train": ["case_1"]}]', "no case to validate"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, message):
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(ParamsError, match=message):
        read_fold(path, 0, CASES)
    path.write_text('[{"train": ["case_1"], "val": ["case_0"]}]')
    with pytest.raises(ParamsError, match="expected --fold 0 to 0"):
        read_fold(path, 1, CASES)
    with pytest.raises(LayoutError, match="can't be read"):
        read_splits(tmp_path / "none.json")
