"""Averaging over test passes in which random operators draw as in training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poolbench.evaluation.answers import BATCH, Model


@torch.inference_mode()
def passes(
    model: Model,
    drawing: Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    count: int,
    batch_size: int = BATCH,
) -> list[float]:
    """Accuracy of the probabilities averaged over the first 1, 2, ... `count` passes over `images` (N, C, H, W).

    The layers `drawing` are in training mode meanwhile, all others as they are. The draws have a seed of their own.
    Source: Graham, 2014, Fractional max-pooling, https://arxiv.org/abs/1412.6071, who averages 12 passes.

    >>> dropout = nn.Dropout(0.5).eval()
    >>> images, labels = torch.eye(2)[:, :, None, None], torch.tensor([0, 1])
    >>> passes(lambda batch: dropout(batch).flatten(1), [dropout], images, labels, 8)[-1]
    1.0
    """
    probability = torch.zeros(())
    found = []
    modes = [layer.training for layer in drawing]
    devices = [images.device] if images.is_cuda else []
    try:
        for layer in drawing:
            layer.train()
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            for _ in range(count):
                drawn = torch.cat([model(batch).float().softmax(1) for batch in images.split(batch_size)])
                probability = probability.to(drawn) + drawn
                found.append((probability.argmax(1) == labels).float().mean().item())
    finally:
        for layer, mode in zip(drawing, modes, strict=True):
            layer.train(mode)
    return found
