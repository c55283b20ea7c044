"""What a pooled vector still tells of its picture: where an object lies, how many there are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.evaluation.linear import explained, probe

STEPS, BATCH, RATE = 200, 250, 3e-3


def told(head: nn.Module, seen: tuple[Tensor, Tensor], fresh: tuple[Tensor, Tensor], seed: int = 0) -> dict[str, float]:
    """How well a linear reader of what `head` makes of maps (N, C, H, W) tells targets (N, T), on `fresh` pairs.

    `r2` is the share of the targets' variance that it tells, `error` the mean distance from the target. A head with
    weights is trained first, together with a reader, on the maps that are `seen`.

    >>> maps = torch.rand(80, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> pairs = maps, maps.mean((2, 3))
    >>> round(told(nn.Flatten(), pairs, pairs)["r2"], 2)
    1.0
    """
    if any(True for _ in head.parameters()):
        _train(head, *seen, seed)
    with torch.no_grad():
        vectors, unknown = (torch.cat([head(part) for part in maps.split(BATCH)]) for maps in (seen[0], fresh[0]))
    guess = probe(vectors, seen[1])(unknown)
    distance = (guess - fresh[1]).norm(dim=1).mean().item()
    return {"r2": explained(guess, fresh[1], seen[1].double().mean(0)), "error": distance}


def _train(head: nn.Module, maps: Tensor, targets: Tensor, seed: int) -> None:
    """Least squares by Adam, through a linear reader that is thrown away."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.no_grad():
            reader = nn.Linear(head(maps[:1]).shape[1], targets.shape[1])
    generator = torch.Generator().manual_seed(seed)
    goal = ((targets - targets.mean(0)) / targets.std(0).clamp(min=1e-6)).float()
    optimizer = torch.optim.Adam([*head.parameters(), *reader.parameters()], RATE)
    for _ in range(STEPS):
        chosen = torch.randint(len(maps), (min(BATCH, len(maps)),), generator=generator)
        optimizer.zero_grad()
        F.mse_loss(reader(head(maps[chosen])), goal[chosen]).backward()
        optimizer.step()


def maps_before(model: nn.Module, layer: nn.Module, images: Tensor, batch_size: int = BATCH) -> Tensor:
    """What comes into one layer of a model, of images (N, C, H, W) or a batch of any input, on the CPU."""
    found: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, received: found.append(received[0].float().cpu()))
    try:
        with torch.inference_mode():
            for batch in images.split(batch_size):
                model(batch)
    finally:
        hook.remove()
    return torch.cat(found).clone()
