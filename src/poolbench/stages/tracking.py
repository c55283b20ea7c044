"""What Weights & Biases is told: each run while it trains, and what the report found about all of them.

Offline, without account or prompt, unless WANDB_MODE says more. Nothing here has a part in a run's figures, so the code
that decides whether a run is trained anew does not reach it.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
import wandb
import wandb.sdk.launch  # wandb.init imports it, slowly: once for all runs of a multirun
import yaml
from PIL import Image, ImageOps
from torch import Tensor
from wandb.plot import CustomChart

from poolbench import runs
from poolbench.data import Scenes, Store
from poolbench.data.fit import fitted
from poolbench.params import FOLDERS
from poolbench.report.records import Result, metric
from poolbench.report.summary import Json
from poolbench.report.tables import rows

Files = Mapping[Path, Path]

SIDE = 24
"""Pixels of one shift in a shift map."""
PREDICTIONS = 16


@contextmanager
def session(project: str, **who: Any) -> Iterator[wandb.Run]:
    """A W&B run, closed whatever happens within, as failed where that is an exception; `who` as in wandb.init."""
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_save_requirements=False,  # the metadata of every package, a third of a second: environment.json has versions
    )
    run = wandb.init(project=project, settings=settings, **who)
    code = 1
    try:
        yield run
        code = 0
    finally:
        run.finish(code)


@contextmanager
def training(settings: Mapping[str, Any]) -> Iterator[wandb.Run | None]:
    """The W&B run of a run that trains, named and grouped by cell and seed, tagged by study; None without W&B."""
    if settings["logger"]["name"] != "wandb":
        yield None
        return
    cell, seed = settings["cell"], settings["seed"]
    with session(
        settings["logger"]["project"],
        job_type="train",
        name=f"{cell}/seed-{seed}",
        group=cell,
        tags=_studies(cell),
        config={**settings, "operator": settings["pool"]["name"]},
    ) as run:
        yield run


def _studies(cell: str) -> list[str]:
    """The studies that params.yaml, of the project or of its studies, puts a cell into."""
    files = [folder / "params.yaml" for folder in FOLDERS]
    read = [yaml.load(file.read_text(), yaml.CSafeLoader) for file in files if file.is_file()]
    return sorted({study for params in read for study in params["cells"].get(cell, {}).get("studies", [])})


def publish(run: wandb.Run, trained: runs.Run, store: Store, pictures: Sequence[Tensor]) -> None:
    """What a run came to: what its operators learned, its map of shifts, its weights, and the data they are from.

    `pictures` are held-out ones with what the network says of them, uint8 (3, H, W); a classifier answers to test
    pictures.
    """
    for epoch, learned in groupby(trained.learned, itemgetter("epoch")):
        run.log({"epoch": epoch} | {f"learned/{row['letter']}/{row['slot']}": row["mean"] for row in learned})
    if shift := trained.metrics.get("shift"):
        run.log({f"shift_{key}": shift[key] for key in ("consistency", "logit_drift")}, commit=False)
        run.log({"shift_map": _shift_map(shift["accuracy_map"])}, commit=False)
    answers = [wandb.Image(_picture(each)) for each in pictures] or _answers(trained, store)
    run.log({"predictions": answers})
    _use(run, _artifact(store.name, "dataset", [store.folder / "info.json"]))
    run.log_artifact(_weights(trained.folder, f"{trained.config['cell']}-seed-{trained.config['seed']}"))


def _shift_map(accuracy: Sequence[Sequence[float]]) -> wandb.Image:
    """Accuracy at each shift, from 0, dark, to 1, bright, so that maps compare; no shift in the middle."""
    gray = Image.fromarray((255 * torch.tensor(accuracy)).round().byte().numpy())
    large = gray.resize((SIDE * gray.width, SIDE * gray.height), Image.Resampling.NEAREST)
    values = [value for row in accuracy for value in row]
    colored = ImageOps.colorize(large, black="#00224e", mid="#7d7c78", white="#fee838")
    return wandb.Image(colored, caption=f"accuracy {min(values):.2f} to {max(values):.2f}")


def _answers(trained: runs.Run, store: Store) -> list[wandb.Image]:
    """Test pictures from all over the set, the same for every run, each with its class and the answer."""
    part, reading = store.parts["test"], trained.config["data"]
    some = part.take(torch.linspace(0, len(part) - 1, PREDICTIONS).long())
    images, labels = (
        (
            [fitted(some.image(index), reading["fit"], max(reading["sides"])) for index in range(len(some))],
            some.subjects,
        )
        if isinstance(some, Scenes)
        else (list(some.images), some.labels)
    )
    size = max(image.shape[2] for image in images), max(image.shape[1] for image in images)
    model, answers = trained.model(store), []
    for image, label in zip(images, labels.tolist(), strict=True):
        with torch.inference_mode():
            share, answer = model(image[None]).softmax(1)[0].max(0)
        truth = store.classes[label] if label >= 0 else "nothing"
        picture = ImageOps.pad(_picture(image), size)  # W&B shows pictures of one size
        answers.append(wandb.Image(picture, caption=f"{truth}: {store.classes[answer]}, {share:.0%}"))
    return answers


def _picture(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def _weights(folder: Path, name: str) -> wandb.Artifact:
    return _artifact(name, "model", [folder / "model.safetensors"])


def _artifact(name: str, kind: str, files: Sequence[Path]) -> wandb.Artifact:
    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type=kind)
    for file in files:
        artifact.add_file(str(file), skip_cache=True)
    return artifact


def _use(run: wandb.Run, artifact: wandb.Artifact) -> None:
    """Say that a run read these files. W&B finds the version that holds the same, also when it is told later."""
    run._log_artifact(artifact, use_after_commit=True)  # use_artifact refuses to work offline


def publish_report(
    project: str, summary: Json, results: Sequence[Result], evaluated: Files, files: Sequence[Path]
) -> None:
    """Each study as charts, every run as a row of a table, and what led to them: weights, evaluations, the report.

    `evaluated` maps the folder of each run to the file of its evaluation.
    """
    with session(project, job_type="evaluate", name="evaluation", tags=list(summary["studies"])) as run:
        for folder in evaluated:
            if folder.is_dir():  # evaluations may have been fetched without the runs
                _use(run, _weights(folder, f"{folder.parent.name}-{folder.name}"))
        run.log_artifact(_evaluation(evaluated))
    with session(project, job_type="report", name="report", tags=list(summary["studies"])) as run:
        _use(run, _evaluation(evaluated))
        table = rows(results)
        run.log({"results": wandb.Table(list(table[0]), [list(row.values()) for row in table])})
        run.log({f"{name}/{title}": chart for name in summary["studies"] for title, chart in _charts(summary, name)})
        run.log_artifact(_artifact("report", "report", files))


def _evaluation(evaluated: Files) -> wandb.Artifact:
    artifact = wandb.Artifact("evaluation", type="evaluation")
    for folder, file in evaluated.items():
        artifact.add_file(str(file), name=f"{folder.parent.name}/{file.name}", skip_cache=True)
    return artifact


def _charts(summary: Json, study: str) -> Iterator[tuple[str, CustomChart]]:
    """Means over seeds: variants by the first figure that they are ranked by, and the first against the second."""
    asked = summary["studies"][study]
    columns: list[str | int] = ["variant", *(metric(key).heading for key in asked["ranked"])]
    means = {key: {place["cell"]: place["mean"] for place in asked["rankings"][key]} for key in asked["ranked"]}
    data = [
        [name, *(metric(key).scale * means[key][cell] for key in asked["ranked"])]
        for cell, name in asked["names"].items()
    ]
    table = wandb.Table(columns, data)
    name, first, *others = map(str, columns)
    yield "ranking", wandb.plot.bar(table, name, first, title=asked["question"])
    if others:
        yield "frontier", wandb.plot.scatter(table, others[0], first, title=asked["question"])
