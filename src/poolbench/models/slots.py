"""Slots: where a model pools. They are found by watching one forward, in any torch model."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from poolbench import pooling
from poolbench.models.placed import Follower, Placed, Pooled
from poolbench.pooling.window import Window

PICTURE = (1, 3, 224, 224)
MERGING = ("PatchMerging", "PatchMergingV2")
"""Classes of torchvision and timm, by name: either library is imported only by the networks that need it."""

WINDOWS = {
    "max_pool2d": ("max", ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "avg_pool2d": ("average", ("kernel_size", "stride", "padding", "ceil_mode")),
}
"""Functions that slide a window: the kind of their slot, and their arguments in order."""
WINDOW_LAYERS = {nn.MaxPool2d: "max", nn.AvgPool2d: "average", nn.LPPool2d: "lp"}
LOCAL = (*WINDOW_LAYERS.values(), "strided", "convolution", "merging")
"""Kinds of layers that are no head, however small the map that they give."""
ADAPTIVE_LAYERS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
ADAPTIVE = ("adaptive_avg_pool2d", "adaptive_max_pool2d")
REDUCING = (*ADAPTIVE, "mean", "amax", "flatten", "view", "reshape", "getitem")
POINTWISE_LAYERS = (
    nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.Identity, nn.modules.dropout._DropoutNd,
)  # fmt: skip
ACTIVATIONS = ("relu", "relu6", "hardswish", "silu", "gelu", "elu", "leaky_relu", "hardtanh", "mish", "sigmoid", "tanh")


@dataclass(frozen=True)
class Slot:
    """A place in a model where it pools. Shapes are those of the example, (N, C, H, W) for the most part."""

    name: str
    """The path of the layer; for a function the path of the layer that calls it, and the function's name."""
    kind: str
    """What stands there: max, average, lp, strided (a convolution), merging, an operator's name; in the head a name."""
    takes: pooling.Kind
    """Which operators it takes: local ones, or in the head global or token ones."""
    before: tuple[int, ...]
    after: tuple[int, ...]
    window: Window | None
    call: "Call" = field(repr=False, compare=False)

    @property
    def layer(self) -> nn.Module | None:
        """The layer that stands there; None for a function, or what repeats another slot's choice."""
        layer = self.call.layer
        return None if isinstance(layer, Placed) and isinstance(layer.operator, Follower) else layer


