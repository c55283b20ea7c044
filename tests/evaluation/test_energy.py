"""What a machine tells of its energy, on stand-ins for the machine."""

import ctypes
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from poolbench.evaluation import cost, energy

CPU = torch.device("cpu")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    for zone, microjoules in {"intel-rapl:0": 5_000_000, "intel-rapl:0:0": 900, "intel-rapl:1": 2_000_000}.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{microjoules}\n")
    return tmp_path


def test_packages_count_once(powercap: Path) -> None:
    joules = energy.counter(CPU, powercap)
    assert joules is not None
    assert joules() == pytest.approx(7.0)


def test_a_machine_without_counters_tells_nothing(tmp_path: Path) -> None:
    assert energy.counter(CPU, tmp_path) is None


def test_a_counter_for_root_alone_tells_nothing(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Path) -> str:
        raise PermissionError(file)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert energy.counter(CPU, powercap) is None


class Library:
    """NVML as far as it is used: functions that return 0 where all is well."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses

    def nvmlInit_v2(self) -> int:
        return int(self.refuses == "init")

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: object) -> int:
        assert uuid == b"GPU-1234"
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, place: Any) -> int:
        place._obj.value = 42_500
        return int(self.refuses == "energy")


@pytest.mark.parametrize(("refuses", "expected"), [("", 42.5), ("init", None), ("energy", None)])
def test_a_gpu_counts_millijoules(monkeypatch: pytest.MonkeyPatch, refuses: str, expected: float | None) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(refuses))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("Properties", (), {"uuid": "1234"}))
    joules = energy.counter(torch.device("cuda"))
    assert (joules() if joules else None) == expected


def test_no_driver_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert energy.counter(torch.device("cuda")) is None


def test_a_step_uses_what_the_counter_grows_by(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[object] = []
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    network.register_forward_hook(lambda *_: steps.append(None))
    joules = 2.5  # a step
    monkeypatch.setattr(
        import_module("poolbench.evaluation.cost"), "counter", lambda device: lambda: joules * len(steps)
    )
    yardstick = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    found = cost(network, {}, torch.zeros(6, 1, 8, 8), yardstick)
    assert found.energy_j == pytest.approx(1000 * joules / 6)
