from __future__ import annotations

import pytest

from itkit.kernels.dispatch import forced_backend, native


@pytest.fixture(params=["native", "numpy"])
def backend_name(request):
    if request.param == "native" and native() is None:
        pytest.fail("the compiled kernels are not built; run: python setup.py build_ext --inplace")
    with forced_backend(request.param):
        yield request.param
