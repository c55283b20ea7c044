"""How many examples hypothesis draws an operator: 200; 10,000 with `HYPOTHESIS_PROFILE=thorough`; 20 by `quick`."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from poolbench.pooling.native import formulas

settings.register_profile(
    "default",
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
settings.register_profile("ci", settings.get_profile("default"), max_examples=200, derandomize=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(params=["kernels", "formulas"])
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """By which operators run, each in turn."""
    if request.param == "kernels":
        yield
    else:
        with formulas():
            yield
