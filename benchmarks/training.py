"""What an operator costs in training: a step of the small study's network beside the same step with max pooling.

    python benchmarks/training.py              # all local ones without weights; writes results/<processor>/training.*
    python benchmarks/training.py stochastic   # one of them; writes nothing

The network, the batch, the precision and the memory format of the small study. Networks take turns, a step each; a
ratio is the median over turns, with its interval. Loading pictures is left out, which a run does besides: the ratio of
runs is smaller.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from medians import Estimate, estimate
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from poolbench import models, pooling, provenance
from poolbench.files import write_json, write_text
from poolbench.stages import ENVIRONMENT
from poolbench.training import automatic

RESULTS = Path(__file__).parent / "results" / provenance.machine_folder()
BATCH, SHAPE, CLASSES = 48, (1, 28, 28), 10
BASE = "max"


def without_weights() -> list[str]:
    """Local operators that learn nothing."""
    return [name for name in pooling.names("local") if not pooling.spec(name).parameters(8)]


def step(name: str) -> Callable[[], None]:
    """One step of training of the small study's network with this operator in every slot."""
    torch.manual_seed(0)
    network = models.create("cnn", SHAPE, CLASSES, pool=name, head="gap")
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    pictures = torch.rand(BATCH, *SHAPE).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,))
    bfloat16 = automatic("cpu") == "bf16-mixed"

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(network(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def compare(name: str, turns: int) -> tuple[float, Estimate]:
    """Milliseconds of a step, and the ratio to a step with max."""
    runs = [step(BASE), step(name)]
    times: list[tuple[float, float]] = []
    for turn in range(turns + 3):
        pair = []
        for run in runs:
            before = time.perf_counter()
            run()
            pair.append(time.perf_counter() - before)
        if turn >= 3:
            times.append((pair[0], pair[1]))
    return 1000 * statistics.median(own for _, own in times), estimate([own / base for base, own in times])


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Time a step of training with each operator beside max pooling.")
    parser.add_argument("names", nargs="*", metavar="operator", help="which operators; all without weights by default")
    parser.add_argument("--turns", type=int, default=50, help="steps of each")
    options = parser.parse_args()
    chosen = options.names or [name for name in without_weights() if name != BASE]
    for name in chosen:
        try:
            pooling.spec(name)
        except ValueError as error:
            parser.error(str(error))
    console = Console()
    found = {name: compare(name, options.turns) for name in track(chosen, "Training", console=console)}
    lines = [f"| operator | step, ms | times max (n = {options.turns}) | interval |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {own:.1f} | {ratio:.2f} | {low:.2f}–{high:.2f} |"
        for name, (own, (ratio, low, high)) in found.items()
    ]
    text = "\n".join(lines) + "\n"
    console.print(Markdown(text))
    if not options.names:
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_text(RESULTS / "training.md", text)
        rows = {name: {"milliseconds": own, "ratio": ratio} for name, (own, ratio) in found.items()}
        write_json(RESULTS / "training.json", {"environment": provenance.environment(), "operators": rows})
    return 0


if __name__ == "__main__":
    if not ENVIRONMENT.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)
    sys.exit(main())
