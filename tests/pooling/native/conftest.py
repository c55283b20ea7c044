"""These tests are of the kernels, whatever the environment selects; they compile them if nobody has yet."""

import shutil
from collections.abc import Iterator

import pytest

from poolbench.pooling.native import selection


@pytest.fixture(scope="module", autouse=True)
def native() -> Iterator[None]:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(selection.SWITCH, raising=False)
        patch.setattr(selection, "_current", selection.backend())
        assert selection.prepare().name == "native"
        yield
