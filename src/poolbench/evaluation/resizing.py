"""How a classifier does on pictures of sizes that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poolbench.data.resize import resized
from poolbench.evaluation.answers import BATCH, Model
from poolbench.evaluation.interval import Estimate, estimates


@dataclass(frozen=True)
class Sized:
    """Accuracy with its 95 % interval at one size of picture; or why there is none, where the model takes no such."""

    height: int
    width: int
    accuracy: Estimate | None = None
    refused: str | None = None


@torch.inference_mode()
def at_sizes(
    model: Model, images: Tensor, labels: Tensor, factors: Sequence[float], batch_size: int = BATCH
) -> list[Sized]:
    """Accuracy on stored pictures uint8 (N, C, H, W) resized by each factor, to whole pixels.

    >>> images, labels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.long)
    >>> at_sizes(lambda batch: torch.eye(2)[[0] * len(batch)], images, labels, [0.5])
    [Sized(height=4, width=4, accuracy=(1.0, 1.0, 1.0), refused=None)]
    """
    found = []
    for factor in factors:
        height, width = (max(round(side * factor), 1) for side in images.shape[2:])
        try:
            model(resized(images[:1], height, width))
        except (
            RuntimeError,
            ValueError,
        ) as error:  # a layer of fixed size, or of a patch that does not divide this one
            found.append(Sized(height, width, refused=str(error).splitlines()[0]))
            continue
        pictures = resized(images, height, width)
        hit = torch.cat([model(batch).argmax(1) for batch in pictures.split(batch_size)]) == labels
        shares = {"accuracy": (hit.float().cpu(), torch.ones(len(labels)))}
        found.append(Sized(height, width, estimates(shares)["accuracy"]))
    return found
