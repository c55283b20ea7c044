import pytest
import torch


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("channels", [3, 21])
@pytest.mark.parametrize("rows", [(0, 1, 1, 3), (0, 4, 4, 8)], ids=["two positions to a byte", "one"])
def test_cells_are_as_large_as_told(
    rows: tuple[int, ...], channels: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, channels, 9, 6, dtype=dtype).contiguous(memory_format=memory_format)
    last = memory_format == torch.channels_last
    torch.library.opcheck(
        torch.ops.poolbench.cells.default, (x, rows, (0, 4, 2, 5), last, True), test_utils="test_faketensor"
    )
