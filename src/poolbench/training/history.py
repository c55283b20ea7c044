"""What a run reports while it trains."""

import sys
import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from poolbench.files import write_rows
from poolbench.runs import Row, read_rows
from poolbench.training.module import Task


class Rows(Callback):
    """Rows of a file that grows by the epoch, and that a run which goes on takes up where its checkpoint is."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[Row] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch and self.file.exists():  # resumed: rows after the checkpoint are written again
            self.rows = [row for row in read_rows(self.file) if row["epoch"] <= trainer.current_epoch]


class History(Rows):
    """A row of `history.csv` and a line on the terminal after every epoch."""

    def __init__(self, file: Path, title: str) -> None:
        super().__init__(file)
        self.title = title
        self.started = 0.0

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
        sys.stdout.write(  # a line at once: runs train side by side
            f"{self.title}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {logged['train_loss']:.3f}  "
            f"validation {module.watched} {logged[f'validation_{module.watched}']:.4f}  {seconds:.1f} s\n"
        )
        sys.stdout.flush()


class Learned(Rows):
    """Rows of `learned.csv`: the exponents, weights and gates that operators learn, at the start and after every epoch.

    An operator offers them as its property `learned`, by their letters in its formula. A row holds one letter in one
    slot: mean, lowest and highest over what there is of it, channels as a rule.
    """

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        super().on_train_start(trainer, module)
        if not trainer.current_epoch:
            self._write(trainer, module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._write(trainer, module, trainer.current_epoch + 1)

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        for path, operator in module.named_modules():
            for letter, values in getattr(operator, "learned", {}).items():
                low, high = values.aminmax()
                self.rows.append(
                    {
                        "epoch": epoch,
                        "slot": path.replace("network.", "").removesuffix(".operator"),
                        "letter": letter,
                        "mean": values.mean().item(),
                        "low": low.item(),
                        "high": high.item(),
                    }
                )
        if self.rows:
            write_rows(self.file, self.rows)
