"""How fast every operator is, beside the memory floor and the peers that are installed.

    python benchmarks/operators.py            # all operators; writes benchmarks/results/<processor>/operators.*
    python benchmarks/operators.py --quick max blur   # a minute's look at two of them; writes nothing
    python benchmarks/operators.py --device cuda      # on a GPU, after which the folder is called

One thread. Candidates take turns, so that whatever else the machine does falls on all of them alike, and the ratio of
two is the median over turns. This is done at several places in memory, and a figure is the median over them, with its
interval. Between one place and the next all the other operators are timed: for minutes neighbours may keep the caches
of a machine busy, and that should not fall on one operator alone. The floor is what memory costs: the input read once
and the output written once, and for the backward pass the output's gradient read once and the input's written once.
The forward pass alone is timed in evaluation; forward and backward together in training.
On a GPU batches are larger, since its caches would hold them else, its own time is taken without that of the host, and
the floor is a copy of as many bytes.
"""

import argparse
import itertools
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from medians import CONFIDENCE, Estimate, estimate, ratio
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track
from torch import Tensor, nn

from poolbench import pooling, provenance
from poolbench.files import write_json, write_text
from poolbench.pooling.native import formulas
from poolbench.stages import ENVIRONMENT

RESULTS = Path(__file__).parent / "results"
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
FORMULA = "our formula"
PASSES = ("forward", "forward + backward")


@dataclass(frozen=True)
class Shape:
    """An input, and the window of those operators whose own is 2x2; the others keep theirs."""

    size: tuple[int, ...]
    kernel_size: int = 2
    stride: int = 2
    padding: int = 0

    def times(self, factor: float) -> "Shape":
        """The same with a batch so many times larger, of two at least."""
        return replace(self, size=(max(int(self.size[0] * factor), 2), *self.size[1:]))


