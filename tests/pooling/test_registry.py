import inspect
import re
from typing import Any, Optional, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from poolbench import pooling
from poolbench.pooling.registry import KINDS, Kind, Paper, Spec
from poolbench.pooling.window import Padding, Size

TYPES: set[Any] = {int, float, bool, str, tuple[int, ...], Size, Padding}
every_operator = pytest.mark.parametrize("name", pooling.names())


class Corner(nn.Module):
    """Keeps the corner of each cell."""

    def __init__(self, channels: int, step: int = 2) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :: self.step, :: self.step]


class Lenient(nn.Module):
    """Says little of its options, or what no operator here does."""

    def __init__(self, a: Any = None, b: Any = 1, c: int | None = None, d: tuple = (2, 2)) -> None:
        super().__init__()
        self.options = a, b, c, d


del Lenient.__init__.__annotations__["a"]
Lenient.__init__.__annotations__["c"] = Optional.__getitem__(int)  # as older code writes it


class Summary(nn.Module):
    """The sum of a map."""

    kind = "global"

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


def facts() -> dict[str, Any]:
    return {
        "title": "Corner",
        "formula": "y = x_0",
        "paper": Paper("nobody", 2000, "none", ""),
        "gradient": "to the corner",
        "numbers": "copies",
    }


def test_create_builds_the_class_with_its_options() -> None:
    module = pooling.create("max", 3, kernel_size=3, stride=1)
    assert isinstance(module, pooling.fixed.Max)
    assert module(torch.zeros(1, 3, 5, 5)).shape == (1, 3, 3, 3)


def test_arguments_may_be_named() -> None:
    x, boxes = torch.rand(1, 2, 6, 6), torch.tensor([[0.0, 1, 1, 4, 4]])
    align, aps = pooling.create("roi_align", 2), pooling.polyphase.APS()
    assert torch.equal(align(x, boxes=boxes), align(x, boxes))
    assert torch.equal(aps(x, choice=aps.choose(x)), aps(x))


def test_names_are_those_of_the_kinds() -> None:
    assert sorted(name for kind in KINDS for name in pooling.names(kind)) == sorted(pooling.names())
    assert "max" in pooling.names("local")
    assert "gap" in pooling.names("global")


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown kind of operator 'locale': did you mean 'local'"):
        pooling.names(cast(Kind, "locale"))


def test_duplicate_name_raises() -> None:
    before = pooling.names()
    with pytest.raises(ValueError, match=r"operator 'max' is registered already, as Max"):
        pooling.register("max", "local", **facts())(Corner)
    assert pooling.names() == before
    assert pooling.spec("max").operator is pooling.fixed.Max


@pytest.mark.parametrize("name", ["stochastik", "stocastic", "Stochastic"])
def test_unknown_name_gives_the_nearest_and_all(name: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown operator '{name}': did you mean .*'stochastic'.*max") as error:
        pooling.create(name, 3)
    assert "\n" not in str(error.value)


def test_unknown_option_lists_the_options() -> None:
    with pytest.raises(ValueError, match=r"operator 'max' has no option 'kernel': its options are kernel_size, stride"):
        pooling.create("max", 3, kernel=2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("max", {"kernel_size": True}, r"kernel_size must be int \| tuple\[int, int\], got True"),
        ("max", {"kernel_size": (2, 2, 2)}, "kernel_size must be"),
        ("max", {"ceil_mode": "no"}, "ceil_mode must be bool, got 'no'"),
        ("lp", {"p": "2"}, "p must be float, got '2'"),
        ("blur", {"filter_size": "3"}, "filter_size must be int, got '3'"),
        ("spp", {"levels": 2}, r"levels must be tuple\[int, ...\], got 2"),
        ("spp", {"levels": b"12"}, "levels must be"),
        ("aspp", {"rates": (2.0, 2.0)}, "rates must be"),
    ],
)
def test_option_of_another_type(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"operator '{name}': {message}") as error:
        pooling.create(name, 4, **options)
    assert "\n" not in str(error.value)


