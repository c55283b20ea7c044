"""Numbers become places and pixels."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from poolbench.report import drawings
from poolbench.report.drawings import Line, chart, spread, ticks


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (82.3, 89.1), (-0.2, 0.1), (0.001, 0.0047), (1, 3)])
def test_ticks_are_few_round_and_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 4
    assert all(low <= tick <= high for tick in found)
    assert all(len(f"{tick:g}".lstrip("-0.").replace(".", "")) <= 2 for tick in found)


def test_epochs_have_whole_ticks() -> None:
    assert ticks(1, 2, whole=True) == [1, 2]


def test_a_chart_places_its_ends_on_the_frame() -> None:
    made = chart([Line([(1, 5), (3, 7)], "seed 0")], (1, 3), (5, 7), size=(190, 120))
    assert made.paths[0].points == "30,104 184,6"
    assert made.up[0] == (104, "5")


def test_a_chart_of_one_value_has_a_place() -> None:
    assert chart([Line([(1, 5)])], (1, 1), spread([5.0])).paths[0].points


def test_grey_runs_from_black_to_white_and_signs_have_colours() -> None:
    shown = pixels(drawings.grey(torch.tensor([[0.0, 1.0, 2.0]]), (0.0, 2.0)))
    assert shown[0, :, 0].tolist() == [0, 128, 255]
    below, zero, above = pixels(drawings.signed(torch.tensor([[-2.0, 0.0, 2.0]])))[0].tolist()
    assert zero == [0, 0, 0]
    assert above[0] > above[2]
    assert below[2] > below[0]
    assert not pixels(drawings.signed(torch.zeros(2, 2))).any()
