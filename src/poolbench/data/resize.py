"""Stored pictures at another size."""

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 1000
"""Pictures in float32 at a time: memory."""


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Pictures uint8 (N, C, H, W) brought to (N, C, height, width), bilinear, averaged over what a pixel then covers.

    >>> resized(torch.tensor([[[[0, 100], [200, 100]]]], dtype=torch.uint8), 1, 1).item()
    100
    """
    return torch.cat(
        [
            F.interpolate(batch.float(), (height, width), mode="bilinear", antialias=True).round().to(torch.uint8)
            for batch in images.split(AT_ONCE)
        ]
    )
