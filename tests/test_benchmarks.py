"""The benchmarks run; what they measure is for people to read."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["operators.py", "--quick", "gap"], ["training.py", "--turns", "1", "blur"]])
def test_it_prints_a_table_and_writes_nothing(command: list[str]) -> None:
    kept = {file: file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
    script, *arguments = command
    answer = subprocess.run([sys.executable, FOLDER / script, *arguments], capture_output=True, text=True, check=True)
    assert arguments[-1] in answer.stdout
    assert kept == {file: file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
