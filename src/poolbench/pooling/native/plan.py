"""What a kernel is told of windows: whole numbers written out, as torch looks at each item of a list it is given.

A plan is of windows on a map: kernel, stride and dilation (two numbers each); the padding before the map (two); rows
and columns of windows; the padding that an average counts, before and after the rows and the columns; the one position
that is looked at, or -1; the border of a filter; whether channels come last; the map's height and width. That of a
filter has the plan of the windows that it filters behind it.
"""

from collections.abc import Iterable
from functools import lru_cache

OWN = 19
"""Numbers of one plan."""


def written(numbers: Iterable[int]) -> str:
    """The numbers as a kernel is told them.

    >>> written([2, -1])
    '2 -1'
    """
    return " ".join([f"{number}" for number in numbers])  # of a symbol torch.compile takes no other form


@lru_cache(1024)
def numbers_of(text: str) -> tuple[int, ...]:
    """What was written."""
    return tuple(map(int, text.split()))
