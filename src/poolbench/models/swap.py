"""Put an operator into the slots of any torch model; everything else keeps its weights, and outputs their shapes."""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from poolbench import pooling
from poolbench.models.placed import Follower, Leader, Placed, append
from poolbench.models.slots import (
    ACTIVATIONS,
    POINTWISE_LAYERS,
    Call,
    Slot,
    Watch,
    evaluating,
    found,
    function_key,
    picture,
    tensors,
)
from poolbench.pooling.polyphase import Polyphase

Chosen = str | type[nn.Module] | Mapping[str, Any]
"""An operator as `pooling.create` takes it, or its `name` and options in one mapping."""

SIZES = ("kernel_size", "padding", "ratio", "output_size")
"""Options by which a user says of what size the map shall be."""
ADDITIONS = ("add", "iadd")
T = TypeVar("T")


@dataclass
class Edit:
    """A change of one forward: `placed` instead of the slot's call, or after the convolution that it is."""

    slot: Slot
    placed: Placed
    made: tuple[int, ...]
    """What `placed` makes of the slot's input, batch left out."""

    @property
    def after(self) -> bool:
        return isinstance(self.slot.call.layer, nn.Conv2d)


def swap(
    model: nn.Module,
    pool: Chosen | None = None,
    head: Chosen | None = None,
    where: Sequence[str] = ("*",),
    example: Tensor | None = None,
    widen: bool = False,
) -> nn.Module:
    """A copy of a model with the operator `pool` in its slots, and `head` in its last; other weights stay as they are.

    An operator is a name, a class, its dotted path, or a mapping of its `name` and options. In place of a pooling layer
    it takes the layer's window, unless its options say otherwise or it has a window of its own (a stride by default);
    the stride is always the slot's. A strided convolution becomes one of stride 1, and the operator follows its norm
    and activation, in a residual shortcut as well; `aps` and `lps` choose once for both branches. `where`: patterns of
    the slots' names or kinds that receive `pool`. `example`: an input, as for `slots`. `widen`: a head that gives
    vectors of another length gets a linear layer of that width, untrained, in place of the one after it.

    Raises ValueError that names the slot and the reason, where an operator is of the wrong kind, a map is too small, a
    forward cannot be traced that has to be, or an output's shape would change. The model itself never changes.

    >>> from torchvision.models import resnet18
    >>> antialiased = swap(resnet18(), pool="max_blur", where=["max"])
    >>> type(antialiased.maxpool.operator).__name__
    'MaxBlur'
    """
    example = picture(model) if example is None else example
    swapped = deepcopy(model)
    watch = Watch(swapped)
    before = watch.run(example)
    every = found(watch)
    edits: list[Edit] = []
    if pool is not None:
        spec, options = _parse(pool, "pool", "local")
        places = [slot for slot in every if slot.takes == "local" and _matches(slot, where)]
        if not places:
            raise ValueError(_nothing(spec, every, where))
        edits += [_place(watch, slot, spec, options) for slot in places]
        _share(watch, edits)
    if head is not None:
        last = next((slot for slot in every if slot.takes != "local"), None)
        spec, options = _parse(head, "head", last.takes if last is not None else "global")
        if last is None:
            raise ValueError(f"head={spec.name}: the model has no head: no step from a map or tokens to a vector")
        edits.append(_place_head(last, spec, options))
        _widen(swapped, watch, edits[-1], spec, widen)
    swapped = _apply(swapped, watch, edits)
    _prove(swapped, example, before, edits)
    return swapped


def _parse(chosen: Chosen, role: str, kind: pooling.Kind) -> tuple[pooling.Spec, dict[str, Any]]:
    """An operator and its options; ValueError where it is of another kind than the slot takes."""
    options = dict(chosen) if isinstance(chosen, Mapping) else {"name": chosen}
    spec = pooling.spec(options.pop("name"))
    if spec.kind != kind and spec.name in pooling.names():
        raise ValueError(
            f"{role}={spec.name}: a {role} slot takes a {kind} operator and this one is {spec.kind}; "
            f"choose from {', '.join(pooling.names(kind))}"
        )
    return spec, options


