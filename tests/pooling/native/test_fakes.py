import pytest
import torch

from poolbench.pooling.native import written
from poolbench.pooling.native.fakes import KEEPS
from poolbench.pooling.native.operator import _slid
from poolbench.pooling.window import Window

FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("channels", [3, 21])
@pytest.mark.parametrize("rows", ["0 1 1 3", "0 4 4 8"], ids=["two positions to a byte", "one"])
def test_cells_are_as_large_as_told(
    rows: str, channels: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, channels, 9, 6, dtype=dtype).contiguous(memory_format=memory_format)
    last = memory_format == torch.channels_last
    call = (x, rows, "0 4 2 5", last)
    torch.library.opcheck(torch.ops.poolbench.cells.default, (*call, True), test_utils="test_faketensor")
    torch.library.opcheck(torch.ops.poolbench.cell_switches.default, call, test_utils="test_faketensor")


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [*KEEPS, "average"])
def test_windows_are_as_told(name: str, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    x = torch.rand(2, 21, 9, 6, dtype=dtype).contiguous(memory_format=memory_format)
    last = int(memory_format == torch.channels_last)
    plan = written(_slid(Window.of(3, 2, 1, 1, False), 9, 6, last, counted=True, centre=-1))
    extra = {"coin": torch.rand(2, 21, 1, 1), "stochastic": torch.rand(2, 21, 5, 3)}.get(name)
    call = (x, extra, name, plan, 0.5)
    torch.library.opcheck(torch.ops.poolbench.slide.default, call, test_utils="test_faketensor")
    torch.library.opcheck(torch.ops.poolbench.switches.default, (x, plan), test_utils="test_faketensor")
    if name in KEEPS:
        torch.library.opcheck(torch.ops.poolbench.slide_keeping.default, call, test_utils="test_faketensor")
    else:
        with pytest.raises(RuntimeError, match="average keeps nothing"):
            torch.ops.poolbench.slide_keeping(*call)