@dataclass(eq=False)
class Call:
    """One call of a layer or a function, as it was watched."""

    key: str
    """The layer's path, or the function's name."""
    owner: str
    """The path of the layer in whose forward it stands."""
    frame: int
    """Which forward it stands in."""
    place: int
    """How many calls of the same key came before in that forward."""
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    layer: nn.Module | None = None
    inner: int = -1
    """The forward that it is itself, for a layer."""
    output: Any = None

    @property
    def inputs(self) -> list[Tensor]:
        return list(tensors((self.arguments, dict(self.options))))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every layer is in the mode that it was in."""
    training = {layer: layer.training for layer in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for layer, mode in training.items():
            layer.training = mode


class Watch(TorchFunctionMode):
    """Every call in one forward of a model, in the order in which they ended."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.calls: list[Call] = []
        self.stack: list[Call] = []
        self.above: dict[int, int] = {}
        self.seen: Counter[tuple[int, str]] = Counter()
        self.times: Counter[int] = Counter()

    def run(self, example: Tensor) -> Any:
        """The model's output. Raises ValueError that names the layer in which the forward failed."""
        hooks = []
        for path, layer in self.model.named_modules():
            hooks.append(layer.register_forward_pre_hook(partial(self._enter, path), with_kwargs=True))
            hooks.append(layer.register_forward_hook(self._leave, with_kwargs=True))
        try:
            with torch.no_grad(), evaluating(self.model), self:
                return self.model(example)
        except Exception as error:
            raise ValueError(f"{self._where()}: {_line(error)}") from error
        finally:
            for hook in hooks:
                hook.remove()

    def _where(self) -> str:
        maps = (
            [f", a map of {_size(each)} pixels" for each in self.stack[-1].inputs[:1] if each.ndim == 4]
            if self.stack
            else []
        )
        return f"layer {self.stack[-1].key or 'of the model'}{''.join(maps)}" if self.stack else "the model"

    def _begin(self, key: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Call:
        frame = self.stack[-1].inner if self.stack else -1
        call = Call(key, self.stack[-1].key if self.stack else "", frame, self.seen[frame, key], arguments, options)
        self.seen[frame, key] += 1
        return call

    def _enter(self, path: str, layer: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        call = self._begin(path, arguments, options)
        call.layer, call.inner = layer, len(self.above)
        self.above[call.inner] = call.frame
        self.times[id(layer)] += 1
        self.stack.append(call)

    def _leave(self, layer: nn.Module, arguments: Any, options: Any, output: Any) -> None:
        call = self.stack.pop()
        call.output = output
        self.calls.append(call)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        output = function(*arguments, **(options or {}))
        if self.stack and any(True for _ in tensors(output)):
            call = self._begin(function_key(function), arguments, options or {})
            call.output = output
            self.calls.append(call)
        return output

    def within(self, call: Call, frames: set[int]) -> bool:
        """Whether a call stands in one of these forwards, or in one that they call."""
        frame = call.frame
        while frame >= 0 and frame not in frames:
            frame = self.above[frame]
        return frame in frames

    def once(self, layer: nn.Module | None) -> bool:
        """Whether a layer was called one time."""
        return layer is not None and self.times[id(layer)] == 1

    def caller(self, call: Call) -> Call | None:
        """The call of the layer in whose forward a call stands."""
        return next((each for each in self.calls if each.layer is not None and each.inner == call.frame), None)

    def follower(self, call: Call) -> Call | None:
        """The one call in the same forward that receives what a call gives; None where there is none or are several."""
        found = []
        for each in self.calls[self.calls.index(call) + 1 :]:
            if each.frame == call.frame and any(given is call.output for given in each.inputs):
                found.append(each)
                if each.output is call.output:  # changed in place: what comes later receives the change
                    break
        return found[0] if len(found) == 1 else None


def function_key(function: Any) -> str:
    """The name under which a function, a method and its form in place are one."""
    return (function if isinstance(function, str) else getattr(function, "__name__", "")).strip("_")


def tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    elif isinstance(nested, Mapping):
        yield from tensors(tuple(nested.values()))
    elif isinstance(nested, tuple | list):
        for each in nested:
            yield from tensors(each)


def _size(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[2:]))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def picture(model: nn.Module) -> Tensor:
    """The example that stands for a model's input where none is given: one picture of ImageNet's size."""
    like = next(model.parameters(), torch.empty(0))
    return torch.zeros(PICTURE, device=like.device, dtype=like.dtype)


def slots(model: nn.Module, example: Tensor | None = None) -> list[Slot]:
    """The slots of any model, in the order of its forward: where its maps shrink, and its head last.

    Maximum and average pooling, convolutions at a stride (a patch embedding is none: its windows do not overlap, and it
    comes first or they are 4 pixels wide), patch merging and the last step from a map or tokens to a vector; layers and
    functions, however deeply nested. `example`: an input of the model; unless given, a picture (1, 3, 224, 224).
    Raises ValueError that names the layer where the model does not take it.

    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> [(slot.name, slot.kind, slot.takes) for slot in slots(network)]
    [('1', 'max', 'local'), ('2', 'average', 'global')]
    """
    watch = Watch(model)
    watch.run(picture(model) if example is None else example)
    return found(watch)


def head(model: nn.Module, example: Tensor | None = None) -> list[nn.Module]:
    """The layers of a model's head and those that come after it in its forward; none where there is no head."""
    watch = Watch(model)
    watch.run(picture(model) if example is None else example)
    last = next((slot.call for slot in found(watch) if slot.takes != "local"), None)
    if last is None:
        return []
    later = watch.calls[watch.calls.index(last) :]
    return [
        call.layer for call in later if call.layer is not None and (call is last or not list(call.layer.children()))
    ]


def found(watch: Watch) -> list[Slot]:
    """The slots in what was watched."""
    taken: set[int] = set()
    local: list[Slot] = []
    heads: list[tuple[Call, str, pooling.Kind]] = []
    # A layer ends after what it calls: from the outside in, so that what a slot does within itself is none.
    layers = {call.inner: call for call in watch.calls if call.layer is not None}
    for frame in sorted(layers):
        call = layers[frame]
        if not watch.within(call, taken) and _layer_kind(call):
            taken.add(frame)
    for call in watch.calls:
        if watch.within(call, taken) or not isinstance(call.output, Tensor) or not call.inputs:
            continue
        if (head := _head(watch, call)) is not None:
            heads.append((call, *head))
        elif (slot := _local(watch, call)) is not None:
            local.append(slot)
    final = watch.calls[-1].output if watch.calls else None
    if isinstance(final, Tensor) and final.ndim == 2:
        if heads:
            local.append(_head_slot(watch, *heads[-1]))
        elif local and local[-1].after[2:] == (1, 1) and local[-1].kind in ("max", "average"):
            local[-1] = replace(local[-1], takes="global")  # a window as large as the map
    return local


@cache
def _operators() -> dict[type[nn.Module], pooling.Spec]:
    return {pooling.spec(name).operator: pooling.spec(name) for name in pooling.names()}


def _operator(layer: nn.Module | None) -> pooling.Spec | None:
    """The spec of a layer that is an operator of the registry."""
    return _operators().get(type(layer)) if layer is not None else None


def _layer_kind(call: Call) -> str:
    """What a layer is that pools as a whole; '' for any other."""
    layer, output = call.layer, call.output
    if isinstance(layer, Placed):
        return layer.kind
    if (spec := _operator(layer)) is not None and spec.kind in ("local", "global", "token"):
        return spec.name
    for known, kind in WINDOW_LAYERS.items():
        if isinstance(layer, known):
            return kind
    if isinstance(layer, ADAPTIVE_LAYERS):
        return "average" if isinstance(layer, nn.AdaptiveAvgPool2d) else "max"
    if type(layer).__name__ in MERGING:
        return "merging"
    if isinstance(layer, nn.Conv2d) and not isinstance(layer, Pooled):
        return "strided" if max(layer.stride) > 1 else "convolution"
    plain = layer is not None and not [*layer.children(), *layer.parameters()]
    if plain and call.inputs and isinstance(output, Tensor) and _reduces(call.inputs[0], output):
        return type(layer).__name__.lower()
    return ""


def _reduces(x: Tensor, y: Tensor) -> bool:
    """Whether a map (N, C, H, W) or (N, H, W, C) of more than one position, or tokens, became a vector."""
    if x.ndim == 4 and y.ndim in (2, 4) and x.shape[0] == y.shape[0]:
        if y.ndim == 4:
            flat = y.shape[2:] == (1, 1) and x.shape[2:] != (1, 1) and x.shape[1] <= y.shape[1]
            last = y.shape[1:3] == (1, 1) and x.shape[1:3] != (1, 1) and x.shape[3] == y.shape[3]
            return flat or last
        return x.shape[2:] != (1, 1) and (x.shape[1:3] != (1, 1) or y.shape[1] != x.shape[3])
    return x.ndim == 3 and y.ndim == 2 and tuple(y.shape) == (x.shape[0], x.shape[2]) and x.shape[1] > 1


def _head(watch: Watch, call: Call) -> tuple[str, pooling.Kind] | None:
    """What stands in the head, if a call makes a vector of a map or of tokens."""
    x, y = call.inputs[0], call.output
    if isinstance(call.layer, Placed):
        return (call.layer.kind, call.layer.takes) if call.layer.takes != "local" else None
    if (spec := _operator(call.layer)) is not None:
        return (spec.name, spec.kind) if spec.kind in ("global", "token") else None
    if isinstance(call.layer, ADAPTIVE_LAYERS) and y.shape[2:] == (1, 1):
        return _layer_kind(call), "global"
    if not _reduces(x, y):
        return None
    if call.layer is not None:
        kind = _layer_kind(call)
        return (kind, "global") if kind not in ("", *LOCAL) else None
    if call.key in REDUCING:
        return call.key, "token" if call.key == "getitem" else "global"
    return None


def _head_slot(watch: Watch, call: Call, kind: str, takes: pooling.Kind) -> Slot:
    """The head; where an adaptive pooling comes right before the map is flattened, it is in its place."""
    if kind in ("flatten", "view", "reshape"):
        for each in watch.calls:
            adaptive = isinstance(each.layer, ADAPTIVE_LAYERS) or (each.layer is None and each.key in ADAPTIVE)
            if adaptive and each.frame in (call.frame, watch.above.get(call.frame)) and each.output is call.inputs[0]:
                call, kind = each, "adaptive"
    return _slot(watch, call, kind, takes)


def _slot(watch: Watch, call: Call, kind: str, takes: pooling.Kind, window: Window | None = None) -> Slot:
    name = call.key if call.layer is not None else f"{call.owner}.{call.key}".strip(".")
    if not watch.once(call.layer) and watch.seen[call.frame, call.key] > 1:
        name = f"{name}#{call.place + 1}"
    return Slot(name, kind, takes, tuple(call.inputs[0].shape), tuple(call.output.shape), window, call)


def _local(watch: Watch, call: Call) -> Slot | None:
    """The slot that a call is, if it makes a map smaller."""
    x, y, layer = call.inputs[0], call.output, call.layer
    if isinstance(layer, Placed):
        return _slot(watch, call, layer.kind, "local", layer.window)
    kind = _layer_kind(call)
    if kind == "merging":
        return _slot(watch, call, kind, "local", Window.of(2, 2, "same", 1, False))
    if x.ndim != 4 or y.ndim != 4 or x.shape[2:].numel() <= y.shape[2:].numel():
        return None
    if isinstance(layer, nn.Conv2d) and kind == "strided":
        first = next(each for each in watch.calls if isinstance(each.layer, nn.Conv2d))
        if layer.kernel_size == layer.stride and (max(layer.stride) >= 4 or call is first):
            return None  # a patch embedding
        stride = layer.stride[0], layer.stride[1]
        return _slot(watch, call, kind, "local", Window.of(stride, stride, "same", 1, False))
    if layer is None and call.key in WINDOWS:
        kind, names = WINDOWS[call.key]
        given = dict(zip(names, call.arguments[1:], strict=False)) | dict(call.options)
    elif isinstance(layer, tuple(WINDOW_LAYERS)):
        given = {name: getattr(layer, name) for name in WINDOWS["max_pool2d"][1] if hasattr(layer, name)}
    elif (spec := _operator(layer)) is not None and spec.kind == "local":
        known = getattr(layer, "window", None)
        return _slot(watch, call, spec.name, "local", known if isinstance(known, Window) else _stride(x, y))
    else:
        return None
    return _slot(watch, call, kind, "local", _window(given, x, y))


def _stride(x: Tensor, y: Tensor) -> Window:
    """A window for an operator that tells none: cells that tile the map."""
    step = (-(-x.shape[2] // y.shape[2]), -(-x.shape[3] // y.shape[3]))
    return Window.of(step, step, "same", 1, False)


def _window(given: Mapping[str, Any], x: Tensor, y: Tensor) -> Window:
    """The window of a pooling layer; where its own padding is another, as by TensorFlow's rule, that one."""
    kernel, dilation = given["kernel_size"], given.get("dilation", 1)
    stride = given.get("stride") or kernel
    ceil, border = bool(given.get("ceil_mode")), _two(given.get("padding", 0))
    window = Window.of(_two(kernel), _two(stride), border, _two(dilation), ceil)
    room = (size + 2 * before - extent for size, before, extent in zip(x.shape[2:], border, window.extent, strict=True))
    if min(room) >= 0 and window.shape(*x.shape[2:]) == tuple(y.shape[2:]):
        return window
    return Window.of(_two(kernel), _two(stride), "same", _two(dilation), False)


def _two(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))
