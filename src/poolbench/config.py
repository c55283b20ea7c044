"""What can be configured: the schema of a run, the groups that are made from the registries, and how they compose."""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, make_dataclass
from functools import cache, partial
from types import GenericAlias, UnionType
from typing import Any, Union, get_args, get_origin

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING, DictConfig, OmegaConf

from poolbench import data, models, pooling
from poolbench.data.config import FITS, SizedConfig
from poolbench.files import CONF
from poolbench.naming import unknown
from poolbench.pooling.window import Padding, Size

GROUPS: dict[str, tuple[pooling.Kind, ...]] = {
    "pool": ("local",),
    "head": ("global", "token"),
    "region": ("region",),
    "context": ("context",),
}
DECIDED = ("spatial_scale",)
"""Options of operators that the network decides."""
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
LOGGERS = ("wandb", "csv")
OPTIMIZERS = ("sgd", "adamw")


@dataclass
class Budget:
    """How much a run may use: pictures to train on (null: all), passes over them, pictures a step."""

    name: str = MISSING
    images: int | None = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING

    def __post_init__(self) -> None:
        for key in ("images", "epochs", "batch_size"):
            value = getattr(self, key)
            _demand(f"budget.{key}", value, value is None or value >= 1, "at least 1")


@dataclass
class Optimizer:
    """Stochastic gradient descent with Nesterov momentum, or Adam with decoupled weight decay.

    `momentum`: Adam's first beta, too; its second is 0.999. `warmup`: the share of all steps before `lr` is reached.
    `head_weight_decay`: that of the head and of what follows it, `weight_decay` where it is null.
    """

    name: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    label_smoothing: float = MISSING
    warmup: float = MISSING
    head_weight_decay: float | None = MISSING

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise unknown("optimizer", self.name, OPTIMIZERS)
        _demand("optimizer.lr", self.lr, self.lr > 0, "above 0")
        for key in ("weight_decay", "head_weight_decay"):
            value = getattr(self, key)
            _demand(f"optimizer.{key}", value, value is None or value >= 0, "at least 0")
        for key in ("momentum", "label_smoothing", "warmup"):
            value = getattr(self, key)
            _demand(f"optimizer.{key}", value, 0 <= value < 1, "at least 0 and below 1")


@dataclass
class Trainer:
    """Where a run trains, in Lightning's words; `precision: auto` takes bfloat16 where the device computes in it."""

    accelerator: str = MISSING
    devices: Any = MISSING
    strategy: str = MISSING
    precision: str = MISSING

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)


@dataclass
class Logger:
    """Where a run is shown besides its own folder."""

    name: str = MISSING
    project: str = MISSING

    def __post_init__(self) -> None:
        if self.name not in LOGGERS:
            raise unknown("logger", self.name, LOGGERS)


@dataclass
class Classification:
    """One class a picture."""

    name: str = "classification"


@dataclass
class Detection:
    """The class and the box of each object. `proposals`: regions of a picture that a step looks at."""

    name: str = "detection"
    proposals: int = 32

    def __post_init__(self) -> None:
        _demand("task.proposals", self.proposals, self.proposals >= 2, "at least 2")


@dataclass
class Segmentation:
    """The class of each pixel."""

    name: str = "segmentation"


TASKS = {"classification": Classification, "detection": Detection, "segmentation": Segmentation}


@dataclass
class Run:
    """Everything that decides one run."""

    cell: str = MISSING
    seed: int = MISSING
    task: Any = MISSING
    model: Any = MISSING
    pool: Any = MISSING
    head: Any = MISSING
    region: Any = MISSING
    context: Any = MISSING
    data: Any = MISSING
    budget: Budget = MISSING
    optimizer: Optimizer = MISSING
    trainer: Trainer = MISSING
    logger: Logger = MISSING

    def __post_init__(self) -> None:
        _demand("seed", self.seed, self.seed >= 0, "at least 0")
        allowed = re.fullmatch(r"[\w.,=+-]+", self.cell)
        _demand("cell", self.cell, allowed, "letters, digits and . , = + - _: it names a folder")


def _demand(key: str, value: Any, met: Any, allowed: str) -> None:
    if not met:
        raise ValueError(f"{key} must be {allowed}, got {value!r}")


# Hydra copies its sources for every composition, and with them this one store of all schemas: 0.06 of 0.15 s.
ConfigStore.__deepcopy__ = lambda store, _: store  # type: ignore[attr-defined]


