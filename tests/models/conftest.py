"""Make ``tests.models.parity.fill`` importable however pytest is started; keep results independent of the machine."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
