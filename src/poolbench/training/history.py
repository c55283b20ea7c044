"""What a run reports while it trains."""

import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from poolbench.files import write_rows
from poolbench.runs import read_history
from poolbench.training.module import Task


class History(Callback):
    """A row of `history.csv` and a line on the terminal after every epoch."""

    def __init__(self, file: Path, title: str) -> None:
        self.file, self.title = file, title
        self.rows: list[dict[str, float]] = []
        self.started = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch:  # resumed: the row of an epoch that left no checkpoint is written again
            self.rows = read_history(self.file)[: trainer.current_epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self.started
        logged = {name: value.item() for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append({"epoch": trainer.current_epoch + 1, **logged, "seconds": round(seconds, 3)})
        write_rows(self.file, self.rows)
        assert isinstance(module, Task)
        print(
            f"{self.title}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {logged['train_loss']:.3f}  "
            f"validation {module.watched} {logged[f'validation_{module.watched}']:.4f}  {seconds:.1f} s",
            flush=True,
        )
