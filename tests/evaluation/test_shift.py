import numpy as np
import pytest
import torch

from poolbench.evaluation import circular

IMAGES = torch.randint(0, 256, (11, 1, 7, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (11,), generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.randn(63, 3, generator=torch.Generator().manual_seed(2))


def linear(batch):
    """A classifier that a shift disturbs thoroughly."""
    return batch.float().flatten(1) @ WEIGHTS / 255


def brute_force(classify, images, labels, radius):
    """The definitions, one picture and one shift at a time."""
    agree: dict[tuple[int, int], list[bool]] = {}
    right: dict[tuple[int, int], list[bool]] = {}
    drift, always, correct_agree = [], [], []
    offsets = [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
    for image, label in zip(images.numpy(), labels.tolist(), strict=True):
        plain = classify(torch.tensor(image[None]))[0].numpy()
        hits = []
        for dy, dx in offsets:
            moved = np.roll(np.roll(image, dy, axis=1), dx, axis=2)
            logits = classify(torch.tensor(moved[None]))[0].numpy()
            same, hit = logits.argmax() == plain.argmax(), logits.argmax() == label
            agree.setdefault((dy, dx), []).append(same)
            right.setdefault((dy, dx), []).append(hit)
            hits.append(hit)
            if (dy, dx) != (0, 0):
                drift.append(np.abs(logits - plain).max())
                if plain.argmax() == label:
                    correct_agree.append(same)
        always.append(all(hits))
    moved_only = [offset for offset in offsets if offset != (0, 0)]
    return {
        "consistency": np.mean([agree[offset] for offset in moved_only]),
        "consistency_correct": np.mean(correct_agree),
        "mean_accuracy": np.mean([right[offset] for offset in moved_only]),
        "worst_accuracy": np.mean(always),
        "logit_drift": np.mean(drift),
        "accuracy_map": np.array([np.mean(right[offset]) for offset in offsets]).reshape(2 * radius + 1, -1),
        "agreement_map": np.array([np.mean(agree[offset]) for offset in offsets]).reshape(2 * radius + 1, -1),
    }


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [4, 100])
def test_equals_brute_force(radius, batch_size):
    found = circular(linear, IMAGES, LABELS, radius, batch_size)
    for name, value in brute_force(linear, IMAGES, LABELS, radius).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-5, err_msg=name)


def test_an_invariant_classifier_never_changes_its_mind():
    found = circular(
        lambda batch: batch.float().mean((1, 2, 3))[:, None] * torch.tensor([1.0, -1.0]), IMAGES, LABELS, 3
    )
    assert found.consistency == 1
    assert found.logit_drift < 1e-4
    assert found.worst_accuracy == found.mean_accuracy == found.accuracy_map[3][3]


@pytest.mark.parametrize("radius", [0, 4])
def test_a_radius_that_does_not_fit_is_named(radius):
    with pytest.raises(ValueError, match=f"shift.range must be from 1 to 3 for pictures of 7 x 9 pixels, got {radius}"):
        circular(linear, IMAGES, LABELS, radius)