def test_options_of_an_own_class_may_be_of_any_type() -> None:
    defaults = {name: option.default for name, option in pooling.spec(Lenient).options.items()}
    assert pooling.create(Lenient, 4, **defaults).options == (None, 1, None, (2, 2))
    assert pooling.create(Lenient, 4, a="x", b=[1], c=3, d=[1, 2]).options == ("x", [1], 3, [1, 2])
    with pytest.raises(ValueError, match="c must be"):
        pooling.create(Lenient, 4, c="x")


def test_options_may_be_numbers_of_numpy_and_lists() -> None:
    assert pooling.create("max", 4, kernel_size=[np.int64(2), 3])(torch.rand(1, 4, 4, 6)).shape == (1, 4, 2, 2)
    assert pooling.create("lp", 4, p=np.float32(3)).p == 3
    assert pooling.create("spp", 4, levels=[1, 2])(torch.rand(1, 4, 4, 4)).shape == (1, 20)


def test_channels_are_no_option() -> None:
    assert pooling.spec("strided").needs_channels
    assert "channels" not in pooling.spec("strided").options


def test_own_class_works_as_a_name() -> None:
    module = pooling.create(Corner, 4, step=3)
    assert module(torch.zeros(1, 4, 6, 6)).shape == (1, 4, 2, 2)
    spec = pooling.spec(Corner)
    assert (spec.kind, spec.title) == ("local", "Keeps the corner of each cell.")
    assert spec.options["step"] == pooling.Option(int, 2)
    assert pooling.spec(Summary).kind == "global"


def test_registering_is_the_whole_act_of_adding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolbench.pooling.registry._specs", {})
    pooling.register("corner", "local", **facts())(Corner)
    assert pooling.names() == ["corner"]
    assert pooling.create("corner", 1)(torch.zeros(1, 1, 4, 4)).shape == (1, 1, 2, 2)


def test_dotted_path_works_as_a_name() -> None:
    assert isinstance(pooling.create("torch.nn.AvgPool2d", 3, kernel_size=2), nn.AvgPool2d)
    assert pooling.spec("torch.nn.AvgPool2d").name == "torch.nn.modules.pooling.AvgPool2d"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.at_all.Pool", r"cannot be imported.*PYTHONPATH"),
        ("torch.nn.NoPool", r"cannot be imported.*NoPool"),
        ("torch.nn.functional.max_pool2d", r"is no torch.nn.Module class"),
    ],
)
def test_bad_dotted_path(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        pooling.spec(path)
    assert "\n" not in str(error.value)


def test_parameters_are_counted() -> None:
    assert pooling.spec("max").parameters(64) == 0
    assert pooling.spec("strided").parameters(4) == 4 * 4 * 9 + 4


@every_operator
def test_options_are_typed_and_have_defaults(name: str) -> None:
    for key, option in pooling.spec(name).options.items():
        assert option.type in TYPES | {each | None for each in TYPES}, key
        assert option.default is not inspect.Parameter.empty, key


@every_operator
def test_spec_is_complete(name: str) -> None:
    spec = pooling.spec(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert spec.name == name
    assert all((spec.title, spec.formula, spec.gradient, spec.numbers, spec.shape))
    assert "\n" not in spec.title + spec.formula + spec.gradient + spec.numbers + spec.shape + spec.departs
    assert spec.paper.authors
    assert spec.paper.title
    assert 1950 < spec.paper.year < 2100
    assert spec.paper.link.startswith("https://")


@every_operator
def test_class_has_an_example_and_its_own_docstring(name: str) -> None:
    operator: type[nn.Module] = pooling.spec(name).operator
    assert operator.__doc__
    assert ">>>" in operator.__doc__


@pytest.mark.parametrize("name", [name for name in pooling.names("local") if pooling.spec(name).shape == Spec.shape])
def test_operators_of_the_common_shape_law_halve_a_map_by_default(name: str) -> None:
    assert pooling.spec(name).build(8)(torch.rand(2, 8, 28, 28)).shape[-2:] == (14, 14)
