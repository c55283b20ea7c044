"""Fabricated evaluations: nothing is trained, so every figure in these tests can be known in advance."""

import math
import random
from collections.abc import Callable

import pytest

from poolbench.report.records import Provenance, Result, Study

Evaluate = Callable[..., dict[str, object]]


@pytest.fixture(scope="session")
def evaluation() -> Evaluate:
    """Makes one run's evaluation of the given accuracy and consistency."""

    def make(top1: float = 0.9, consistency: float = 0.8, step_ms: float = 60.0, reach: int = 3) -> dict[str, object]:
        size = range(-reach, reach + 1)
        fall = (1 - consistency) * top1 / reach
        accuracy_map = [[top1 - fall * math.hypot(dx, dy) * (1 + 0.3 * (dx % 2)) / 2 for dx in size] for dy in size]
        return {
            "schema": 1,
            "test": {
                "images": 10000,
                "top1": top1,
                "top5": 0.5 + top1 / 2,
                "macro_f1": top1,
                "ece": 0.03,
                "loss": 1.5 - top1,
            },
            "validation": {"images": 5000, "top1": top1 + 0.003},
            "shift": {
                "protocol": "circular",
                "range": reach,
                "images": 1000,
                "consistency": consistency,
                "consistency_correct": consistency + 0.02,
                "mean_accuracy": top1 - 0.05,
                "worst_accuracy": min(map(min, accuracy_map)),
                "logit_drift": 4 * (1 - consistency),
                "accuracy_map": accuracy_map,
                "agreement_map": [[1 - fall * math.hypot(dx, dy) for dx in size] for dy in size],
            },
            "cost": {
                "parameters": 24_000,
                "multiply_adds": 4_140_000,
                "forward_ms": step_ms / 3,
                "step_ms": step_ms,
                "pool_step_ms": step_ms / 10,
                "bytes_saved": 21_500,
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
        for (pool, head), (top1, consistency, step_ms) in means.items():
            labels = {"model": "small", "data": "fashion_mnist", "pool": pool, "head": head, "budget": "small"}
            metrics = evaluation(
                top1 + luck + draw.gauss(0, 0.0012),
                consistency + draw.gauss(0, 0.006),
                step_ms * (1 + draw.gauss(0, 0.02)),
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
            "git": {"commit": "0123456789abcdef", "dirty": False},
            "versions": {"python": "3.12.3", "torch": "2.15.0", "pytorch-lightning": "2.6.0"},
            "device": "cpu, 2 threads, bfloat16 autocast",
            "machine": "x86_64, 2 cores",
            "data": {"name": "fashion_mnist", "sha256": "a" * 64},
        },
        commands=["git checkout 0123456789abcdef", "make repro"],
        repeat={
            run.cell: f"python -m poolbench.stages.train pool={run.labels['pool']} head={run.labels['head']} "
            "data=fashion_mnist budget=small seeds=0,1,2"
            for run in results
        },
    )
