import numpy as np
import pytest
import torch

from poolbench.evaluation import classification, confusion, reliability
from poolbench.training.metrics import metrics


def by_definition(logits, labels, bins=15):
    order = np.argsort(-logits, axis=1)
    answer = order[:, 0]
    scores = []
    for c in range(logits.shape[1]):
        true = np.sum((answer == c) & (labels == c))
        named, are = np.sum(answer == c), np.sum(labels == c)
        scores.append(2 * true / (named + are) if named + are else 0.0)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    confidence = (shares / shares.sum(1, keepdims=True)).max(1)
    error = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            error += inside.mean() * abs((answer == labels)[inside].mean() - confidence[inside].mean())
    top = min(5, logits.shape[1] - 1)
    return {
        "top1": np.mean(answer == labels),
        "top5": np.mean([label in row[:top] for label, row in zip(labels, order, strict=True)]),
        "macro_f1": np.mean(scores),
        "ece": error,
    }


@pytest.mark.parametrize("classes", [3, 10])
def test_equals_the_definitions(classes):
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(200, classes)), rng.integers(0, classes, 200)
    found = classification(torch.tensor(logits), torch.tensor(labels))
    for name, value in by_definition(logits, labels).items():
        assert found[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize("classes", [3, 10])
def test_training_computes_the_same(classes):
    rng = np.random.default_rng(1)
    logits = torch.tensor(2 * rng.normal(size=(200, classes)))
    labels = torch.tensor(rng.integers(0, classes - 1, 200))  # one class has no picture
    during = metrics(classes)
    during.update(logits.float(), labels)
    expected = {name: value.item() for name, value in during.compute().items()}
    assert classification(logits, labels) == pytest.approx(expected, abs=1e-6)


def test_confusion_and_reliability_count_every_picture():
    rng = np.random.default_rng(2)
    logits, labels = torch.tensor(2 * rng.normal(size=(300, 6))), torch.tensor(rng.integers(0, 6, 300))
    answer = logits.argmax(1)
    counts = confusion(logits, labels)
    for label in range(6):
        for named in range(6):
            expected = int(((labels == label) & (answer == named)).sum())
            assert counts[label].get(named, 0) == expected
            assert named not in counts[label] or expected > 0
    bins = reliability(logits, labels)
    confidence = logits.softmax(1).amax(1)
    assert sum(count for count, _, _ in bins) == 300
    for place, (count, mean, accuracy) in enumerate(bins):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        assert count == inside.sum()
        if count:
            assert mean == pytest.approx(confidence[inside].mean().item())
            assert accuracy == pytest.approx((answer == labels)[inside].double().mean().item())
        else:
            assert (mean, accuracy) == (0, 0)
