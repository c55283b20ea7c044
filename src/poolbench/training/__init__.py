"""Training with Lightning: what a task's loss and figures are, on what it trains, and what it reports."""

from poolbench.training.classifier import Classifier
from poolbench.training.data import Data
from poolbench.training.detector import Detector
from poolbench.training.history import History, Learned
from poolbench.training.module import Diverged, Task
from poolbench.training.precision import automatic
from poolbench.training.segmenter import Segmenter

TASKS: dict[str, type[Task]] = {"classification": Classifier, "detection": Detector, "segmentation": Segmenter}
"""What trains each task; `config.TASKS` says what can be set about it."""

__all__ = [
    "TASKS",
    "Classifier",
    "Data",
    "Detector",
    "Diverged",
    "History",
    "Learned",
    "Segmenter",
    "Task",
    "automatic",
]
