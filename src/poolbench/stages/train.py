"""Stage `train`: one run, from a configuration to a run folder.

python -m poolbench.stages.train pool=max_blur data=shapes
python -m poolbench.stages.train -m pool=max,max_blur seed=0,1,2
"""

import hashlib
import json
import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytorch_lightning as pl
import torch
import wandb
import wandb.sdk.launch  # wandb.init imports it, slowly: once for all runs of a multirun
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor, nn

from poolbench import data, models, pooling, provenance, runs
from poolbench.config import GROUPS, check
from poolbench.data import Split, Store
from poolbench.data.fit import shown
from poolbench.evaluation.answers import ask
from poolbench.evaluation.moves import circular
from poolbench.stages.cli import run
from poolbench.training import TASKS, Data, History, Learned, automatic

SHIFT_RANGE, SHIFT_IMAGES = 3, 50


def train(config: DictConfig) -> None:
    """Train the run that `config` describes, or go on with it; keep it where it is finished already."""
    settings = check(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    store = data.prepare(settings["data"])
    mark = fingerprint(settings, store)
    if runs.finished(folder, mark):
        print(f"{folder}: finished already, kept")
        return
    fit(settings, store, folder, mark)


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


def fit(settings: Mapping[str, Any], store: Store, folder: Path, mark: str) -> None:
    """Train, and write the run folder."""
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
    trainer = _trainer(settings, aside, title)
    last = aside / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists")
        warnings.filterwarnings("ignore", "The number of training batches .* is smaller than the logging interval")
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # Lightning's own
        trainer.fit(module, pictures, ckpt_path=last if last.exists() else None, weights_only=True)
    if not trainer.is_global_zero:
        return
    validation = {
        name.removeprefix("validation_"): value.item()
        for name, value in trainer.callback_metrics.items()
        if name.startswith("validation_")
    }
    held = pictures.splits["validation"]
    metrics = {"validation": {"images": len(held), **validation}}
    network.eval()
    if isinstance(held, Split):
        with runs.precision(trainer.precision, module.device.type):
            metrics["shift"] = glance(network, held.images[:SHIFT_IMAGES], held.labels[:SHIFT_IMAGES])
    environment = {
        **provenance.environment(),
        "precision": trainer.precision,
        "device": module.device.type,
        "command": " ".join(["python -m poolbench.stages.train", *HydraConfig.get().overrides.task]),
        "data": {"name": store.name, "checksum": store.checksum},
        "seconds": round(time.perf_counter() - started, 3),
    }
    finished = runs.finish(aside, folder, network, metrics, environment)
    if isinstance(trainer.logger, WandbLogger):
        _publish(trainer.logger, finished, module.pictures(held))


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


def _trainer(settings: Mapping[str, Any], aside: Path, title: str) -> pl.Trainer:
    chosen = dict(settings["trainer"])
    if chosen["precision"] == "auto":
        on_cpu = chosen["accelerator"] == "cpu" or not torch.cuda.is_available()
        chosen["precision"] = automatic("cpu" if on_cpu else "cuda")
    checkpoint = ModelCheckpoint(aside, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    return pl.Trainer(
        **chosen,
        max_epochs=settings["budget"]["epochs"],
        logger=_wandb(settings) if settings["logger"]["name"] == "wandb" else False,
        callbacks=[History(aside / "history.csv", title), Learned(aside / runs.LEARNED), checkpoint],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=aside,
    )


def _wandb(settings: Mapping[str, Any]) -> WandbLogger:
    """A W&B run named and grouped by cell and seed. Offline, without account or prompt, unless WANDB_MODE says more."""
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    run = wandb.init(
        project=settings["logger"]["project"],
        name=f"{settings['cell']}/seed-{settings['seed']}",
        group=settings["cell"],
        config=dict(settings),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True),
    )
    return WandbLogger(experiment=run)


def _publish(logger: WandbLogger, finished: runs.Run, pictures: Sequence[Tensor]) -> None:
    """The picture of the shifts, those with predictions and the weights, to W&B; closes its run."""
    if "shift" in finished.metrics:
        shift = finished.metrics["shift"]
        offsets = list(range(-shift["range"], shift["range"] + 1))
        picture = go.Figure(go.Heatmap(x=offsets, y=offsets, z=shift["accuracy_map"], colorbar_title="accuracy"))
        picture.update_layout(xaxis_title="dx, pixels", yaxis_title="dy, pixels", yaxis_scaleanchor="x")
        logger.experiment.log(
            {"shift_map": picture, **{f"shift_{key}": shift[key] for key in ("consistency", "logit_drift")}}
        )
    if pictures:
        logger.experiment.log({"predictions": [wandb.Image(each.permute(1, 2, 0).numpy()) for each in pictures]})
    name = (
        f"{finished.config['cell']}-seed-{finished.config['seed']}".replace("=", "-")
        .replace(",", "-")
        .replace("+", "-")
    )
    artifact = wandb.Artifact(name, type="model")
    artifact.add_file(str(finished.folder / "model.safetensors"))
    logger.experiment.log_artifact(artifact)
    wandb.finish()


if __name__ == "__main__":
    run(train, "train")
