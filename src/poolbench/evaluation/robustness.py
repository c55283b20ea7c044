"""What a gain in consistency costs elsewhere: accuracy on noisy, blurred, compressed and faded pictures."""

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from poolbench.evaluation.answers import BATCH, Model
from poolbench.evaluation.interval import Estimate, estimates

SEVERITIES = range(1, 6)


def corrupt(images: Tensor, kind: str, severity: int) -> Tensor:
    """Pictures uint8 (N, C, H, W) spoilt as in CIFAR-10-C, at severity 1 to 5; the same every time.

    Hendrycks & Dietterich 2019, Benchmarking neural network robustness to common corruptions and perturbations, with
    the strengths for pictures of 32 pixels. Raises ValueError for another kind or severity.

    >>> corrupt(torch.full((1, 1, 2, 2), 200, dtype=torch.uint8), "contrast", 5).unique().tolist()
    [200]
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {kind!r}: choose from {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be from 1 to 5, got {severity}")
    function, strengths = CORRUPTIONS[kind]
    return function(images, strengths[severity - 1])


def _noise(images: Tensor, deviation: float) -> Tensor:
    """Gaussian noise of this standard deviation, where 1 is the whole range; one draw for every strength."""
    draw = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images.device)
    return _stored(images / 255 + deviation * draw)


def _blur(images: Tensor, deviation: float) -> Tensor:
    """A Gaussian blur of this standard deviation in pixels, cut at four of them, edges repeated."""
    reach = int(4 * deviation + 0.5)
    taps = (-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / deviation) ** 2).exp()
    taps = (taps / taps.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images / 255, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, taps, groups=images.shape[1])
    return _stored(F.conv2d(across, taps.mT, groups=images.shape[1]))


def _jpeg(images: Tensor, quality: float) -> Tensor:
    """JPEG of this quality, by Pillow, picture by picture."""
    spoilt = np.stack([_compressed(image, int(quality)) for image in images.permute(0, 2, 3, 1).cpu().numpy()])
    return torch.from_numpy(spoilt).permute(0, 3, 1, 2).contiguous().to(images.device)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


def _contrast(images: Tensor, share: float) -> Tensor:
    """This share of each channel's distance from its mean over the picture."""
    scaled = images / 255
    mean = scaled.mean((2, 3), keepdim=True)
    return _stored((scaled - mean) * share + mean)


def _stored(images: Tensor) -> Tensor:
    """Pictures of 0 to 1 as CIFAR-10-C keeps them: clipped, then cut to whole levels."""
    return (images.clamp(0, 1) * 255 + 1e-3).to(torch.uint8)  # a level that rounding put just below itself stays


CORRUPTIONS: Mapping[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "gaussian_noise": (_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "gaussian_blur": (_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
}


@torch.inference_mode()
def robustness(model: Model, images: Tensor, labels: Tensor, batch_size: int = BATCH) -> dict[str, list[Estimate]]:
    """Accuracy under each corruption of stored pictures uint8 (N, C, H, W), by severity from 1 to 5, with intervals.

    >>> images, labels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.long)
    >>> robustness(lambda batch: torch.eye(2)[torch.zeros(len(batch), dtype=torch.long)], images, labels)["jpeg"][4]
    (1.0, 1.0, 1.0)
    """
    found = {}
    for kind in CORRUPTIONS:
        spoilt = [corrupt(images, kind, severity) for severity in SEVERITIES]
        hits = {
            str(severity): torch.cat([model(batch).argmax(1) for batch in pictures.split(batch_size)]) == labels
            for severity, pictures in zip(SEVERITIES, spoilt, strict=True)
        }
        one = torch.ones(len(labels))
        found[kind] = list(estimates({severity: (hit.float().cpu(), one) for severity, hit in hits.items()}).values())
    return found
