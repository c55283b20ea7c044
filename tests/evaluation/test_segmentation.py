import torch
import torch.nn.functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from poolbench.data.objects import Thing, pack
from poolbench.evaluation.boundary import boundary_iou
from poolbench.evaluation.segmentation import outlines, overlaps, segmentation, segmented

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


def test_scenes_are_measured_each_in_its_own_size():
    """A model that sees the truth in the grey; what is beyond a picture would be wrong, and counts nowhere."""
    pictures = []
    for height, width in ((20, 30), (33, 17), (24, 24)):
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[4:14, 5:13] = True
        pictures.append((mask.numpy().astype("uint8")[None], [Thing(0, (5, 4, 13, 14), mask.numpy())]))
    scenes = pack(pictures, channels=1)

    def model(images):
        return F.one_hot((images[:, 0] == 1).long(), 3).movedim(3, 1).float()

    found = segmented(model, scenes, torch.tensor([1.0]), 3, 2)
    assert found["test"] == {"images": 3, "miou": 1, "pixels": 1, "boundary_iou": 1}
    assert found["iou"] == [1, 1, None]
    shifted = segmented(lambda images: model(images.roll(1, 3)), scenes, torch.tensor([0.0]), 3, 2)
    assert shifted["iou"][1] == 3 * 70 / (3 * 90)
    assert shifted["test"]["boundary_iou"] < shifted["test"]["miou"] < 1
