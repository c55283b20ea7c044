import subprocess
import sys

import pytest


def stage(name, *overrides):
    return subprocess.run(
        [sys.executable, "-m", f"poolbench.stages.{name}", *overrides], capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("train", "pool=maxx", "unknown pool 'maxx': did you mean 'max' or 'max_blur'? Choose from average,"),
        ("train", "data=fashion", "unknown data 'fashion': did you mean 'fashion_mnist'? Choose from cifar10,"),
        ("train", "budget=tiny", "unknown budget 'tiny': Choose from full, small, smoke"),
        ("train", "pool.size=3", "Could not override 'pool.size'. Key 'size' not in 'max'"),
        ("train", "pool.kernel_size=0", "pool: kernel_size must be at least 1, got 0"),
        ("evaluate", "runs=nowhere", "nowhere"),
        ("report", "params=nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(workplace, name, override, message):
    answer = stage(name, override)
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("poolbench: ")
    assert message in line


@pytest.mark.slow
def test_a_traceback_for_those_who_ask(workplace, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    answer = stage("train", "pool.kernel_size=0")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
