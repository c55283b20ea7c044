"""The benchmarks run; what they measure is for people to read."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from medians import estimate
from scipy.stats import binom

FOLDER = Path(__file__).parents[1] / "benchmarks"
Printed = Callable[..., str]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a benchmark prints; it writes nothing beside itself."""

    def run(script: str, *arguments: str) -> str:
        spec = spec_from_file_location(f"benchmark_{script}", FOLDER / f"{script}.py")
        assert spec is not None
        assert spec.loader is not None
        benchmark = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, benchmark)  # where dataclasses look for their annotations
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        spec.loader.exec_module(benchmark)
        kept = {file: file.read_bytes() for file in FOLDER.glob("results/*/*")}
        assert benchmark.main() == 0
        assert kept == {file: file.read_bytes() for file in FOLDER.glob("results/*/*")}
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("command", [["operators", "--quick", "gap"], ["training", "--turns", "1", "blur"]])
def test_it_prints_a_table_and_writes_nothing(printed: Printed, command: list[str]) -> None:
    assert command[-1] in printed(*command)


@pytest.mark.parametrize("number", [6, 7, 9, 50])
def test_an_interval_is_the_narrowest_of_values_that_is_sure_enough(number: int) -> None:
    """The values are their own ranks, and each lies below the median of all with a chance of a half."""
    middle, low, high = estimate(range(number))
    assert middle == (number - 1) / 2

    def surely(rank: int) -> float:
        return 1 - 2 * float(binom.cdf(rank, number, 0.5))

    assert low + high == number - 1
    assert surely(int(low)) >= 0.95 > surely(int(low) + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("workplace", "served")
def test_shifting_is_timed_on_a_trained_run(printed: Printed) -> None:
    train = [
        "poolbench.stages.train", "-m", "hydra.sweep.dir=runs", "cell=brief", "data=shapes", "data.train=100",
        "data.test=50", "data.size=16", "budget.epochs=1", "budget.images=80", "logger=csv", "trainer=cpu",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", *train], check=True)
    assert "bfloat16" in printed("shift", "runs/brief/seed-0", "--turns", "1", "--pictures", "50")
