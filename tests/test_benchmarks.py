"""The benchmarks run; what they measure is for people to read."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def printed(script: str, *arguments: str) -> str:
    """What a benchmark prints, if it writes nothing beside it."""
    kept = {file: file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
    answer = subprocess.run([sys.executable, FOLDER / script, *arguments], capture_output=True, text=True, check=True)
    assert kept == {file: file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
    return answer.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", [["operators.py", "--quick", "gap"], ["training.py", "--turns", "1", "blur"]])
def test_it_prints_a_table_and_writes_nothing(command: list[str]) -> None:
    assert command[-1] in printed(*command)


@pytest.mark.slow
@pytest.mark.usefixtures("workplace", "served")
def test_shifting_is_timed_on_a_trained_run() -> None:
    train = [
        "poolbench.stages.train", "-m", "hydra.sweep.dir=runs", "cell=brief", "data=shapes", "data.train=100",
        "data.test=50", "data.size=16", "budget.epochs=1", "budget.images=80", "logger=csv", "trainer=cpu",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", *train], check=True)
    assert "bfloat16" in printed("shift.py", "runs/brief/seed-0", "--turns", "1", "--pictures", "50")
