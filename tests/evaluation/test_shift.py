"""Every figure against its definition, one picture and one move at a time."""

from dataclasses import asdict
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn

from poolbench import models
from poolbench.evaluation import PROTOCOLS, period, protocol, shift

IMAGES = torch.randint(0, 256, (11, 1, 10, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0])
WEIGHTS = torch.randn(10 * 14, 3, generator=torch.Generator().manual_seed(2))
WHOLE = ("circular", "crop", "zhang2019", "zhang2019_diagonal", "aps_circular", "aps_crop")


def linear(batch):
    """A classifier that a shift disturbs thoroughly."""
    return batch.float().flatten(1) @ WEIGHTS / 255


def network(pool="max", head="gap", size=32, padding_mode="circular", **options):
    """An untrained small network whose answers differ from picture to picture."""
    torch.manual_seed(0)
    model = models.create(
        "cnn", (1, size, size), 5, {"name": pool, **options}, head, widths=(4, 6, 8), padding_mode=padding_mode
    )
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias)
    nn.init.normal_(model.get_parameter("classifier.weight"), std=10)
    with torch.no_grad():  # no answer is the common one
        model.get_parameter("classifier.bias").sub_(model.eval()(pictures(20, size)[0]).mean(0))
    return model


def pictures(count, size):
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(count, 1, size // 4, size // 4, generator=generator)
    images = nn.functional.interpolate(coarse, scale_factor=4.0, mode="bicubic") + 0.3 * torch.randn(
        count, 1, size, size, generator=generator
    )
    return images, torch.randint(5, (count,), generator=generator)


def moved_by_hand(image, name, move, fill):
    dy, dx = map(int, move)
    if protocol(name).motion.__name__ == "circular":
        return np.roll(image, (dy, dx), (1, 2))
    reach = 20
    ground = fill if name == "aps_crop" else 0
    padded = np.pad(image.astype(float), ((0, 0), (reach, reach), (reach, reach)), constant_values=ground)
    return padded[:, reach - dy : reach - dy + image.shape[1], reach - dx : reach - dx + image.shape[2]]


def brute_force(classify, images, labels, name, moves, fill):
    rows = []
    for image, label in zip(images.numpy(), labels.tolist(), strict=True):
        plain = classify(torch.tensor(image[None]))[0].numpy()
        logits = [classify(torch.tensor(moved_by_hand(image, name, move, fill)[None]))[0].numpy() for move in moves]
        answers = [each.argmax() for each in logits]
        pairs = product(answers, answers) if protocol(name).identical_pairs else combinations(answers, 2)
        probability = [np.exp(each[label]) / np.exp(each).sum() for each in logits]
        drift = [np.abs(each - plain).max() for each in logits]
        rows.append({
            "accuracy": plain.argmax() == label,
            "consistency": np.mean([answer == plain.argmax() for answer in answers]),
            "pairwise_agreement": np.mean([one == other for one, other in pairs]),
            "mean_accuracy": np.mean([answer == label for answer in answers]),
            "worst_accuracy": all(answer == label for answer in [plain.argmax(), *answers]),
            "logit_drift": np.mean(drift),
            "largest_drift": max(drift),
            "probability_variation": np.std(probability),
            "answers": answers,
        })  # fmt: skip
    figures = {key: np.mean([row[key] for row in rows]) for key in rows[0] if key != "answers"}
    right = [row["consistency"] for row in rows if row["accuracy"]]
    named = np.array([row["answers"] for row in rows])
    plain = np.array([classify(image[None])[0].argmax().item() for image in images])
    return figures | {
        "consistency_correct": np.mean(right),
        "maximum_drift": max(row["largest_drift"] for row in rows),
        "accuracy_by_move": np.mean(named == labels.numpy()[:, None], 0),
        "agreement_by_move": np.mean(named == plain[:, None], 0),
    }


@pytest.mark.parametrize("batch_size", [4, 100])
@pytest.mark.parametrize("name", WHOLE)
def test_equals_brute_force(name, batch_size):
    found = shift(linear, IMAGES, LABELS, [name], 2, fill=33.0, batch_size=batch_size)[name]
    for key, value in brute_force(linear, IMAGES, LABELS, name, found.moves, 33.0).items():
        np.testing.assert_allclose(getattr(found, key), value, rtol=1e-4, err_msg=key)


def test_every_class_has_the_figures_of_its_pictures_alone():
    found = shift(linear, IMAGES, LABELS, radius=2)["circular"]
    assert found.by_class.keys() == {0, 1, 2}
    mine = LABELS == 1
    alone = shift(linear, IMAGES[mine], LABELS[mine], radius=2)["circular"]
    for key, (value, low, high) in found.by_class[1].items():
        assert value == pytest.approx(getattr(alone, key))
        assert (low, high) == pytest.approx(alone.intervals[key], abs=0.2 * (high - low) + 1e-9)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("circular", 48), ("crop", 48), ("fourier", 48), ("bilinear", 48), ("rotation", 6), ("scaling", 4),
        ("zhang2019", 16), ("zhang2019_diagonal", 5), ("aps_circular", 36), ("aps_crop", 49), ("engstrom_grid", 25),
        ("lps", 64),
    ],
)  # fmt: skip
def test_moves_of_each_protocol_at_28_pixels(name, count):
    chosen = protocol(name).chosen(3, 28, 28)
    assert len(set(chosen)) == len(chosen) == count
    if not protocol(name).published:
        assert (0, 0) not in chosen


