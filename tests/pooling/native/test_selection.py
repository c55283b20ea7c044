import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolbench.pooling.native import build, selection


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache without kernels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(selection, "_current", selection.backend())
    return tmp_path


def test_the_switch_selects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLBENCH_BACKEND", "formula")
    assert str(selection.choose()) == "formula: POOLBENCH_BACKEND=formula"
    monkeypatch.setenv("POOLBENCH_BACKEND", "native")
    assert selection.choose().name == "native"


def test_the_switch_has_two_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLBENCH_BACKEND", "nativ")
    with pytest.raises(ValueError, match="unknown POOLBENCH_BACKEND 'nativ': did you mean 'native'"):
        selection.choose()


def test_kernels_that_are_missing_cost_one_line(empty: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert selection.choose().name == "formula"
    assert len(caplog.messages) == 1
    assert "python -m poolbench.pooling.native" in caplog.text


@pytest.mark.parametrize(
    ("compiler", "reason"), [("no-such-compiler", "no C++ compiler is called no-such-compiler"), ("false", "failed")]
)
def test_without_a_compiler_the_formulas_remain(
    empty: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, compiler: str, reason: str
) -> None:
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(selection, "_current", selection.Backend("formula", "not compiled yet"))
    found = selection.prepare()
    assert found.name == "formula"
    assert reason in found.reason
    assert len(caplog.messages) == 1
    assert not list(empty.rglob("*.so"))


SMALL = """
from poolbench.pooling.native import build
build.FOLDER = __import__("pathlib").Path({folder!r})
print(build.build())
"""


def test_two_processes_may_compile_at_once(empty: Path, tmp_path: Path) -> None:
    """Both succeed, and leave one whole library."""
    for number, name in enumerate(build.UNITS):
        (tmp_path / name).write_text(f"int answer_{number}() {{ return 42; }}")
    command = [sys.executable, "-c", SMALL.format(folder=str(tmp_path))]
    environment = {**os.environ, "POOLBENCH_BACKEND": "formula"}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    files = {process.communicate()[0].strip() for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert [str(file) for file in (empty / "poolbench").iterdir()] == list(files)
