import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from poolbench.evaluation.boundary import boundary_iou
from poolbench.evaluation.segmentation import outlines, overlaps, segmentation

GENERATOR = torch.Generator().manual_seed(0)
TRUTH = torch.randint(-1, 4, (3, 9, 11), generator=GENERATOR)
ANSWER = torch.where(torch.rand(TRUTH.shape, generator=GENERATOR) < 0.6, TRUTH.clamp(min=0), 4)


def test_as_torchmetrics_counts():
    found = segmentation(overlaps(ANSWER, TRUTH, 6))
    jaccard, pixels = (
        MulticlassJaccardIndex(6, ignore_index=-1),
        MulticlassAccuracy(6, ignore_index=-1, average="micro"),
    )
    assert abs(found["miou"] - jaccard(ANSWER, TRUTH).item()) < 1e-6
    assert abs(found["pixels"] - pixels(ANSWER, TRUTH).item()) < 1e-6


def test_pictures_add_up():
    alone = [overlaps(answer[None], truth[None], 6) for answer, truth in zip(ANSWER, TRUTH, strict=True)]
    assert torch.equal(torch.stack(alone).sum(0), overlaps(ANSWER, TRUTH, 6))


def test_a_band_as_wide_as_the_picture_asks_for():
    wide = torch.zeros(100, 200, dtype=torch.long)
    wide[20:80, 50:150] = 1
    moved = wide.roll(3, 1)
    assert torch.equal(outlines(moved, wide, 2), boundary_iou(moved[None], wide[None], 2, 4))