def test_published_grids():
    assert {move[0] for move in protocol("engstrom_grid").chosen(9, 32, 32)} == {-3, -1.5, 0, 1.5, 3}
    assert {move[0] for move in protocol("engstrom_grid").chosen(9, 224, 224)} == {-24, -12, 0, 12, 24}
    assert len(protocol("zhang2019_diagonal").chosen(3, 224, 224)) == 33
    assert len(protocol("zhang2019").moves(3, 224, 224)) == 32**2
    assert sorted({dx for _, dx in protocol("aps_circular").chosen(9, 28, 28)}) == [-3, -2, -1, 0, 1, 2]


def test_drawn_pairs_stand_for_all():
    """The share of pairs of a protocol that draws some of its moves, in the mean over many draws by hand."""
    name = "lps"
    images, labels = IMAGES[:3], LABELS[:3]
    found = shift(linear, images, labels, [name])[name]
    made = [[torch.tensor(moved_by_hand(image, name, move, 0)) for move in found.moves] for image in images.numpy()]
    answers = [[linear(moved[None]).argmax().item() for moved in row] for row in made]
    distinct = np.mean([[one == other for one, other in combinations(row, 2)] for row in answers])
    assert found.pairwise_agreement == pytest.approx(distinct + (1 - distinct) / 64**2)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_constant_classifier_agrees_with_itself(name):
    found = shift(lambda batch: torch.tensor([[0.0, 1.0, 0.0]]).expand(len(batch), 3), IMAGES, LABELS, [name])[name]
    assert found.consistency == found.pairwise_agreement == found.consistency_correct == 1
    assert found.worst_accuracy == pytest.approx(found.accuracy)
    assert found.mean_accuracy == pytest.approx(found.accuracy)
    assert found.largest_drift == found.logit_drift == found.maximum_drift == found.probability_variation == 0
    assert found.intervals["consistency"] == (1, 1)
    assert found.caveat


def test_a_classifier_that_is_never_right():
    found = shift(linear, IMAGES, linear(IMAGES).argmin(1))["circular"]
    assert found.accuracy == found.consistency_correct == 0


def test_protocols_together_equal_each_alone():
    together = shift(linear, IMAGES, LABELS, WHOLE, 3, fill=33.0)
    assert list(together) == list(WHOLE)
    for name in WHOLE:
        assert asdict(together[name]) == asdict(shift(linear, IMAGES, LABELS, [name], 3, fill=33.0)[name])


def test_the_order_of_the_pictures_changes_nothing():
    order = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(0))
    first = asdict(shift(linear, IMAGES, LABELS)["circular"])
    again = asdict(shift(linear, IMAGES[order], LABELS[order])["circular"])
    for key in set(first) - {"diagonal", "flips", "by_class", "intervals", "caveat", "protocol"}:
        np.testing.assert_allclose(again[key], first[key], rtol=1e-6)
    for key, ends in first["intervals"].items():
        np.testing.assert_allclose(again["intervals"][key], ends, rtol=1e-5)


def test_polyphase_sampling_under_circular_padding_does_not_drift():
    images, labels = pictures(20, 32)
    found = shift(network("aps"), images, labels)["circular"]
    assert found.maximum_drift < 1e-5
    assert found.consistency == 1
    assert shift(network("max"), images, labels)["circular"].maximum_drift > 0.1
    assert shift(network("aps", padding_mode="zeros"), images, labels)["circular"].maximum_drift > 0.1


@pytest.mark.parametrize(("pool", "expected"), [("max", 8), ("aps", 1), ("overlapping_max", 32)])
def test_the_period_is_the_total_stride(pool, expected):
    options = {"padding": 1} if pool == "overlapping_max" else {}  # a border
    assert period(network(pool, **options), pictures(4, 32)[0]) == (expected, expected)


@pytest.mark.parametrize(
    ("head", "padding_mode", "size"), [("flatten", "circular", 32), ("gap", "zeros", 32), ("gap", "circular", 36)]
)
def test_without_a_global_head_circular_padding_or_strides_that_divide_there_is_no_period(head, padding_mode, size):
    assert period(network("max", head, size, padding_mode), pictures(4, size)[0]) == (size, size)


