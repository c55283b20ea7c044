"""Fabricated evaluations: nothing is trained, so every figure in these tests can be known in advance."""

import math
import random
from collections.abc import Callable

import pytest

from poolbench.evaluation import CORRUPTIONS, SCHEMA
from poolbench.report.records import Provenance, Result, Study

Evaluate = Callable[..., dict[str, object]]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="session")
def evaluation() -> Evaluate:
    """Makes one run's evaluation of the given accuracy and consistency."""

    def make(top1: float = 0.9, consistency: float = 0.8, step: float = 60.0, reach: int = 3) -> dict[str, object]:
        size = range(-reach, reach + 1)
        fall = (1 - consistency) * top1 / reach
        moves = [(dy, dx) for dy in size for dx in size if dy or dx]
        by_move = [top1 - fall * math.hypot(dx, dy) * (1 + 0.3 * (dx % 2)) / 2 for dy, dx in moves]
        shift = {
            "protocol": "circular",
            "range": reach,
            "images": 1000,
            "moves": [list(move) for move in moves],
            "accuracy": top1,
            "consistency": consistency,
            "consistency_correct": consistency + 0.02,
            "pairwise_agreement": consistency - 0.03,
            "mean_accuracy": top1 - 0.05,
            "worst_accuracy": min(by_move),
            "logit_drift": 4 * (1 - consistency),
            "largest_drift": 8 * (1 - consistency),
            "probability_variation": 0.1,
            "intervals": {"consistency": [consistency - 0.02, consistency + 0.02]},
            "accuracy_by_move": by_move,
            "diagonal": {
                "steps": list(size),
                "labels": [0, 1, 2, 0],
                "probability": [[0.2 + 0.1 * place] * len(size) for place in range(4)],
            },
            "flips": [{"image": 7, "label": 1, "answer": 0, "consistency": 0.5, "answers": {"0": 0.5, "2": 0.5}}],
        }
        return {
            "schema": SCHEMA,
            "environment": {"commit": "0123456789abcdef", "versions": {"torch": "2.15.0"}, "device": "cpu"},
            "data": {"name": "fashion_mnist", "checksum": "a" * 64, "classes": ["coat", "shirt", "<bag>"]},
            "test": {
                "images": 10000,
                "top1": top1,
                "top5": 0.5 + top1 / 2,
                "macro_f1": top1,
                "ece": 0.03,
                "loss": 1.5 - top1,
            },
            "validation": {"images": 5000, "top1": top1 + 0.003},
            "shift": shift,
            "shifts": {"aps_circular": shift | {"protocol": "aps_circular", "pairwise_agreement": consistency + 0.01}},
            "swaps": {"max_blur": {"accuracy": top1 - 0.01, "consistency": consistency + 0.05}},
            "layers": {"pool1": [0.1, 0.05, 0.15], "head": [0.3, 0.2, 0.4]},
            "geometry": {"pool1": {"shape": [4, 14, 14], "sees": [4, 4]}, "head": {"shape": [4], "sees": None}},
            "confusion": {"0": {"0": 90, "1": 10}, "1": {"1": 65, "0": 5, "2": 30}, "2": {"2": 100}},
            "reliability": [[0, 0.0, 0.0]] * 13 + [[40, 0.9, 0.8], [60, 0.97, 0.98]],
            "robustness": {
                "images": 500,
                "accuracy": {kind: [[top1 - 0.1, 0, 1]] * 4 + [[top1 - 0.2, 0, 1]] for kind in CORRUPTIONS},
            },
            "train": {"images": 1000, "top1": top1 + 0.02, "loss": 1.4 - top1, "gap": 0.02},
            "sizes": {
                "images": 200,
                "accuracy": [
                    {"height": 14, "width": 14, "accuracy": None, "refused": "shapes differ"},
                    {"height": 28, "width": 28, "accuracy": [top1, top1 - 0.1, top1 + 0.1], "refused": None},
                ],
            },
            "passes": {"images": 500, "evaluation": top1, "accuracy": [top1 - 0.02, top1 + 0.01]},
            "activations": [{"image": 0, "label": 2, "picture": PIXEL}],
            "pictures": {str(place): PIXEL for place in (0, 1, 2, 3, 7)},
            "cost": {
                "parameters": 24_000,
                "multiply_adds": 4_140_000,
                "forward": step / 3,
                "step": step,
                "pool_step": step / 10,
                "bytes_saved": 21_500,
                "energy_j": None,
                "yardstick_ms": 80.0,
            },
            "duration": {"train_s": 4.5, "evaluate_s": 1.2},
            "history": [
                {
                    "epoch": epoch,
                    "train_loss": 1 / (epoch + 1),
                    "validation_loss": 1.1 / (epoch + 1),
                    "validation_top1": top1 - 0.12 * math.exp(-1.8 * epoch),
                    "learning_rate": 0.1,
                }
                for epoch in range(3)
            ],
            "learned": [],
        }

    return make


@pytest.fixture(scope="session")
def results(evaluation: Evaluate) -> list[Result]:
    """Nine cells with three seeds each: seven operators, and three heads on max pooling."""
    means = {
        ("max", "gap"): (0.885, 0.82, 58),
        ("average", "gap"): (0.861, 0.865, 55),
        ("overlapping_max", "gap"): (0.888, 0.835, 66),
        ("stochastic", "gap"): (0.879, 0.83, 92),
        ("max_blur", "gap"): (0.890, 0.905, 88),
        ("strided", "gap"): (0.899, 0.62, 71),
        ("subsample", "gap"): (0.842, 0.58, 41),
        ("max", "gmp"): (0.883, 0.80, 59),
        ("max", "flatten"): (0.905, 0.66, 61),
    }
    draw = random.Random(0)
    results = []
    for seed in range(3):
        luck = draw.gauss(0, 0.003)
        for (pool, head), (top1, consistency, step) in means.items():
            labels = {"model": "small", "data": "fashion_mnist", "pool": pool, "head": head, "budget": "small"}
            metrics = evaluation(
                top1 + luck + draw.gauss(0, 0.0012),
                consistency + draw.gauss(0, 0.006),
                step * (1 + draw.gauss(0, 0.02)),
            )
            results.append(Result(f"small-fashion_mnist-{pool}-{head}", seed, labels, metrics))
    return results


@pytest.fixture(scope="session")
def studies() -> list[Study]:
    """The two studies of the nine cells; max with gap is in both."""
    pools = ("max", "average", "overlapping_max", "stochastic", "max_blur", "strided", "subsample")
    return [
        Study("pool", "Which pooling after each stage?", "pool", [f"small-fashion_mnist-{pool}-gap" for pool in pools]),
        Study("head", "Which head?", "head", [f"small-fashion_mnist-max-{head}" for head in ("gap", "gmp", "flatten")]),
    ]


@pytest.fixture(scope="session")
def provenance(results: list[Result]) -> Provenance:
    """An environment, and a command for every cell."""
    return Provenance(
        environment={
            "commit": "0123456789abcdef",
            "dirty": False,
            "versions": {"python": "3.12.3", "torch": "2.15.0", "pytorch-lightning": "2.6.0"},
            "device": "cpu, 2 threads, bfloat16 autocast",
            "machine": "x86_64, 2 cores",
        },
        commands=["git checkout 0123456789abcdef", "make repro"],
        repeat={
            run.cell: f"python -m poolbench.stages.train pool={run.labels['pool']} head={run.labels['head']} "
            "data=fashion_mnist budget=small seeds=0,1,2"
            for run in results
        },
        lock="b" * 64,
    )
