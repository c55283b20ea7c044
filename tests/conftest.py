"""What every test shares: a small generated data set, one thread, exact arithmetic, nothing sent anywhere."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from poolbench import data
from poolbench.data import Store
from poolbench.stages import SERVER

SHAPES = {"source": "shapes", "name": "shapes", "train": 400, "test": 120, "size": 16}


@pytest.fixture(scope="session", autouse=True)
def _arithmetic() -> None:
    torch.set_num_threads(1)  # the tests run beside each other
    torch.backends.cudnn.allow_tf32 = False  # convolutions of a GPU are compared to the precision of float32


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Generated pictures, 16 x 16."""
    return data.prepare(SHAPES, tmp_path_factory.mktemp("data"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run stages in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    return tmp_path


@contextmanager
def serving(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """A fork server of the sources that a process in `folder` imports: the value of its variable SERVER."""
    command = [sys.executable, "-m", "poolbench.stages.forkserver", "sh", "-c", f"echo ${SERVER}; cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True, env=environment) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        running.stdin.close()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A fork server for all tests that start stages, since imports take seconds."""
    with serving(Path.cwd(), os.environ) as server:
        yield server


@pytest.fixture
def served(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that this test starts are forks of the server's."""
    monkeypatch.setenv(SERVER, server)