def test_all_circular_shifts_from_the_total_stride_squared():
    """All 32 x 32 of them, from 64 passes instead of 1,024, equal those made one by one."""
    images, labels = pictures(6, 32)
    model = network("max")
    passes = 0

    def counted(batch):
        nonlocal passes
        passes += len(batch)
        return model(batch)

    every = shift(counted, images, labels, radius=15)["circular"]
    made, passes = passes, 0
    shared = shift(counted, images, labels, radius=15, periodic=True)["circular"]
    assert len(every.moves) == 31**2 - 1
    assert 10 * passes < made
    assert shared.moves == every.moves
    assert shared.agreement_by_move == every.agreement_by_move
    assert [flip.answers for flip in shared.flips] == [flip.answers for flip in every.flips]
    np.testing.assert_allclose(shared.diagonal.probability, every.diagonal.probability, atol=1e-4)
    for key in every.intervals:
        assert getattr(shared, key) == pytest.approx(getattr(every, key), rel=1e-4), key
        assert shared.intervals[key] == pytest.approx(every.intervals[key], rel=1e-3), key
    assert 0.2 < every.consistency < 0.99


def test_a_cheaper_arithmetic_changes_no_answer():
    images, labels = pictures(40, 32)
    model = network("max")
    exact = shift(model, images, labels)["circular"]
    cheap = shift(model, images, labels, autocast=torch.autocast("cpu", torch.bfloat16))["circular"]
    assert cheap.accuracy_by_move == exact.accuracy_by_move
    assert cheap.agreement_by_move == exact.agreement_by_move
    assert [flip.answers for flip in cheap.flips] == [flip.answers for flip in exact.flips]
    assert cheap.logit_drift == pytest.approx(exact.logit_drift, rel=0.01)
    invariant = shift(network("aps"), images, labels, autocast=torch.autocast("cpu", torch.bfloat16))["circular"]
    assert invariant.maximum_drift < 1e-5


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator (CUDA, MPS, XPU) on this machine")
def test_another_device_changes_nothing():
    device = torch.accelerator.current_accelerator()
    assert device is not None
    images, labels = pictures(40, 32)
    model = network("max")
    here = shift(model, images, labels)["circular"]
    there = shift(model.to(device), images.to(device), labels.to(device))["circular"]
    assert there.agreement_by_move == here.agreement_by_move
    assert there.accuracy_by_move == here.accuracy_by_move
    assert there.logit_drift == pytest.approx(here.logit_drift, rel=1e-3)


def test_the_pictures_that_flip_most():
    found = shift(linear, IMAGES, LABELS)["circular"]
    agreement = [flip.consistency for flip in found.flips]
    assert agreement == sorted(agreement)
    worst = found.flips[0]
    made = [torch.tensor(moved_by_hand(IMAGES[worst.image].numpy(), "circular", move, 0)) for move in found.moves]
    answers = [linear(moved[None]).argmax().item() for moved in made]
    assert worst.answers == {label: answers.count(label) / len(answers) for label in worst.answers}
    assert sum(worst.answers.values()) == pytest.approx(1)


def test_the_diagonal_runs_from_up_left_to_down_right():
    found = shift(linear, IMAGES, LABELS)["circular"].diagonal
    assert found.steps == [-3, -2, -1, 0, 1, 2, 3]
    assert found.labels == LABELS[:4].tolist()
    expected = [linear(IMAGES[1].roll((step, step), (1, 2))[None]).softmax(1)[0, 1] for step in range(-3, 4)]
    np.testing.assert_allclose(found.probability[1], expected, rtol=1e-5)


def test_a_module_is_put_into_evaluation_mode():
    model = network("stochastic").train()
    images, labels = pictures(3, 32)
    shift(model, images, labels, radius=1)
    assert not model.training


@pytest.mark.parametrize(
    ("images", "protocols", "radius", "message"),
    [
        (IMAGES, ["circular"], 0, "shift.range must be from 1 to 4 for pictures of 10 x 14 pixels, got 0"),
        (IMAGES, ["circular"], 5, "shift.range must be from 1 to 4 for pictures of 10 x 14 pixels, got 5"),
        (IMAGES, ["crop"], 10, "shift.range must be from 1 to 9 for pictures of 10 x 14 pixels, got 10"),
        (IMAGES[:, :, :1, :1], ["circular"], 1, "pictures of 1 x 1 pixels cannot be shifted"),
        (IMAGES[:, :, :1, :1], ["lps"], 1, "pictures of 1 x 1 pixels cannot be shifted"),
        (IMAGES[:, :, :6], ["aps_crop"], 1, "pictures of 6 x 14 pixels are too small .* which needs 7"),
        (IMAGES[:, :, :6], ["zhang2019"], 1, "pictures of 6 x 14 pixels are too small .* which needs 8"),
        (IMAGES[:, :, :9], ["engstrom_grid"], 1, "pictures of 9 x 14 pixels are too small .* which needs 10"),
        (IMAGES, ["zhang2091"], 1, "unknown shift protocol 'zhang2091': did you mean 'zhang2019'"),
        (IMAGES[:0], ["circular"], 1, "shift needs pictures and a label for each, got 0 and 0"),
    ],
)
def test_mistakes_are_named(images, protocols, radius, message):
    with pytest.raises(ValueError, match=message):
        shift(linear, images, LABELS[: len(images)], protocols, radius)
