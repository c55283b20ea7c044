import sys

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from poolbench import config, data, models, pooling
from poolbench.data.config import SizedConfig

DETECTION = ("task=detection", "model=fast_rcnn_mini")
SEGMENTATION = ("task=segmentation", "model=fcn_mini")
TASK = {"region": DETECTION, "context": SEGMENTATION}


def composed(*overrides):
    return config.check(config.compose([*overrides, "cell=test"]))


@pytest.mark.parametrize("group", ["pool", "head", "region", "context"])
def test_every_operator_composes_with_its_options(group):
    for name in (name for kind in config.GROUPS[group] for name in pooling.names(kind)):
        chosen = composed(f"{group}={name}", *TASK.get(group, ()))[group]
        assert chosen.pop("name") == name
        assert chosen.keys() == pooling.spec(name).options.keys() - set(config.DECIDED)
        pooling.create(name, 8, **chosen)


@pytest.mark.parametrize("group", ["pool", "head", "region", "context"])
def test_the_original_operators_are_a_choice_and_the_default(group):
    assert composed()[group] == composed(f"{group}=original")[group] == {"name": "original"}
    with pytest.raises(HydraException, match=f"Could not override '{group}.kernel_size'"):
        composed(f"{group}.kernel_size=3")


@pytest.mark.parametrize("budget", ["smoke", "small", "full"])
@pytest.mark.parametrize("trainer", ["auto", "cpu", "gpu", "ddp"])
def test_budgets_and_trainers_compose(budget, trainer):
    assert composed(f"budget={budget}", f"trainer={trainer}")["budget"]["name"] == budget


@pytest.mark.parametrize(
    ("overrides", "name", "lr"),
    [
        ([], "sgd", 0.1),
        (["model=vit_mini"], "adamw", 3e-3),
        (["model=vit_mini", "optimizer=sgd"], "sgd", 0.1),
        (["model=vit_mini", "optimizer.lr=0.01"], "adamw", 0.01),
        (["optimizer=adamw"], "adamw", 3e-3),
    ],
)
def test_a_model_brings_its_optimiser_and_the_command_line_another(overrides, name, lr):
    chosen = composed(*overrides)["optimizer"]
    assert (chosen["name"], chosen["lr"]) == (name, lr)


def test_every_model_and_data_source_composes():
    for name in models.names():
        chosen = composed(f"model={name}", f"task={models.task(name)}")
        assert chosen["model"]["name"] == name
        assert chosen["optimizer"]["name"] == models.optimizer(name)
    for name, source in data.SOURCES.items():
        given = ["data.root=x"] * (name in ("imagefolder", "coco")) + ["data.fit=warp"] * issubclass(
            source.config, SizedConfig
        )
        assert composed(f"data={name}", *given)["data"]["source"] == name


def test_a_class_of_your_own_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "own_pool.py").write_text(
        "from torch import nn\n"
        "class Halve(nn.AvgPool2d):\n"
        "    '''Halves.'''\n"
        "    def __init__(self, kernel_size: int = 2):\n"
        "        super().__init__(kernel_size)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    chosen = composed("pool=own_pool.Halve", "pool.kernel_size=4")["pool"]
    assert pooling.create(**chosen, channels=3).kernel_size == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pool=maxx", "Could not find 'pool/maxx'"),
        ("pool.kernle_size=3", "Could not override 'pool.kernle_size'"),
        ("pool.kernel_size=large", "Error merging override pool.kernel_size=large"),
        ("bugdet.epochs=3", "Could not override 'bugdet.epochs'"),
        ("budget.epochs=many", "Error merging override budget.epochs=many"),
        ("optimizer.lr=fast", "Error merging override optimizer.lr=fast"),
    ],
)
def test_misspelt_keys_and_wrong_types_stop_at_composition(override, message):
    with pytest.raises(HydraException, match=message):
        composed(*(["pool=max"] if override.startswith("pool.") else []), override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.epochs=0", "budget.epochs must be at least 1, got 0"),
        ("budget.images=-1", "budget.images must be at least 1, got -1"),
        ("optimizer.lr=0", "optimizer.lr must be above 0, got 0.0"),
        ("optimizer.head_weight_decay=-1", "optimizer.head_weight_decay must be at least 0, got -1.0"),
        ("optimizer.name=adam", "unknown optimizer 'adam': did you mean 'adamw'"),
        ("optimizer.momentum=1", "optimizer.momentum must be at least 0 and below 1, got 1.0"),
        ("seed=-1", "seed must be at least 0, got -1"),
        ("cell=a/b", "cell must be letters, digits and"),
        ("data.validation=0", "data.validation must be above 0 and below 1"),
        ("logger.name=tensorboard", "unknown logger 'tensorboard': Choose from wandb, csv"),
        ("trainer.precision=8", "unknown precision '8'"),
        ("pool.kernel_size=0", "pool: kernel_size must be at least 1, got 0"),
        ("pool.stride=0", "pool: stride must be at least 1, got 0"),
        ("pool.dilation=0", "pool: dilation must be at least 1, got 0"),
        ("pool.padding=2", r"pool: padding must be from 0 to half of kernel_size \(2, 2\), got 2"),
    ],
)
def test_values_out_of_range_name_the_key(override, message):
    with pytest.raises(ValueError, match=message):
        config.check(config.compose(["cell=test", "pool=max", override]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=detection"], "task=detection: model 'cnn' is one for classification; choose model=fast_rcnn_mini"),
        (["model=fast_rcnn_mini"], "task=classification: model 'fast_rcnn_mini' is one for detection"),
        ([*DETECTION, "task.proposals=1"], "task.proposals must be at least 2, got 1"),
        ([*DETECTION, "region=roi_align", "region.sampling_ratio=0"], "region: sampling_ratio must be at least 1"),
        (["region=roi_align"], "region: model 'cnn' has no slot for it"),
        (["context=aspp"], "context: model 'cnn' has no slot for it"),
        (["data=scenes"], "task=classification: data.fit is null, and must be crop or warp or full"),
        ([*SEGMENTATION, "data=scenes", "data.fit=crop"], "task=segmentation: data.fit is crop, and must be null"),
        (["data=scenes", "data.fit=wrap"], "unknown data.fit 'wrap': did you mean 'warp'"),
        (["data=scenes", "data.fit=crop", "data.sides=[24,32]"], "data.sides must be one with data.fit=crop"),
        (["data=scenes", "data.fit=full", "data.sides=[]"], "data.sides must be whole numbers of at least 8"),
    ],
)
def test_what_does_not_belong_together_is_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        config.check(config.compose(["cell=test", *overrides]))


def test_shipped_configs_are_commented_with_their_use():
    for file in config.CONF.rglob("*.yaml"):
        assert file.read_text().startswith("# "), file
        OmegaConf.load(file)
