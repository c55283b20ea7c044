"""What every test shares: a small generated data set, one thread, nothing sent anywhere."""

from pathlib import Path

import pytest
import torch

from poolbench import data
from poolbench.data import Store

SHAPES = {"source": "shapes", "name": "shapes", "train": 400, "test": 120, "size": 16}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the tests run beside each other


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
