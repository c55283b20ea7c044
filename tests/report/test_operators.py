"""Cards: one for each operator that a cell uses, a user's own among them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from poolbench.report.operators import cards
from poolbench.report.records import Provenance, Result
from poolbench.report.summary import summarise

Evaluate = Callable[..., dict[str, Any]]


class Corner(nn.Module):
    """The corner of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::2, ::2]


def test_every_operator_that_cells_use_has_one_card(evaluation: Evaluate) -> None:
    own = f"{__name__}.Corner"
    chosen = {
        "a": ("max", "gap"),
        "b": ("stochastic", "gap"),
        "c": ("original", "spp"),
        "d": (own, "gap"),
        "e": ("?", ""),
    }
    results = [Result(cell, 0, {"pool": pool, "head": head}, evaluation()) for cell, (pool, head) in chosen.items()]
    found = {card.spec.name: card for card in cards(summarise(results, [], Provenance({}, [])))}
    assert list(found) == ["max", "gap", "stochastic", "spp", own]
    assert found["gap"].cells == ["a", "b", "d"]
    assert found[own].shapes[1] == (8, 14, 14)
    assert [each.key for each in found["max"].columns] == [
        "test.top1",
        "shift.consistency",
        "cost.step",
        "cost.pool_step",
        "cost.bytes_saved",
    ]


def test_a_role_of_another_task_counts_and_a_setting_does_not(evaluation: Evaluate) -> None:
    labels = {"model": "max", "region": "roi_align", "context": "aspp"}
    found = cards(summarise([Result("a", 0, labels, evaluation())], [], Provenance({}, [])))
    assert [card.spec.name for card in found] == ["roi_align", "aspp"]


def test_drawing_leaves_the_generator_alone(evaluation: Evaluate) -> None:
    summary = summarise([Result("a", 0, {"pool": "stochastic"}, evaluation())], [], Provenance({}, []))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = cards(summary)
    assert torch.equal(torch.rand(3), expected)
    assert [card.gradient for card in cards(summary)] == [card.gradient for card in first]
