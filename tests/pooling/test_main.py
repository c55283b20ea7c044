import sys

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from poolbench import pooling
from poolbench.pooling.__main__ import card, half_blocks, main


def test_table_lists_every_operator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in pooling.names())


@pytest.mark.parametrize("name", pooling.names())
def test_card_shows_what_the_spec_says(name: str) -> None:
    spec = pooling.spec(name)
    console = Console(width=2000)
    with console.capture() as capture:
        console.print(card(spec, colour=False))
    printed = capture.get()
    facts = (spec.title, spec.formula, spec.paper.title, spec.paper.link, spec.shape, spec.gradient, spec.numbers)
    for fact in (*facts, spec.departs, *spec.options):
        assert fact in printed
    assert "out (" in printed


def test_unknown_name_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maxblur"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("unknown operator 'maxblur': did you mean 'max_blur'")
    assert printed.err.count("\n") == 1


def test_picture_holds_two_rows_a_line() -> None:
    pixels = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    text = half_blocks(pixels, colour=True)
    assert text.plain == "▀▀\n▀▀\n"
    assert text.spans[0].style == "rgb(0,0,0) on rgb(255,255,255)"
    assert half_blocks(pixels, colour=False).plain == "=@\n= \n"


class Corner(nn.Module):
    """The upper left pixel of each window."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::2, ::2]


def test_a_class_of_your_own_has_a_card(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mine", sys.modules[Corner.__module__])
    assert main(["mine.Corner"]) == 0
    assert "The upper left pixel of each window." in capsys.readouterr().out
