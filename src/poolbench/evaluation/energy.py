"""What the machine itself says of the energy it uses: RAPL of a processor, NVML of a GPU."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


def counter(device: torch.device, powercap: Path = POWERCAP) -> Callable[[], float] | None:
    """A function that gives the joules that `device` has used since some time, or None where the machine does not tell.

    A processor counts all that runs on it, other processes too. Its counters wrap around, at the earliest after some
    minutes at full load.

    >>> counter(torch.device("meta")) is None
    True
    """
    if device.type == "cuda":
        return _nvml(device)
    return _rapl(powercap) if device.type == "cpu" else None


def _rapl(powercap: Path) -> Callable[[], float] | None:
    """The processor's packages; most systems let only root read them."""
    files = sorted(powercap.glob("intel-rapl:[0-9]*/energy_uj"))
    packages = [file for file in files if file.parent.name.count(":") == 1]
    try:
        if not [file.read_text() for file in packages]:
            return None
    except PermissionError:
        return None
    return lambda: sum(int(file.read_text()) for file in packages) / 1e6


def _nvml(device: torch.device) -> Callable[[], float] | None:
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()

    def read() -> int:
        return int(library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)))

    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)) or read():
        return None

    def joules() -> float:
        read()
        return millijoules.value / 1e3

    return joules