def _matches(slot: Slot, where: Sequence[str]) -> bool:
    return any(fnmatchcase(slot.name, pattern) or slot.kind == pattern for pattern in where)


def _nothing(spec: pooling.Spec, every: Sequence[Slot], where: Sequence[str]) -> str:
    names = ", ".join(f"{slot.name} ({slot.kind})" for slot in every if slot.takes == "local")
    if not names:
        return f"pool={spec.name}: the model has no slot: nothing in it pools, and no convolution has a stride"
    return f"pool={spec.name}: no slot matches where={list(where)}; the slots are {names}"


def _place(watch: Watch, slot: Slot, spec: pooling.Spec, given: Mapping[str, Any]) -> Edit:
    """An operator for a slot of maps, with what fits it to the layers around it."""
    assert slot.window is not None
    halved = [-(-size // 2) for size in slot.before]
    axes = "NHWC" if slot.kind == "merging" and list(slot.after[1:3]) == halved[1:3] else "NCHW"
    x, y = torch.zeros(slot.before, device="cpu"), torch.zeros(slot.after, device="cpu")
    if isinstance(slot.call.layer, nn.Conv2d):
        x = torch.zeros(_dense(watch, slot), device="cpu")
    if axes == "NHWC":
        x, y = x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2)
    options, projection = _options(slot, spec, given, y), None
    if x.shape[1] != y.shape[1] and "out_channels" not in spec.options:
        projection = nn.Conv2d(x.shape[1], y.shape[1], 1, bias=False, device="cpu")
    operator = _named(slot, lambda: spec.build(x.shape[1], **options))
    for fitted in (False, True):
        placed = Placed(operator, slot.kind, "local", slot.window, axes, False, fitted, projection)
        made = _try(slot, placed, x.permute(0, 2, 3, 1) if axes == "NHWC" else x)
        if made == slot.after[1:]:
            break
    else:
        if not set(SIZES) & set(given):
            raise ValueError(
                f"slot {slot.name}, {_input_of(slot)}: {spec.name} gives {made} and the next layer expects "
                f"{slot.after[1:]}: leave the slot out by `where`"
            )
        placed.fitted = False
        made = _try(slot, placed, x.permute(0, 2, 3, 1) if axes == "NHWC" else x)
    return Edit(slot, placed, made)


def _options(slot: Slot, spec: pooling.Spec, given: Mapping[str, Any], y: Tensor) -> dict[str, Any]:
    """The options with which an operator stands in a slot: the user's, the slot's stride, and what it leaves open."""
    assert slot.window is not None
    window, options, known = slot.window, dict(given), spec.options
    step = window.stride[0] if window.stride[0] == window.stride[1] else window.stride
    if "stride" in known:
        if options.get("stride") not in (None, known["stride"].default, step):
            raise ValueError(
                f"slot {slot.name}: its stride is {step}, and {spec.name} has {options['stride']}: leave stride out"
            )
        options["stride"] = step
        if known["stride"].default is None and not {"kernel_size", "padding"} & given.keys():
            rounds_up = window.ceil_mode and "ceil_mode" not in known
            padding = "same" if window.padding is None or rounds_up else window.padding
            own = {
                "kernel_size": window.kernel,
                "padding": padding,
                "dilation": window.dilation,
                "ceil_mode": window.ceil_mode,
            }
            options = {key: value for key, value in own.items() if key in known} | options
    free = {"output_size": tuple(y.shape[2:]), "ratio": float(max(window.stride)), "out_channels": y.shape[1]}
    return {key: value for key, value in free.items() if key in known and options.get(key) is None} | {
        key: value for key, value in options.items() if value is not None or key not in free
    }


def _dense(watch: Watch, slot: Slot) -> tuple[int, ...]:
    """The shape of the map that a strided convolution makes at stride 1."""
    layer = slot.call.layer
    assert isinstance(layer, nn.Conv2d)
    if not watch.once(layer):
        raise ValueError(
            f"slot {slot.name}: the convolution is called {watch.times[id(layer)]} times: leave it out by `where`"
        )
    dense = copy(layer)
    dense.stride = (1, 1)
    with torch.no_grad():
        return tuple(dense(slot.call.inputs[0]).shape)


def _place_head(slot: Slot, spec: pooling.Spec, given: Mapping[str, Any]) -> Edit:
    x, y = slot.before, slot.after
    axes = "NLC" if len(x) == 3 else "NCHW"
    if slot.kind not in ("flatten", "view", "reshape", "adaptive") and len(x) == 4:
        last = y[1:] == (x[3],) != (x[1],) or (len(y) == 4 and y[1:] == (1, 1, x[3]) != (x[1], 1, 1))
        axes = "NHWC" if last else "NCHW"
    channels = x[1] if axes == "NCHW" else x[-1]
    operator = _named(slot, lambda: spec.build(channels, **given))
    placed = Placed(operator, slot.kind, slot.takes, axes=axes, keeps=len(y) == 4)
    return Edit(slot, placed, _try(slot, placed, torch.zeros(x, device="cpu")))


def _named(slot: Slot, build: Callable[[], T]) -> T:
    """What `build` gives; a ValueError names the slot."""
    try:
        with torch.device("cpu"):  # a model on the meta device holds no numbers to try an operator with
            return build()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"slot {slot.name}, {_input_of(slot)}: {str(error).splitlines()[0]}") from error


