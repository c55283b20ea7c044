import re
from pathlib import Path

import torch

from poolbench import pooling

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_its_python_runs():
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    model = names["model"]
    assert isinstance(model, torch.nn.Module)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_it_names_every_operator():
    for name in pooling.names():
        assert f"`{name}`" in README, name


def test_its_pictures_are_there():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / picture).is_file(), picture
