"""What `slots` and `swap` make of the model families of torchvision and timm, one model each, without any weights."""

import importlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from poolbench.models.slots import Slot, slots
from poolbench.models.swap import swap


@dataclass(frozen=True)
class Finding:
    """One model: how many slots it has, and what became of `blur` in them and of `gem` or a token head in its last."""

    library: str
    family: str
    model: str
    slots: int
    pool: str
    head: str

    @property
    def swapped(self) -> bool:
        return "swapped" in (self.pool, self.head)


SMALL = ("atto", "femto", "pico", "nano", "tiny", "xxs", "_s", "small", "_b0", "18", "26")
"""What a small model's name has in it."""


def families() -> Iterator[tuple[str, str, str]]:
    """(library, family, model): of every module of classification models one, a small one if it has any."""
    import timm
    import torchvision

    for module in timm.list_modules():
        if names := timm.list_models(module=module):
            yield "timm", module, _smallest(names)
    modules = defaultdict(list)
    for name in torchvision.models.list_models(module=torchvision.models):
        modules[torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]].append(name)
    for module, names in modules.items():
        yield "torchvision", module, _smallest(names)


def _smallest(names: Sequence[str]) -> str:
    return min(names, key=lambda name: (name.startswith("test_"), not any(mark in name for mark in SMALL), name))


def build(library: str, name: str) -> tuple[nn.Module, Tensor]:
    """A model on the meta device, and an input of its size."""
    with torch.device("meta"):
        if library == "timm":
            import timm

            model: Any = timm.create_model(name)
            return model, torch.zeros(1, *model.default_cfg["input_size"])
        models = importlib.import_module("torchvision.models")
        auxiliary = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        size = 299 if name == "inception_v3" else 224
        return models.get_model(name, weights=None, **auxiliary), torch.zeros(1, 3, size, size)


def examine(library: str, family: str, name: str) -> Finding:
    """Swap the pooling, then the head, of one model, by tensors that have a shape and no numbers."""
    try:
        model, example = build(library, name)
        found = slots(model, example)
    except (NotImplementedError, ValueError) as error:  # what looks at its numbers while it is made, or run
        reason = f"not without numbers: {str(error).splitlines()[0]}"
        return Finding(library, family, name, 0, reason, reason)
    return Finding(library, family, name, len(found), *_outcomes(model, example, found))


def _outcomes(model: nn.Module, example: Tensor, found: list[Slot]) -> tuple[str, str]:
    """What becomes of its pooling and of its head: in one swap, unless one of them is to be blamed."""
    pool = "blur" if any(slot.takes == "local" for slot in found) else None
    takes = next((slot.takes for slot in found if slot.takes != "local"), None)
    head = None if takes is None else "gem" if takes == "global" else "token_gap"
    together = _outcome(model, example, pool, head)
    if together == "swapped":
        return "swapped" if pool else "no slot", "swapped" if head else "no head"
    alone = _outcome(model, example, pool, None), _outcome(model, example, None, head)
    return alone[0] if pool else "no slot", alone[1] if head else "no head"


def _outcome(model: nn.Module, example: Tensor, pool: str | None, head: str | None) -> str:
    try:
        swap(model, pool, head=head, example=example)
    except ValueError as error:
        return str(error)
    return "swapped"