def _input_of(slot: Slot) -> str:
    if len(slot.before) == 4:
        return f"a map of {slot.before[2]} x {slot.before[3]} pixels"
    return f"{slot.before[1]} tokens"


def _try(slot: Slot, placed: Placed, x: Tensor) -> tuple[int, ...]:
    """The shape of what an operator makes of the slot's input, batch left out."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(placed):
        made = _named(slot, lambda: placed(x))
    if not isinstance(made, Tensor):
        raise ValueError(
            f"slot {slot.name} takes one map on and gets a {type(made).__name__}: leave return_indices out"
        )
    return tuple(made.shape[1:])


def _share(watch: Watch, edits: Sequence[Edit]) -> None:
    """Where two branches are added, a polyphase operator in the later one keeps what that in the other chose."""
    by_call = {id(edit.slot.call): edit for edit in edits if isinstance(edit.placed.operator, Polyphase)}
    passed: dict[int, frozenset[int]] = {}
    order = list(by_call)
    for call in watch.calls:
        if id(call) in by_call:
            passed[id(call.output)] = frozenset({id(call)})
        elif call.layer is None and isinstance(call.output, Tensor):
            branches = [passed.get(id(x), frozenset()) for x in call.inputs]
            if call.key in ADDITIONS and len(branches) == 2 and all(branches) and not branches[0] & branches[1]:
                first, *others = sorted(branches[0] | branches[1], key=order.index)
                leader = by_call[first].placed
                if isinstance(leader.operator, Polyphase):
                    leader.operator = Leader(leader.operator)
                assert isinstance(leader.operator, Leader)
                for other in others:
                    by_call[other].placed.operator = Follower(leader.operator)
            passed[id(call.output)] = frozenset().union(*branches)


def _widen(model: nn.Module, watch: Watch, edit: Edit, spec: pooling.Spec, widen: bool) -> None:
    """Make the linear layer after the head anew, where the head's vector has another length than before."""
    slot = edit.slot
    width, made = math.prod(slot.after[1:]), math.prod(edit.made)
    if made == width:
        return
    later = watch.calls[watch.calls.index(slot.call) + 1 :]
    leaves = [(call, call.layer) for call in later if call.layer is not None and not list(call.layer.children())]
    weighty = next((call for call, layer in leaves if list(layer.parameters())), None)
    follower = weighty or next((call for call, layer in reversed(leaves) if isinstance(layer, nn.Identity)), None)
    gives = f"slot {slot.name}: {spec.name} gives {made} numbers a picture in place of {width}"
    if follower is None or not isinstance(follower.layer, nn.Linear | nn.Identity):
        what = f"the next layer, {follower.key}, is no nn.Linear" if follower else "no nn.Linear follows"
        raise ValueError(f"{gives}, and {what}: choose a head that gives {width}")
    if not widen:
        raise ValueError(
            f"{gives}, and the next layer, {follower.key}, takes {width}: widen=True makes it anew, untrained"
        )
    old = follower.layer
    like = next(model.parameters())
    outgoing, bias = (old.out_features, old.bias is not None) if isinstance(old, nn.Linear) else (width, True)
    _put(model, follower.key, nn.Linear(made, outgoing, bias, device=like.device, dtype=like.dtype))


