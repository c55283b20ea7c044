"""Stage `train`: one run, from a configuration to a run folder.

python -m poolbench.stages.train pool=max_blur data=shapes
python -m poolbench.stages.train -m pool=max,max_blur seed=0,1,2
"""

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from poolbench import data, models, pooling, provenance, runs
from poolbench.config import GROUPS, check
from poolbench.data import Split, Store
from poolbench.data.fit import shown
from poolbench.evaluation.answers import ask
from poolbench.evaluation.moves import circular
from poolbench.stages import tracking
from poolbench.stages.cli import run
from poolbench.training import TASKS, Data, History, Learned, automatic

SHIFT_RANGE, SHIFT_IMAGES = 3, 50


def train(config: DictConfig) -> float | None:
    """Train the run that `config` describes, or go on with it; keep it where it is finished already.

    Gives what a search maximises; None in a process that only helps to train.
    """
    settings = check(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    store = data.prepare(settings["data"])
    mark = fingerprint(settings, store)
    if runs.finished(folder, mark):
        print(f"{folder}: finished already, kept")
        return runs.Run(folder).score
    leading = rank_zero_only(lambda: True, default=False)()
    with tracking.training(settings) if leading else nullcontext() as told:
        finished = fit(settings, store, folder, mark, WandbLogger(experiment=told) if told else False)
        if finished is None:
            return None
        trained, pictures = finished
        if told:
            tracking.publish(told, trained, store, pictures)
    return trained.score


def fingerprint(settings: Mapping[str, Any], store: Store) -> str:
    """What decides a run's figures: its settings, the sources that they call on, the pictures."""
    decisive = {key: value for key, value in settings.items() if key not in ("cell", "logger")}
    parts = [decisive, sources(settings), store.checksum]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sources(settings: Mapping[str, Any]) -> str:
    """A hash of the code that a run of these settings executes."""
    names = [settings[slot]["name"] for slot in GROUPS if settings[slot]["name"] != models.ORIGINAL]
    operators = [pooling.spec(name).operator for name in names]
    return provenance.digest(
        fit, TASKS[settings["task"]["name"]], models.network(settings["model"]["name"]), *operators
    )


def fit(
    settings: Mapping[str, Any], store: Store, folder: Path, mark: str, logger: Logger | bool = False
) -> tuple[runs.Run, Sequence[Tensor]] | None:
    """Train, and write the run folder. Gives the run, and pictures of held-out data with what it says of them.

    None in a process other than the first of those that share a run.
    """
    started = time.perf_counter()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    seed, title = settings["seed"], f"{settings['cell']} seed {settings['seed']}"
    pl.seed_everything(seed, verbose=False)
    info = shown(store.info, settings["data"])
    network = models.build(settings, info)
    models.initialise(network, seed)
    head = models.head(network, torch.zeros(1, *(info[key] for key in ("channels", "height", "width"))))
    module = TASKS[settings["task"]["name"]](network, head, store, settings)
    budget, reading = settings["budget"], settings["data"]
    reach, way, sides = reading["augment_shift"], reading.get("fit"), reading.get("sides", ())
    pictures = Data(store, budget["images"], budget["batch_size"], reading["validation"], seed, reach, way, sides)
    aside = runs.begin(folder, settings, mark)
    trainer = _trainer(settings, aside, title, logger)
    last = aside / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists")
        warnings.filterwarnings("ignore", "The number of training batches .* is smaller than the logging interval")
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # Lightning's own
        trainer.fit(module, pictures, ckpt_path=last if last.exists() else None, weights_only=True)
    if not trainer.is_global_zero:
        return None
    validation = {
        name.removeprefix("validation_"): value.item()
        for name, value in trainer.callback_metrics.items()
        if name.startswith("validation_")
    }
    held = pictures.splits["validation"]
    metrics = {"validation": {"images": len(held), **validation}}
    device = trainer.strategy.root_device
    network.eval().to(device)  # where the pictures are: Lightning leaves it on the CPU
    if isinstance(held, Split):
        with runs.precision(trainer.precision, device.type):
            metrics["shift"] = glance(network, held.images[:SHIFT_IMAGES], held.labels[:SHIFT_IMAGES])
    environment = {
        **provenance.environment(),
        "precision": trainer.precision,
        "device": device.type,
        "command": " ".join(["python -m poolbench.stages.train", *HydraConfig.get().overrides.task]),
        "data": {"name": store.name, "checksum": store.checksum},
        "seconds": round(time.perf_counter() - started, 3),
    }
    return runs.finish(aside, folder, network, metrics, environment), module.pictures(held)


def glance(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """The look at circular shifts that a run logs: few pictures, held-out ones. The stage `evaluate` measures.

    It uses none of that stage's protocols, so that a new one trains nothing anew.
    """
    reach = range(-SHIFT_RANGE, SHIFT_RANGE + 1)
    moves = [(dy, dx) for dy in reach for dx in reach]
    answers = ask(network, images, labels, circular, moves)
    others = answers.of([place for place, move in enumerate(moves) if any(move)])
    right = (answers.moved == answers.labels[:, None]).float().mean(0)
    return {
        "range": SHIFT_RANGE,
        "images": len(labels),
        "consistency": (others.moved == others.answer[:, None]).float().mean().item(),
        "logit_drift": others.drift.mean().item(),
        "accuracy_map": right.reshape(len(reach), -1).tolist(),
    }


def _trainer(settings: Mapping[str, Any], aside: Path, title: str, logger: Logger | bool) -> pl.Trainer:
    chosen = dict(settings["trainer"])
    if chosen["precision"] == "auto":
        on_cpu = chosen["accelerator"] == "cpu" or not torch.cuda.is_available()
        chosen["precision"] = automatic("cpu" if on_cpu else "cuda")
    checkpoint = ModelCheckpoint(aside, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    return pl.Trainer(
        **chosen,
        max_epochs=settings["budget"]["epochs"],
        logger=logger,
        callbacks=[History(aside / "history.csv", title), Learned(aside / runs.LEARNED), checkpoint],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=aside,
    )


if __name__ == "__main__":
    run(train, "train")