def register(overrides: Iterable[str] = ()) -> None:
    """Give Hydra its schemas: every operator, model and data source by name, and classes of the user's own.

    A user's operator enters by its dotted path, as `overrides` name it: `pool=package.module.Class`.
    """
    OmegaConf.register_new_resolver("cell_name", _cell_name, replace=True)
    ConfigStore.instance().store(name="run_schema", node=Run)
    for name in data.SOURCES:
        _offer("data", name)
    for name in TASKS:
        _offer("task", name)
    for name in models.names():
        _offer("model", name)
    chosen = {group: [name for kind in kinds for name in pooling.names(kind)] for group, kinds in GROUPS.items()}
    for group, values in re.findall(r"^(pool|head|region|context)=(.*)$", "\n".join(overrides), flags=re.MULTILINE):
        chosen[group] += [value for value in values.split(",") if "." in value]
    for group, names in chosen.items():
        for name in (models.ORIGINAL, *names):
            _offer(group, name)


@cache  # a plan composes every cell of params.yaml
def _offer(group: str, name: str) -> None:
    """Give Hydra the schema of one choice of a group."""
    ConfigStore.instance().store(group=group, name=name, node=_options(group, name))


def _options(group: str, name: str) -> type:
    if group == "data":
        return data.SOURCES[name].config
    if group == "task":
        return TASKS[name]
    if group == "model":
        arguments = models.options(name)
        types = {key: argument.annotation for key, argument in arguments.items()}
        defaults = [{"override /optimizer@_global_.optimizer": models.optimizer(name)}, "_self_"]
        return _schema(name, types, {key: argument.default for key, argument in arguments.items()}, defaults)
    options = {} if name == models.ORIGINAL else pooling.spec(name).options
    free = {key: option for key, option in options.items() if key not in DECIDED}
    types = {key: option.type for key, option in free.items()}
    return _schema(name, types, {key: option.default for key, option in free.items()})


def _cell_name(*parts: str) -> str:
    """A readable folder name: what a run chose, then whatever else its command line set."""
    return re.sub(r"[^\w.,=+-]", "_", "-".join(part for part in parts if part))


def _schema(
    name: str, types: Mapping[str, Any], defaults: Mapping[str, Any], composed: Sequence[Any] = ("_self_",)
) -> type:
    """A dataclass with a typed field for every option: what Hydra checks an override against.

    `composed` is its defaults list.
    """
    fields: list[tuple[str, Any, Any]] = [
        ("defaults", list[Any], field(default_factory=partial(list, composed))),
        ("name", str, field(default=name)),
    ]
    for key, default in defaults.items():
        value = list(default) if isinstance(default, tuple) else default
        fields.append((key, _type(types[key]), field(default_factory=partial(copy, value))))
    return make_dataclass(re.sub(r"\W", "_", name), fields)


def _type(annotation: Any) -> Any:
    """The nearest type that OmegaConf checks: sizes are whole numbers on a command line."""
    if annotation == Size:
        return int
    if annotation == Size | None:
        return int | None
    if annotation == Padding:
        return int | str
    if get_origin(annotation) in (Union, UnionType):
        return annotation if all(each in (int, float, str, bool, type(None)) for each in get_args(annotation)) else Any
    if get_origin(annotation) is not None:
        return GenericAlias(list, get_args(annotation)[:1]) if issubclass(get_origin(annotation), Iterable) else Any
    return annotation if annotation in (int, float, str, bool) else Any


def compose(overrides: Iterable[str] = (), name: str = "train") -> DictConfig:
    """The configuration that a stage would run with, checked.

    >>> compose(["pool=max_blur", "pool.filter_size=5", "cell=example"]).pool.filter_size
    5
    """
    overrides = list(overrides)
    register(overrides)
    GlobalHydra.instance().clear()  # a stage that composes other runs was composed by Hydra itself
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra_compose(name, overrides)


def check(config: DictConfig) -> dict[str, Any]:
    """The run that a configuration describes, as plain values. Raises ValueError that names the key at fault."""
    OmegaConf.to_object(config)  # builds the schemas, which check their values
    run = OmegaConf.to_container(config, resolve=True)
    assert isinstance(run, dict)
    settings = {str(key): value for key, value in run.items()}
    reading = data.configure(settings["data"])
    name, model = settings["task"]["name"], settings["model"]["name"]
    if models.task(model) != name:
        fitting = [each for each in models.names() if models.task(each) == name]
        raise ValueError(
            f"task={name}: model {model!r} is one for {models.task(model)}; choose model={' or '.join(fitting)}, "
            f"or task={models.task(model)}"
        )
    if isinstance(reading, SizedConfig) and (name == "classification") == (reading.fit is None):
        wanted = "null" if reading.fit else " or ".join(FITS)
        raise ValueError(
            f"task={name}: data.fit is {reading.fit or 'null'}, and must be {wanted}: one class is read off pictures "
            "of few shapes, objects off pictures as they are"
        )
    for slot in GROUPS:
        if settings[slot]["name"] == models.ORIGINAL:
            continue
        if slot in models.ROLES and not models.takes(model, slot):
            raise ValueError(f"{slot}: model {model!r} has no slot for it; choose one that has, or {slot}=original")
        try:
            pooling.create(**settings[slot], channels=8)
        except ValueError as error:
            raise ValueError(f"{slot}: {error}") from error
    return settings
