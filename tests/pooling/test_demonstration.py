import pytest

from poolbench import pooling
from poolbench.pooling.demonstration import demonstrate


@pytest.mark.parametrize("name", pooling.names())
def test_every_operator_can_be_shown(name: str) -> None:
    shown = demonstrate(pooling.spec(name))
    assert shown.gradient.shape == shown.given.shape
    assert shown.gradient.count_nonzero() > 0
    assert shown.made.isfinite().all()
    assert len(shown.shapes[1]) < 3 or shown.made.shape == shown.shapes[1][-2:]


def test_a_gradient_is_where_the_maximum_was() -> None:
    shown = demonstrate(pooling.spec("max"))
    given, gradient = (each.unfold(0, 2, 2).unfold(1, 2, 2).flatten(2) for each in (shown.given, shown.gradient))
    assert (gradient.argmax(2) == given.argmax(2)).all()
    assert (gradient.sum(2) == 1).all()
