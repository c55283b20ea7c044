"""Model families of timm and torchvision: what swap makes of one model each."""

import sys

import pytest

from poolbench.models import __main__ as command
from poolbench.models.families import examine, families


def test_the_table_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["poolbench.models", "alexnet", "vision_transformer"])
    command.main()
    printed = capsys.readouterr().out
    assert "alexnet" in printed
    assert "no slot" in printed  # a vision transformer has a head alone
    assert printed.rstrip().endswith("3 of 3 families swapped")


@pytest.mark.slow
def test_at_least_forty_families_are_swapped(capsys):
    """Those of torchvision and every third of timm, for time; `python -m poolbench.models` examines all."""
    every = list(families())
    timm = [each for each in every if each[0] == "timm"]
    found = [examine(*each) for each in [*timm[::3], *(each for each in every if each[0] != "timm")]]
    with capsys.disabled():
        for each in found:
            print(f"{each.library:11} {each.family:28} {each.slots:3}  pool: {each.pool}  head: {each.head}")
    assert sum(each.pool == "swapped" for each in found) >= 40
    assert sum(each.head == "swapped" for each in found) >= 40
    for each in found:
        for outcome in (each.pool, each.head):
            assert outcome in ("swapped", "no slot", "no head") or "slot " in outcome or "numbers" in outcome, outcome