SHAPES: dict[pooling.Kind, dict[str, Shape]] = {
    "local": {
        "A": Shape((64, 64, 32, 32)),
        "B": Shape((32, 128, 56, 56), 3, 2, 1),
        "C": Shape((256, 32, 14, 14)),
        "H": Shape((128, 16, 28, 28)),  # the first and the last map of the small study, the last of odd size
        "I": Shape((128, 64, 7, 7)),
    },
    "global": {"D": Shape((64, 256, 14, 14))},
    "token": {"E": Shape((64, 1 + 196, 192))},
    "region": {"F": Shape((2, 64, 56, 56))},
    "context": {"G": Shape((4, 64, 28, 28))},
}
BOXES = 64
INDICES: dict[str, float] = {"return_indices": True}
OPTIONS: dict[str, tuple[dict[str, float], ...]] = {
    "lp": ({"p": 3.0}, {"p": 2.5}, {"p": 2.7}),
    "max": (INDICES,),
    "adaptive_max": (INDICES,),
    "fractional_max": (INDICES,),
}
"""With which an operator is timed once more, since its time depends on them; its peers take them too."""
PLACES = 6
"""In memory, since on a CPU a time depends on where arrays lie; of fewer no interval would be sure enough."""
SECONDS = 0.3
"""For which candidates take turns, at all places together and about."""
LARGER = 8
"""So many times the batch on a GPU."""
UNTRIMMED = {"MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Else what one operator leaves free goes back to the system, and the next pays for it, 10 ms for a map of shape B."""
AHEAD = 5_000_000
"""Cycles of a GPU that its host has to launch a pass: some milliseconds."""

Builder = Callable[..., nn.Module]
"""Of channels, a shape and options."""
Times = dict[str, list[float]]
"""Seconds of each candidate, in turns."""


def peer(path: str, *arguments: object, **options: object) -> nn.Module:
    """An instance of the class at a dotted path of an installed library."""
    module, _, name = path.rpartition(".")
    built: nn.Module = getattr(import_module(module), name)(*arguments, **options)
    return built


PEERS: dict[str, dict[str, Builder]] = {
    "max": {"torch": lambda c, s, **o: nn.MaxPool2d(s.kernel_size, s.stride, s.padding, **o)},
    "overlapping_max": {"torch": lambda c, s: nn.MaxPool2d(3, 2, 1)},
    "average": {"torch": lambda c, s: nn.AvgPool2d(s.kernel_size, s.stride, s.padding)},
    "overlapping_average": {"torch": lambda c, s: nn.AvgPool2d(3, 2, 1, count_include_pad=False)},
    "adaptive_max": {"torch": lambda c, s, **o: nn.AdaptiveMaxPool2d(7, **o)},
    "adaptive_average": {"torch": lambda c, s: nn.AdaptiveAvgPool2d(7)},
    "fractional_max": {"torch": lambda c, s, **o: nn.FractionalMaxPool2d(2, output_ratio=0.5**0.5, **o)},
    "lp": {"torch": lambda c, s, p=2.0: nn.LPPool2d(p, s.kernel_size, s.stride)},
    "median": {"timm": lambda c, s: peer("timm.layers.median_pool.MedianPool2d", s.kernel_size, s.stride, s.padding)},
    "blur": {
        "timm": lambda c, s: peer("timm.layers.BlurPool2d", c, 3, s.stride),
        "kornia": lambda c, s: peer("kornia.filters.BlurPool2D", 3, s.stride),
        "antialiased_cnns": lambda c, s: peer("antialiased_cnns.BlurPool", c, filt_size=3, stride=s.stride),
    },
    "max_blur": {
        "kornia": lambda c, s: peer("kornia.filters.MaxBlurPool2D", 3, s.stride, s.kernel_size),
        "antialiased_cnns": lambda c, s: nn.Sequential(
            nn.MaxPool2d(s.kernel_size, 1, s.padding),
            peer("antialiased_cnns.BlurPool", c, filt_size=3, stride=s.stride),
        ),
    },
    "strided": {"torch": lambda c, s: nn.Conv2d(c, c, 3, 2, 1)},
    "gap": {
        "torch": lambda c, s: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "timm": lambda c, s: peer("timm.layers.SelectAdaptivePool2d", pool_type="avg", flatten=True),
    },
    "gmp": {
        "torch": lambda c, s: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        "timm": lambda c, s: peer("timm.layers.SelectAdaptivePool2d", pool_type="max", flatten=True),
    },
    "gap_gmp": {"timm": lambda c, s: peer("timm.layers.SelectAdaptivePool2d", pool_type="catavgmax", flatten=True)},
    "flatten": {"torch": lambda c, s: nn.Flatten()},
    "token_map": {"timm": lambda c, s: peer("timm.layers.AttentionPoolLatent", c, num_heads=1)},
    "roi_align": {"torchvision": lambda c, s: peer("torchvision.ops.RoIAlign", 7, 1.0, 2, aligned=True)},
    "roi_pool": {"torchvision": lambda c, s: peer("torchvision.ops.RoIPool", 7, 1.0)},
    "aspp": {"torchvision": lambda c, s: peer("torchvision.models.segmentation.deeplabv3.ASPP", c, [6, 12, 18], 256)},
}


@dataclass(frozen=True)
class Row:
    """What was measured of one operator on one shape in one layout."""

    operator: str
    shape: str
    layout: str
    milliseconds: dict[str, float]
    """By pass."""
    floors: dict[str, Estimate]
    """By pass, as a multiple of the memory floor."""
    peers: dict[str, dict[str, Estimate]]
    """By peer and pass, our time as a multiple of the peer's; of a compiled operator its formula is one, of several the
    fastest at this shape another."""
    saved: float
    """Bytes kept for the backward pass per number of the input."""


@dataclass(frozen=True)
class Case:
    """An operator with options, on one shape in one layout."""

    operator: str
    options: dict[str, float]
    label: str
    shape: Shape
    layout: str
    device: str

    @property
    def title(self) -> str:
        """The operator, and its options if they are not the defaults."""
        options = (name if value is True else f"{name} = {value:g}" for name, value in self.options.items())
        return ", ".join([self.operator, *options])

    @property
    def compiled(self) -> bool:
        """Whether it is timed beside its formula too."""
        return pooling.spec(self.operator).kind == "local" and pooling.backend().name == "native"

    def input(self) -> Tensor:
        """Random numbers."""
        x = torch.rand(self.shape.size, device=self.device)
        return x.contiguous(memory_format=LAYOUTS[self.layout]) if x.ndim == 4 else x


def modules_of(case: Case) -> dict[str, nn.Module]:
    """The operator and its peers, by name."""
    torch.manual_seed(0)
    name, shape, spec = case.operator, case.shape, pooling.spec(case.operator)
    channels = shape.size[-1] if spec.kind == "token" else shape.size[1]
    window = {}
    if "kernel_size" in spec.options and spec.options["kernel_size"].default == 2:
        window = {"kernel_size": shape.kernel_size, "stride": shape.stride, "padding": shape.padding}
    builders = {each: build for each, build in PEERS.get(name, {}).items() if find_spec(each)}
    modules = {name: spec.build(channels, **window, **case.options)} | {
        each: build(channels, shape, **case.options) for each, build in builders.items()
    }
    return {each: module.to(case.device) for each, module in modules.items()}


def measure(case: Case, place: int, seconds: float) -> dict[str, Times]:
    """Time one operator and its peers at one place in memory, by pass; each lasts about so many seconds."""
    name, modules, boxes = case.operator, modules_of(case), region_boxes(case)
    times = {}
    for each_pass in PASSES:
        backward = each_pass != "forward"
        aside = torch.empty(place * 12_345)  # else the input would lie where it lay before
        x = case.input()
        candidates = {each: step(module, x, boxes, backward) for each, module in modules.items()}
        if case.compiled:
            candidates[FORMULA] = by_formula(candidates[name])
        candidates["floor"] = floor(modules[name], x, boxes, backward)
        times[each_pass] = in_turns(candidates, seconds, case.device)
        del aside
    return times


def row_of(case: Case, places: list[dict[str, Times]]) -> Row:
    """What was measured at all places."""
    name, boxes = case.operator, region_boxes(case)
    milliseconds, floors = {}, {}
    peers: dict[str, dict[str, Estimate]] = {each: {} for each in places[0]["forward"] if each not in (name, "floor")}
    for each_pass in PASSES:
        times = [at[each_pass] for at in places]
        milliseconds[each_pass] = 1000 * statistics.median(turn for at in times for turn in at[name])
        floors[each_pass] = estimate([ratio(at[name], at["floor"]) for at in times])
        for each in peers:
            peers[each][each_pass] = estimate([ratio(at[name], at[each]) for at in times])
    if len(peers.keys() - {FORMULA}) > 1:
        others = [found for each, found in peers.items() if each != FORMULA]
        peers["fastest"] = {each: max(found[each] for found in others) for each in PASSES}
    saved = saved_bytes(modules_of(case)[name], case.input(), boxes) / math.prod(case.shape.size)
    return Row(case.title, case.label, case.layout, milliseconds, floors, peers, saved)


def region_boxes(case: Case) -> tuple[Tensor, ...]:
    """Boxes spread over the maps of a batch, for an operator that takes them."""
    if pooling.spec(case.operator).kind != "region":
        return ()
    pictures, *_, side = case.shape.size
    corner = torch.rand(BOXES, 2) * side / 2
    picture = torch.arange(BOXES) % pictures
    return (torch.cat([picture[:, None], corner, corner + side / 2], 1).to(case.device),)


def step(module: nn.Module, x: Tensor, boxes: Iterable[Tensor], backward: bool) -> Callable[[], None]:
    """One pass of a module; what comes before it is not timed."""
    module.train(backward)
    if not backward:

        def forward() -> None:
            with torch.no_grad():
                module(x, *boxes)

        return forward
    variable = x.detach().requires_grad_()
    gradient = torch.ones_like(outputs(module(variable, *boxes))[0])

    def both() -> None:
        variable.grad = None
        outputs(module(variable, *boxes))[0].backward(gradient)

    return both


def outputs(given: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a module gives: the output, and indices if they come with it."""
    return given if isinstance(given, tuple) else (given,)


def by_formula(run: Callable[[], None]) -> Callable[[], None]:
    """The same without compiled kernels."""

    def plain() -> None:
        with formulas():
            run()

    return plain


def floor(module: nn.Module, x: Tensor, boxes: Iterable[Tensor], backward: bool) -> Callable[[], None]:
    """Read the input and write what comes out; then read the output's gradient and write the input's."""
    with torch.no_grad():
        written = [torch.empty_like(each) for each in outputs(module(x, *boxes))]
    other = torch.empty_like(x)
    if x.is_cuda:
        passes = [(x, *written), *([(written[0], other)] if backward else [])]
        halves = [
            torch.empty(sum(each.nbytes for each in of) // 2, dtype=torch.uint8, device=x.device) for of in passes
        ]
        targets = [torch.empty_like(half) for half in halves]

        def copy() -> None:
            for half, target in zip(halves, targets, strict=True):
                target.copy_(half)

        return copy

    def stream() -> None:
        x.sum()
        for each in written:
            each.fill_(1)
        if backward:
            written[0].sum()
            other.fill_(1)

    return stream


def in_turns(candidates: dict[str, Callable[[], None]], seconds: float, device: str) -> Times:
    """Times of every candidate, in turns of another order each, since a candidate leaves the caches to the next.

    At least two turns, at most a hundred.
    """
    times: Times = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    started = time.perf_counter()
    for turn in range(100):
        if turn >= 2 and time.perf_counter() - started > seconds:
            break
        for name in random.Random(turn).sample(list(candidates), len(candidates)):
            times[name].append(seconds_of(candidates[name], device))
    return times


def seconds_of(run: Callable[[], None], device: str) -> float:
    """How long it takes; of a GPU that waits until the host has launched all of it."""
    if device == "cpu":
        before = time.perf_counter()
        run()
        return time.perf_counter() - before
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(AHEAD)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def saved_bytes(module: nn.Module, x: Tensor, boxes: Iterable[Tensor]) -> int:
    """Bytes that autograd holds between the passes, the input among them if it is held; weights not counted."""
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # an output that its own graph holds would never be freed

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = module.train()(x.detach().requires_grad_(), *boxes)
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    del output
    return sum(size for address, size in held.items() if address not in weights)


def tables(rows: list[Row]) -> str:
    """All figures in Markdown, a row an operator, its shapes side by side; after each table its intervals."""
    columns = [(layout, each) for layout in LAYOUTS for each in PASSES]
    operators: dict[str, list[Row]] = {}
    for row in rows:
        operators.setdefault(row.operator, []).append(row)
    floors = [([name], [(row.layout, row.floors) for row in ours]) for name, ours in operators.items()]
    peers = [
        ([name, peer], [(row.layout, row.peers[peer]) for row in ours])
        for name, ours in operators.items()
        for peer in ours[0].peers
    ]
    lines = []
    for title, names, found in (
        ("Multiples of the memory floor", ["operator"], floors),
        ("Our time as a multiple of a peer's", ["operator", "peer"], peers),
    ):
        for kind, write in (("", median), (": intervals", interval)):
            lines += [f"{title}{kind}", "", line(names + [f"{each} {layout}" for layout, each in columns])]
            lines.append(line(["---"] * (len(names) + len(columns))))
            for named, by_shape in found:
                cells = [[write(by[each]) for at, by in by_shape if at == layout] for layout, each in columns]
                lines.append(line(named + [" / ".join(cell) for cell in cells]))
            lines.append("")
    lines += ["Bytes saved for the backward pass per number of the input", "", line(["operator", "bytes"]), "|---|---|"]
    for name, ours in operators.items():
        lines.append(line([name, " / ".join(short(row.saved) for row in ours if row.layout == "NCHW")]))
    return "\n".join(lines) + "\n"


def line(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def median(found: Estimate) -> str:
    """Of an estimate."""
    return short(found[0])


def interval(found: Estimate) -> str:
    """Of an estimate, from end to end."""
    return f"{short(found[1])}–{short(found[2])}"


def short(number: float) -> str:
    """Two significant figures."""
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"


def environment(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    peers = {name for by_name in PEERS.values() for name in by_name}
    versions = {name: metadata.version(name.replace("_", "-")) for name in sorted(peers) if find_spec(name)}
    return {
        **provenance.environment(),
        "device": device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "peers": versions,
        "dtype": "float32",
        "places": PLACES,
    }


def heading(measured: dict[str, Any], factor: float) -> str:
    """What stands above the tables: the machine, and the shapes in their order, of local operators with the window."""
    machine = measured["processor" if measured["device"] == "cpu" else "gpu"]
    lines = [
        f"{machine}, torch {measured['versions']['torch']}, {measured['dtype']}. Medians of n = {measured['places']} "
        "places in memory, minutes apart; that of all places lies in the interval with a chance of "
        f"{CONFIDENCE:.0%} or more.",
        "",
        "Shapes, side by side:",
        "",
    ]
    for kind, by_label in SHAPES.items():
        for label, shape in by_label.items():
            window = f" k{shape.kernel_size} s{shape.stride} p{shape.padding}" if kind == "local" else ""
            lines.append(f"- {label} ({kind}): {shape.times(factor).size}{window}")
    return "\n".join([*lines, "", ""])


def main() -> int:
    """Measure, print, write."""
    assert PEERS.keys() <= set(pooling.names())
    parser = argparse.ArgumentParser(description="Time every operator beside the memory floor and its peers.")
    parser.add_argument("names", nargs="*", metavar="operator", help="which operators; all by default")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cpu by default")
    parser.add_argument("--quick", action="store_true", help="an eighth of each batch, few turns; writes nothing")
    options = parser.parse_args()
    chosen = options.names or pooling.names()
    try:
        specs = [pooling.spec(name) for name in chosen]
    except ValueError as error:
        parser.error(str(error))
    console = Console()
    for library in sorted({name for peers in PEERS.values() for name in peers if not find_spec(name)}):
        console.print(f"peer {library} is not installed: left out")
    torch.set_num_threads(1)
    factor = (LARGER if options.device == "cuda" else 1) / (8 if options.quick else 1)
    cases = [
        Case(spec.name, extra, label, shape.times(factor), layout, options.device)
        for spec in specs
        for extra in ({}, *OPTIONS.get(spec.name, ()))
        for label, shape in SHAPES[spec.kind].items()
        for layout in LAYOUTS
    ]
    seconds = SECONDS / PLACES / (8 if options.quick else 1)
    taken = [
        measure(case, place, seconds)
        for place, case in track([*itertools.product(range(PLACES), cases)], "Timing", console=console)
    ]
    rows = [row_of(case, taken[number :: len(cases)]) for number, case in enumerate(cases)]
    console.print(Markdown(tables(rows)))
    if not options.quick:
        measured = environment(options.device)
        folder = RESULTS / provenance.machine_folder(options.device)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "operators.md", heading(measured, factor) + tables(rows))
        write_json(folder / "operators.json", {"environment": measured, "rows": [asdict(row) for row in rows]})
    return 0


if __name__ == "__main__":
    settings = ENVIRONMENT | UNTRIMMED
    if not settings.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | settings)
    sys.exit(main())
