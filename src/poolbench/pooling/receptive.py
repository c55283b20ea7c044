"""How much of a map one output of a chain of windows sees."""

from collections.abc import Iterable

from poolbench.pooling.window import Window


def receptive_field(chain: Iterable[Window]) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) in input pixels of what one output sees, and the step from one output's patch to the next.

    Two convolutions 3x3, each before a 2x2 pooling at stride 2:

    >>> convolution, pool = Window.of(3, 1, 1, 1, False), Window.of(2, 2, 0, 1, False)
    >>> receptive_field([convolution, pool, convolution, pool])
    ((10, 10), (4, 4))
    """
    size, step = (1, 1), (1, 1)
    for window in chain:
        size = (size[0] + (window.extent[0] - 1) * step[0], size[1] + (window.extent[1] - 1) * step[1])
        step = (step[0] * window.stride[0], step[1] * window.stride[1])
    return size, step
