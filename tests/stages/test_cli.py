import json
import subprocess
import sys

import pytest

from poolbench.stages import SERVER


@pytest.fixture(autouse=True)
def _served(served):
    """Processes start quickly."""


def stage(name, *overrides):
    return subprocess.run(
        [sys.executable, "-m", f"poolbench.stages.{name}", *overrides], capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("train", "pool=maxx", "unknown pool 'maxx': did you mean 'max' or 'max_blur'? Choose from adapool,"),
        (
            "train",
            "data=fashion",
            "unknown data 'fashion': did you mean 'fashion_mnist' or 'fashion_mnist56'? Choose from cifar10,",
        ),
        ("train", "budget=tiny", "unknown budget 'tiny': Choose from full, small, smoke"),
        ("train", "pool.size=3 pool=max", "Could not override 'pool.size'. Key 'size' not in 'max'"),
        ("train", "pool.kernel_size=0 pool=max", "pool: kernel_size must be at least 1, got 0"),
        ("evaluate", "runs=nowhere", "nowhere"),
        ("report", "only=lp", "params.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(workplace, name, override, message):
    answer = stage(name, *override.split())
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("poolbench: ")
    assert message in line


@pytest.mark.slow
def test_a_traceback_for_those_who_ask(workplace, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    answer = stage("train", "pool=max", "pool.kernel_size=0")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr


SWEEP = [
    "-m", "hydra.sweep.dir=sweep/runs", "logger=csv", "data=shapes", "data.train=200", "data.test=60", "data.size=16",
    "model.widths=[4,8]", "budget=smoke", "budget.images=128",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cores", ["one", "all"])
def test_a_multirun_goes_on_after_a_mistake_and_fails_in_the_end(workplace, monkeypatch, cores):
    if cores == "one":
        monkeypatch.delenv(SERVER)  # whose processes have all
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
    answer = stage("train", *SWEEP, "pool=max", "pool.kernel_size=0,2", "seed=0,1")
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == 2 * ["poolbench: pool: kernel_size must be at least 1, got 0"]
    assert len(list((workplace / "sweep").glob("runs/*kernel_size=2*/seed-*/model.safetensors"))) == 2


@pytest.mark.slow
def test_a_multirun_is_reported_from_its_folder(workplace):
    assert stage("train", *SWEEP, "pool=max,average", "seed=0,1").returncode == 0
    answer = stage("report", "runs=sweep/runs", "shift.range=1", "shift.images=20")
    assert answer.returncode == 0, answer.stderr
    summary = json.loads((workplace / "sweep" / "report" / "metrics.json").read_text())
    assert [cell["labels"]["pool"] for cell in summary["cells"].values()] == ["average", "max"]
    assert {cell["test"]["top1"]["n"] for cell in summary["cells"].values()} == {2}
    assert "max" in answer.stdout
