import re
from pathlib import Path
from typing import Any

import torch

from poolbench import models, pooling

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_its_python_runs():
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert names["model"](torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert names["blurred"](torch.rand(1, 3, 64, 64)).shape == (1, 1000)
    assert type(names["few"].maxpool.operator).__name__ == "MaxBlur"


def test_it_names_every_operator_and_network():
    for name in [*pooling.names(), *models.names()]:
        assert f"`{name}`" in README, name


def test_its_pictures_are_there():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / picture).is_file(), picture
