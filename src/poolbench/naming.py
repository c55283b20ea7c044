"""Names that a user types: the nearest valid ones when a name is unknown."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, allowed: Iterable[str]) -> ValueError:
    """The one-line error for a name that does not exist.

    >>> unknown("operator", "maxx", ["average", "max"])
    ValueError("unknown operator 'maxx': did you mean 'max'? Choose from average, max")
    """
    allowed = list(allowed)
    near = get_close_matches(name, allowed, n=2, cutoff=0.5)
    hint = f" did you mean {' or '.join(map(repr, near))}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}:{hint} Choose from {', '.join(allowed)}")
