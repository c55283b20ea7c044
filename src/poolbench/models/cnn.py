"""The small convolutional network that the default study trains."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from poolbench.models.registry import MakeOperator, register
from poolbench.naming import unknown

PADDINGS: dict[str, Literal["zeros", "circular"]] = {"zeros": "zeros", "circular": "circular"}


@register("cnn")
class Cnn(nn.Sequential):
    """Stages of convolution, batch norm and ReLU, a pool slot after each; a head slot; a linear classifier.

    Pictures (N, C, H, W) to logits (N, classes). The slots are called `pool1`, `pool2`, ... and `head`.
    `padding_mode` of the convolutions: zeros or circular, under which a circular shift meets no border.

    >>> from functools import partial
    >>> from poolbench import pooling
    >>> network = Cnn(partial(pooling.create, "max"), partial(pooling.create, "gap"), (1, 28, 28), 10)
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        pool: MakeOperator,
        head: MakeOperator,
        shape: tuple[int, int, int],
        classes: int,
        widths: Sequence[int] = (16, 32, 64),
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        self.slots: dict[str, nn.Module] = {}
        if not widths or min(widths) < 1:
            raise ValueError(f"model.widths must be one positive number a stage, got {list(widths)}")
        if padding_mode not in PADDINGS:
            raise unknown("model.padding_mode", padding_mode, PADDINGS)
        channels, *_ = shape
        picture = torch.zeros(1, *shape)
        for number, width in enumerate(widths, start=1):
            stage = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1, bias=False, padding_mode=PADDINGS[padding_mode]),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            self.add_module(f"stage{number}", stage)
            picture = picture.new_zeros(1, width, *picture.shape[2:])
            picture = self._fill(f"pool{number}", pool, picture)
            channels = width
        features = self._fill("head", head, picture)
        self.classifier = nn.Linear(features.shape[1], classes)

    def _fill(self, slot: str, make: MakeOperator, picture: Tensor) -> Tensor:
        """Put an operator into a slot; what it makes of `picture` says what the next layer receives."""
        operator = make(channels=picture.shape[1])
        self.add_module(slot, operator)
        self.slots[slot] = operator
        try:
            with torch.no_grad():
                made = operator.eval()(picture)
        except (ValueError, RuntimeError) as error:
            size = " x ".join(map(str, picture.shape[2:]))
            raise ValueError(f"slot {slot} of the network, a map of {size} pixels: {error}") from error
        finally:
            operator.train()
        if not isinstance(made, Tensor):
            raise ValueError(
                f"slot {slot} of the network takes one map on and gets a {type(made).__name__}: "
                "leave return_indices out"
            )
        return made
