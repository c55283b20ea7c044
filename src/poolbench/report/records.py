"""What the report is made from: runs that were evaluated, the studies they belong to, and where they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poolbench.evaluation import SCHEMA
from poolbench.naming import unknown
from poolbench.studies import Claim


@dataclass(frozen=True)
class Metric:
    """One measured quantity: where an evaluation keeps it and how people read it.

    `key` is its path in an evaluation, `section.name`; people see the value times `scale`, in `unit`, with `digits`
    decimals.
    """

    key: str
    title: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 1
    higher_is_better: bool = True

    @property
    def heading(self) -> str:
        """The title with its unit, for a column or an axis."""
        title = self.title[0].upper() + self.title[1:]
        return f"{title}, {self.unit}" if self.unit else title

    @property
    def best(self) -> str:
        """What the leader has.

        >>> metric("cost.step").best
        'shortest training step'
        """
        if self.timed:
            return f"shortest {self.title}"
        return f"{'highest' if self.higher_is_better else 'lowest'} {self.title}"

    @property
    def timed(self) -> bool:
        """Whether it is a time, which differs by factors."""
        return self.unit in ("×", "ms", "s")

    @property
    def step(self) -> str:
        """What differences of it are counted in."""
        return "points" if self.unit == "%" else self.unit

    def number(self, value: float) -> str:
        """The value without its unit.

        >>> metric("test.top1").number(0.8853)
        '88.5'
        """
        return f"{value * self.scale:,.{self.digits}f}"

    def quantity(self, value: float) -> str:
        """The value with its unit, which no line break parts from it.

        >>> metric("cost.step").quantity(1.224)
        '1.22\\xa0×'
        """
        return f"{self.number(value)}\N{NO-BREAK SPACE}{self.unit}" if self.unit else self.number(value)

    def interval(self, estimate: Mapping[str, Any]) -> str:
        """The ends of an estimate's 95 % interval, or that they are unknown (a single run).

        >>> metric("test.top1").interval({"n": 3, "mean": 0.88, "low": 0.871, "high": 0.889})
        '87.1 to 88.9'
        """
        if estimate["low"] is None:
            return "interval unknown"
        low, high = estimate["low"], estimate["high"]
        if self.unit == "%":  # a t interval does not know that a share ends at 0 and at 1
            low, high = max(low, 0.0), min(high, 1.0)
        return f"{self.number(low)} to {self.number(high)}"

    def difference(self, value: float) -> str:
        """A signed difference, one decimal finer than the values themselves.

        >>> metric("test.top1").difference(-0.0123)
        '-1.23'
        """
        return f"{value * self.scale:+,.{self.digits + 1}f}"

    def difference_interval(self, estimate: Mapping[str, Any]) -> str:
        """The ends of a difference's 95 % interval, or that they are unknown."""
        if estimate["low"] is None:
            return "interval unknown"
        return f"{self.difference(estimate['low'])} to {self.difference(estimate['high'])}"


def _share(key: str, title: str, higher_is_better: bool = True) -> Metric:
    return Metric(key, title, "%", 100.0, higher_is_better=higher_is_better)


