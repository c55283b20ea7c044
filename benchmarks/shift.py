"""What `poolbench.evaluation.shift` costs beside plain inference on as many pictures.

    python benchmarks/shift.py runs/fashion_mnist-cnn-max-gap/seed-0   # writes results/<processor>/shift.*
    python benchmarks/shift.py RUN --pictures 150 --turns 3            # other numbers; writes nothing

Every circular shift within 3 pixels, in float32 and in bfloat16 where that changes no answer, against as many passes of
the bare network in float32 that keep the answers and nothing else. All take turns, one thread, CPU time.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track
from torch import Tensor, nn

from poolbench import data, provenance
from poolbench.evaluation import shift
from poolbench.evaluation.answers import BATCH
from poolbench.files import write_json, write_text
from poolbench.runs import Run
from poolbench.stages import ENVIRONMENT

RESULTS = Path(__file__).parent / "results" / provenance.machine_folder()
PICTURES, TURNS = [150, 1000], 31
MOVES = 7 * 7
PRECISIONS = ("float32", "bfloat16, checked")


@torch.inference_mode()
def plain(network: nn.Module, images: Tensor) -> None:
    """As many answers as the measurement asks for, and nothing else."""
    for _ in range(MOVES):
        for batch in images.split(BATCH):
            network(batch).argmax(1)


def compare(network: nn.Module, images: Tensor, labels: Tensor, turns: int) -> list[list[float]]:
    """Ratios of CPU time to plain inference, a list each of PRECISIONS, a ratio a turn."""
    calls = [
        lambda: plain(network, images),
        lambda: shift(network, images, labels),
        lambda: shift(network, images, labels, autocast=torch.autocast("cpu", torch.bfloat16)),
    ]
    ratios = []
    for turn in range(turns + 1):
        spent = []
        for call in calls:
            before = time.process_time()
            call()
            spent.append(time.process_time() - before)
        if turn:
            ratios.append([each / spent[0] for each in spent[1:]])
    return [list(column) for column in zip(*ratios, strict=True)]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Time the shift evaluation beside plain inference.")
    parser.add_argument("run", type=Path, help="the folder of a trained classifier: runs/<cell>/seed-<n>")
    parser.add_argument("--pictures", type=int, nargs="+", help="test pictures to move; 150 and 1000 by default")
    parser.add_argument("--turns", type=int, default=TURNS, help="measurements of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = Run(options.run)
    store = data.prepare(trained.config["data"])
    network = trained.model(store).eval()
    part = store.test
    lines = ["| pictures | arithmetic | times plain inference: median | quartiles | n |", "|---:|---|---:|---:|---:|"]
    rows = []
    console = Console()
    for count in track(options.pictures or PICTURES, "Shifting", console=console):
        found = compare(network, part.images[:count], part.labels[:count], options.turns)
        for name, ratios in zip(PRECISIONS, found, strict=True):
            low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
            lines.append(f"| {count} | {name} | {median:.3f} | {low:.3f} to {high:.3f} | {len(ratios)} |")
            rows.append({"pictures": count, "arithmetic": name, "ratios": ratios})
    text = "\n".join(lines) + "\n"
    console.print(Markdown(text))
    if not options.pictures:
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_text(RESULTS / "shift.md", text)
        write_json(RESULTS / "shift.json", {"environment": provenance.environment(), "rows": rows})
    return 0


if __name__ == "__main__":
    if not ENVIRONMENT.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    sys.exit(main())