def _apply(model: nn.Module, watch: Watch, edits: Sequence[Edit]) -> nn.Module:
    """Change the layers that can be changed alone, then the forwards of those that call functions or share layers."""
    alone: list[tuple[str, Edit]] = []
    traced: dict[str, list[tuple[Call, Edit]]] = defaultdict(list)
    for edit in edits:
        call = edit.slot.call
        if edit.after:
            call = _end(watch, call)
            caller = watch.caller(call)
            if call.layer is None and caller is not None and caller.key and caller.output is call.output:
                call = caller
        if watch.once(call.layer):
            alone.append((call.key, edit))
        else:
            _once(watch, call, edit.slot)
            traced[call.owner].append((call, edit))
    plans = {owner: _plan(model, watch, owner, traced[owner]) for owner in traced}
    for edit in edits:
        layer = edit.slot.call.layer
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
        _move(edit.placed, edit.slot.call.inputs[0])
    for path, edit in alone:
        if edit.after:
            append(model.get_submodule(path), edit.placed)
        else:
            _put(model, path, edit.placed)
    for owner in sorted(plans, key=lambda path: -path.count(".") - bool(path)):  # the innermost first
        model = _rewrite(model, owner, *plans[owner])
    return model


def _move(placed: Placed, like: Tensor) -> None:
    """Bring an operator to a tensor's device and format."""
    own = [*placed.parameters(), *placed.buffers()]
    if any(each.device != like.device or each.dtype != like.dtype for each in own):
        placed.to(device=like.device, dtype=like.dtype)


def _once(watch: Watch, call: Call, slot: Slot) -> None:
    """Raise ValueError where the forward that would be changed serves several places."""
    caller = watch.caller(call)
    if caller is not None and not watch.once(caller.layer):
        raise ValueError(
            f"slot {slot.name}: {caller.key} is called {watch.times[id(caller.layer)]} times, so a change of it would "
            "concern them all: leave the slot out by `where`"
        )


def _end(watch: Watch, call: Call) -> Call:
    """The last of the norms and activations that follow a convolution: a filter belongs behind them."""
    end = cursor = call
    while True:
        following, caller = watch.follower(cursor), watch.caller(cursor)
        if following is not None and _pointwise(following):
            end = cursor = following
        elif following is None and caller is not None and caller.key and caller.output is cursor.output:
            cursor = caller
        else:
            return end


def _pointwise(call: Call) -> bool:
    layer = call.layer
    if layer is None:
        return call.key in ACTIVATIONS
    if isinstance(layer, POINTWISE_LAYERS):
        return True
    same = isinstance(call.output, Tensor) and call.output.shape == call.inputs[0].shape
    return same and type(layer).__module__.rpartition(".")[2].startswith("activation")


def _put(model: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent).register_module(name, layer)


class Shallow(fx.Tracer):
    """Traces one forward; every layer that it calls stays as it is."""

    def is_leaf_module(self, layer: nn.Module, path: str) -> bool:
        return True


