"""What the definitions of the region operators promise, and what torchvision computes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision import ops

from poolbench import pooling
from poolbench.pooling.regions import CropAndResize, RoIAlign, RoIPool

Operator = Callable[[Tensor, Tensor], Tensor]
HEIGHT, WIDTH = 12, 9


def maps() -> Tensor:
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def boxes(scale: float = 1.0, number: int = 40) -> Tensor:
    """Boxes of every kind: inside, beyond the border, far away, of no size, upside down, on whole and half pixels."""
    random = torch.Generator().manual_seed(1)
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    corners = (torch.rand(number, 2, 2, generator=random, dtype=torch.float64) * 1.6 - 0.3) * size
    corners[: number // 2] = corners[: number // 2].sort(dim=1).values
    corners[::3] = (2 * corners[::3]).round() / 2
    corners[0, 1], corners[1] = corners[0, 0], corners[1] + 100
    pictures = torch.randint(2, (number, 1), generator=random)
    return torch.cat([pictures, corners.flatten(1) / scale], 1)


def both(ours: Operator, theirs: Operator, boxes: Tensor) -> None:
    """Equal values and gradients."""
    results = []
    for operator in (ours, theirs):
        x = maps().requires_grad_()
        y = operator(x, boxes)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)
        results.append((y, torch.autograd.grad((weights * y).sum(), x)[0]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_roi_align_is_torchvisions(scale: float, ratio: int, aligned: bool) -> None:
    def theirs(x: Tensor, boxes: Tensor) -> Tensor:
        return ops.roi_align(x, boxes, (3, 5), scale, ratio, aligned)

    both(RoIAlign((3, 5), scale, ratio, aligned), theirs, boxes(scale))


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_roi_pool_is_torchvisions(scale: float) -> None:
    """Where a cell's edges are exact in float32, as those of powers of two are."""
    both(RoIPool((4, 2), scale), lambda x, boxes: ops.roi_pool(x, boxes, (4, 2), scale), boxes(scale))


def test_roi_pool_cuts_cells_in_whole_numbers() -> None:
    """The last of 11 cells ends with the box, at pixel 28 of 0 to 28; torchvision's float32 takes the next one too."""
    x, box = torch.arange(31.0).expand(1, 1, 1, -1), torch.tensor([[0.0, 0.0, 0.0, 28.0, 0.0]])
    assert RoIPool((1, 11))(x, box).flatten()[-1] == 28
    assert ops.roi_pool(x, box, (1, 11)).flatten()[-1] == 29


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_roi_pool_of_special_numbers(value: float) -> None:
    x = torch.full((1, 1, 2, 2), value)
    x[0, 0, 0, 1] = 1.0 if value != float("-inf") else value
    y = RoIPool(1)(x, torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0]]))
    torch.testing.assert_close(y.flatten(), torch.tensor([value]), equal_nan=True)


def test_roi_align_is_exact_on_ramps_when_aligned() -> None:
    """A cell's value is the ramp at the cell's centre; without half a pixel it is displaced by as much."""
    row, column = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    ramp = (2 * (row + 0.5) + 3 * (column + 0.5))[None, None]
    box = torch.tensor([[0.0, 4.3, 5.9, 22.1, 13.4]])
    y = torch.linspace(5.9, 13.4, 2 * 4 + 1)[1::2]
    x = torch.linspace(4.3, 22.1, 2 * 5 + 1)[1::2]
    centres = (2 * y[:, None] + 3 * x)[None, None]
    torch.testing.assert_close(RoIAlign((4, 5))(ramp, box), centres)
    torch.testing.assert_close(RoIAlign((4, 5), aligned=False)(ramp, box), centres + 2.5)


def test_crop_and_resize_of_the_whole_map_is_bilinear_interpolation() -> None:
    x, whole = maps()[:1], torch.tensor([[0, 0, 0, WIDTH - 1, HEIGHT - 1]], dtype=torch.float64)
    torch.testing.assert_close(CropAndResize((HEIGHT, WIDTH))(x, whole), x)
    expected = torch.nn.functional.interpolate(x, (7, 5), mode="bilinear", align_corners=True)
    torch.testing.assert_close(CropAndResize((7, 5))(x, whole), expected)


def test_crop_and_resize_is_zero_beyond_the_map() -> None:
    x = torch.ones(1, 1, 4, 4)
    grid = CropAndResize((1, 3))(x, torch.tensor([[0.0, -3.0, 1.0, 3.0, 1.0]]))
    assert grid.flatten().tolist() == [0, 1, 1]


@pytest.mark.parametrize("name", pooling.names("region"))
def test_boxes_receive_no_gradient(name: str) -> None:
    given = boxes().requires_grad_()
    y = pooling.create(name, 3)(maps().requires_grad_(), given)
    y.sum().backward()
    assert given.grad is None


@pytest.mark.parametrize("name", pooling.names("region"))
def test_each_box_is_cut_from_its_picture_alone(name: str) -> None:
    operator, x, given = pooling.create(name, 3), maps(), boxes()
    together = operator(x, given)
    for box, grid in zip(given, together, strict=True):
        alone = torch.cat([torch.zeros(1, dtype=box.dtype), box[1:]])[None]
        torch.testing.assert_close(operator(x[int(box[0])][None], alone)[0], grid)


@pytest.mark.parametrize("name", pooling.names("region"))
def test_no_boxes(name: str) -> None:
    x = maps().requires_grad_()
    y = pooling.create(name, 3, output_size=(2, 4))(x, torch.zeros(0, 5))
    y.sum().backward()
    assert y.shape == (0, 3, 2, 4)
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("name", pooling.names("region"))
def test_boxes_of_the_wrong_shape(name: str) -> None:
    with pytest.raises(ValueError, match=r"boxes must be \(K, 5\).*got shape \(3, 4\)"):
        pooling.create(name, 3)(maps(), torch.zeros(3, 4))