METRICS = (
    _share("test.top1", "top-1 accuracy"),
    _share("test.top5", "top-5 accuracy"),
    _share("test.macro_f1", "macro F1"),
    _share("test.ece", "calibration error", higher_is_better=False),
    Metric("test.loss", "test loss", digits=3, higher_is_better=False),
    _share("train.top1", "training accuracy"),
    _share("train.gap", "gap from training to test", higher_is_better=False),
    _share("validation.top1", "validation accuracy"),
    _share("shift.consistency", "shift consistency"),
    _share("shift.consistency_correct", "consistency where correct"),
    _share("shift.mean_accuracy", "mean accuracy over shifts"),
    _share("shift.worst_accuracy", "worst-shift accuracy"),
    _share("shift.pairwise_agreement", "agreement of two shifts"),
    Metric("shift.logit_drift", "logit drift", digits=2, higher_is_better=False),
    Metric("shift.largest_drift", "logit drift, worst shift", digits=2, higher_is_better=False),
    _share("shift.probability_variation", "variation of the true class's probability", higher_is_better=False),
    _share("centre.r2", "told variance of the centre"),
    _share("centre.error", "error of the centre, of the side", higher_is_better=False),
    _share("count.r2", "told variance of the count"),
    Metric("count.error", "miscount", "objects", digits=2, higher_is_better=False),
    _share("map.kept", "rebuilt variance of the map"),
    _share("test.map", "average precision"),
    _share("test.map50", "average precision at .5"),
    _share("test.map75", "average precision at .75"),
    _share("test.object_accuracy", "accuracy on objects"),
    Metric("test.box_error", "box error", "pixels", digits=2, higher_is_better=False),
    Metric("test.shift_error", "error of displaced boxes", "pixels", digits=2, higher_is_better=False),
    _share("size.small", "accuracy, smallest third of pictures"),
    _share("size.middle", "accuracy, middle third"),
    _share("size.large", "accuracy, largest third"),
    _share("aspect.square", "accuracy, nearly square"),
    _share("aspect.oblong", "accuracy, oblong"),
    _share("scale.half", "accuracy at half the size"),
    _share("scale.three_quarters", "accuracy at 3/4 of the size"),
    _share("scale.five_quarters", "accuracy at 5/4 of the size"),
    _share("scale.half_more", "accuracy at 3/2 of the size"),
    Metric("speed.ratio", "speed beside region by region", "times"),
    Metric("speed.features_ratio", "that of the maps alone", "times"),
    Metric("speed.seconds", "time a picture", "s", digits=3, higher_is_better=False),
    _share("test.miou", "mean IoU"),
    _share("test.boundary_iou", "boundary IoU"),
    _share("test.pixels", "pixel accuracy"),
    Metric("cost.parameters", "parameters", digits=0, higher_is_better=False),
    Metric("cost.multiply_adds", "multiply-adds", "M", 1e-6, 2, higher_is_better=False),
    Metric("cost.forward", "forward", "×", digits=2, higher_is_better=False),
    Metric("cost.step", "training step", "×", digits=2, higher_is_better=False),
    Metric("cost.pool_step", "pooling's part of the step", "×", digits=2, higher_is_better=False),
    Metric("cost.yardstick_ms", "yardstick's step", "ms", higher_is_better=False),
    Metric("cost.bytes_saved", "kept for backward", "kB", 1e-3, higher_is_better=False),
    Metric("cost.energy_j", "energy of a training step", "J", digits=2, higher_is_better=False),
    Metric("duration.train_s", "training", "s", higher_is_better=False),
    Metric("duration.evaluate_s", "evaluation", "s", higher_is_better=False),
)
_BY_KEY = {metric.key: metric for metric in METRICS}


def metric(key: str) -> Metric:
    """The metric at `key`, such as `test.top1`. Raises ValueError for an unknown one."""
    if key not in _BY_KEY:
        raise unknown("metric", key, _BY_KEY)
    return _BY_KEY[key]


@dataclass(frozen=True)
class Result:
    """One run that was evaluated: its cell, its seed, what its configuration chose, and the parsed evaluation.

    `labels` name the choices: model, data, pool, head, budget. Raises ValueError when the evaluation is of another
    schema.
    """

    cell: str
    seed: int
    labels: Mapping[str, str]
    metrics: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.metrics.get("schema") != SCHEMA:
            found = self.metrics.get("schema")
            raise ValueError(
                f"evaluation of {self.cell}, seed {self.seed} has schema {found}, "
                f"the report reads {SCHEMA}: evaluate it again"
            )

    def has(self, key: str) -> bool:
        """Whether the metric at `key` was measured: not every task, network or machine has each."""
        section, name = key.split(".")
        return (self.metrics.get(section) or {}).get(name) is not None

    def value(self, key: str) -> float:
        """The run's value of the metric at `key`. Raises ValueError where it was not measured."""
        if not self.has(key):
            raise ValueError(f"evaluation of {self.cell}, seed {self.seed} has no {key}: evaluate it again")
        section, name = key.split(".")
        return float(self.metrics[section][name])


def measured(results: Sequence[Result]) -> list[Metric]:
    """The metrics that all of these runs have."""
    return [each for each in METRICS if all(run.has(each.key) for run in results)]


@dataclass(frozen=True)
class Study:
    """One question, the factor that varies (`pool`, `head`), the cells that answer it, and the claims it tests.

    `metric` is the one that it ranks by.
    """

    name: str
    question: str
    factor: str
    cells: Sequence[str]
    claims: Sequence[Claim] = ()
    metric: str = "test.top1"


@dataclass(frozen=True)
class Provenance:
    """Where the figures came from: the environment, the commands that repeat everything, and each cell's own.

    `lock` is the digest of what DVC has locked, where DVC made the runs.
    """

    environment: Mapping[str, Any]
    commands: Sequence[str]
    repeat: Mapping[str, str] = field(default_factory=dict)
    lock: str | None = None