class Seen(fx.Interpreter):
    """Runs a graph, and remembers the shapes of what its nodes give."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if isinstance(value, Tensor):
            self.shapes[node] = value.shape
        return value

    def pools(self, node: fx.Node) -> bool:
        """Whether a tensor goes in and one comes out: an element of a shape or of a tuple is not what is looked for."""
        return node in self.shapes and any(given in self.shapes for given in node.all_input_nodes)


def _plan(
    model: nn.Module, watch: Watch, path: str, edits: Sequence[tuple[Call, Edit]]
) -> tuple[fx.Graph, list[tuple[fx.Node, Edit]]]:
    """The traced forward of the layer at `path`, and the nodes in it that were watched as these calls."""
    owner, caller = model.get_submodule(path), watch.caller(edits[0][0])
    assert caller is not None
    names = ", ".join(edit.slot.name for _, edit in edits)
    what = f"slot {names}: the forward of {path or 'the model'} ({type(owner).__name__})"
    given = inspect.signature(owner.forward).bind(*caller.arguments, **caller.options)
    given.apply_defaults()
    graph = _trace(owner, what, {key: value for key, value in given.arguments.items() if not list(tensors(value))})
    seen = Seen(fx.GraphModule(owner, graph))
    with torch.no_grad(), evaluating(owner):
        seen.run(*given.arguments.values())
    chosen = []
    for call, edit in edits:
        nodes = [node for node in graph.nodes if _key(node, path) == call.key and seen.pools(node)]
        if len(nodes) <= call.place or seen.shapes[nodes[call.place]] != call.output.shape:
            raise ValueError(f"{what} takes another way when it is traced: leave the slot out by `where`")
        chosen.append((nodes[call.place], edit))
    return graph, chosen


def _rewrite(model: nn.Module, path: str, graph: fx.Graph, chosen: Sequence[tuple[fx.Node, Edit]]) -> nn.Module:
    """Change the forward of the layer at `path` to a graph with operators at these nodes."""
    owner = model.get_submodule(path)
    for number, (node, edit) in enumerate(chosen):
        name = f"pool{number}"
        while hasattr(owner, name):
            name += "_"
        owner.add_module(name, edit.placed)
        with graph.inserting_after(node):
            new = graph.create_node("call_module", name, (node if edit.after else _input(node),))
        for user in [user for user in node.users if user is not new]:
            user.replace_input_with(node, new)
        if not edit.after:
            graph.erase_node(node)
    rewritten = fx.GraphModule(owner, graph)
    for name, child in owner.named_children():  # what this forward does not call, an auxiliary head say, stays
        if not hasattr(rewritten, name):
            rewritten.add_module(name, child)
    rewritten.train(owner.training)
    if not path:
        return rewritten
    _put(model, path, rewritten)
    return model


def _trace(owner: nn.Module, what: str, constants: dict[str, Any]) -> fx.Graph:
    """The graph of one forward. Raises ValueError where there is none, or another in training."""
    training, graphs = owner.training, []
    try:
        for mode in (True, False):
            owner.training = mode
            graphs.append(Shallow().trace(owner, constants))
    except Exception as error:
        raise ValueError(
            f"{what} cannot be traced: {str(error).splitlines()[0]}; leave the slot out by `where`"
        ) from error
    finally:
        owner.training = training
    first, second = (
        [(node.op, str(node.target), str(node.args), str(node.kwargs)) for node in graph.nodes] for graph in graphs
    )
    if first != second:
        raise ValueError(f"{what} is another in training than in evaluation: leave the slot out by `where`")
    return graphs[0]


def _key(node: fx.Node, path: str) -> str:
    if node.op == "call_module":
        return f"{path}.{node.target}".strip(".")
    return function_key(node.target) if node.op in ("call_function", "call_method") else ""


def _input(node: fx.Node) -> Any:
    return node.args[0] if node.args else node.kwargs["input"]


def _prove(model: nn.Module, example: Tensor, before: Any, edits: Sequence[Edit]) -> None:
    """Raise ValueError unless the swapped model gives outputs of the shapes that the model gave."""
    changed = [edit.slot.name for edit in edits if edit.slot.takes == "local" and edit.made != edit.slot.after[1:]]
    note = f" (slots whose maps have another size: {', '.join(changed)})" if changed else ""
    try:
        after = Watch(model).run(example)
    except ValueError as error:
        raise ValueError(f"{error}{note}") from error
    shapes = [[tuple(x.shape) for x in tensors(output)] for output in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the output would be of shape {shapes[1]} in place of {shapes[0]}{note}")
