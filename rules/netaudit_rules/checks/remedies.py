"""What to change where gradients vanish or explode: candidates, which the audit analyses before it shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10, prod, sqrt
from typing import TypeAlias

from netaudit import Audit, Change, Node, Normalised, Remedy, Removed, Replaced, Rescaled, Residual, ScaledBranch, entry, forward_path, rms
from netaudit_rules.checks.blame import NORMALISERS, Blame
from netaudit_rules.checks.common import MOVES

WEIGHTED = frozenset({"aten.linear", "aten.conv1d", "aten.conv2d", "aten.conv3d"})
"""Calls with a weight of shape (out, in, taps ...) in their second slot."""
SATURATING = frozenset({"aten.sigmoid", "aten.tanh", "aten.hardsigmoid", "aten.hardtanh", "aten.softsign"})
_RELU = "relu leaky_relu gelu silu elu hardswish mish relu6"
GAINS = {f"aten.{name}": (sqrt(2), "relu") for name in _RELU.split()} | {"aten.tanh": (5 / 3, "tanh")}
"""Gain of an initialisation that keeps the size of what enters, and torch's name for it: He et al. 2015, section 2.2, and
``torch.nn.init.calculate_gain``; others have 1, the gain of ``linear``."""
ACTIVATIONS = SATURATING | GAINS.keys() | {"aten.selu", "aten.softplus"}
THROUGH = NORMALISERS | MOVES | {"aten.dropout"}
"""What may stand between a layer and its activation."""
NEAR, FAR = 0.1, 0.5
"""Decades between the RMS of a weight and the one that is proposed: nothing to re-initialise below the first; where some are
beyond the second, they alone are."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear or convolutional call with its weight, and the activation that follows it, if any."""

    call: Node
    weight: str
    activation: Node | None
    normalised: bool


def for_vanishing(audit: Audit, blamed: Blame, flagged: Sequence[str]) -> tuple[Remedy, ...]:
    """Activations that do not saturate, an initialisation that fits them, residuals, normalisation."""
    layers = _layers(audit, _region(audit, blamed))
    candidates = (
        _unsaturated(layers, audit),
        _initialised(_layers(audit, _on_path(audit, blamed, flagged[0])), audit),
        _residual(layers, audit),
        _normalised(layers),
    )
    return tuple(Remedy(text, changes=changes, about=tuple(flagged)) for text, changes in candidates if changes)


def for_exploding(audit: Audit, blamed: Blame, flagged: Sequence[str]) -> tuple[Remedy, ...]:
    """Streams that are not multiplied up, an initialisation that fits, scaled branches, normalisation; for a loss, scaled targets."""
    if _is_loss(audit, blamed):
        return (Remedy(TARGETS),)
    nodes = _on_path(audit, blamed, flagged[0])
    candidates = (
        _unmultiplied(nodes),
        _initialised(_layers(audit, nodes), audit),
        _table(audit, flagged[0], blamed),
        _scaled(audit, nodes),
        _in_front(audit, flagged[0]) if blamed.way == "forward" else _normalised(_layers(audit, _region(audit, blamed))),
    )
    return tuple(Remedy(text, changes=changes, about=tuple(flagged)) for text, changes in candidates if changes)


Candidate: TypeAlias = tuple[str, tuple[Change, ...]]
NOTHING: Candidate = ("", ())
TARGETS = "bring the targets to zero mean and unit variance before the loss, and undo it on the predictions"


# where ------------------------------------------------------------------------------------------------------------------


def _region(audit: Audit, blamed: Blame) -> Sequence[Node]:
    """The calls of the blamed module and of the run, in execution order."""
    run = set(blamed.run.nodes) if blamed.run is not None else set()
    prefix = blamed.module + "."
    return [
        node
        for node in audit.graph.nodes
        if node.name in run or (blamed.module and (node.where.module == blamed.module or node.where.module.startswith(prefix)))
    ]


def _on_path(audit: Audit, blamed: Blame, param: str) -> Sequence[Node]:
    """The region, and all calls from the input through that of a parameter to the loss by the ways that carry most."""
    call, operand = _entry(audit, param)
    names = {node.name for node in _region(audit, blamed)} | {call} | set(audit.flow.path(audit.graph.params[param].node))
    if operand is not None:
        names |= set(forward_path(audit.facts, operand))
    return [node for node in audit.graph.nodes if node.name in names]


def _layers(audit: Audit, region: Sequence[Node]) -> Sequence[Layer]:
    users = _users(audit.graph.nodes)
    by_node = {info.node: name for name, info in audit.graph.params.items() if info.trainable}
    found = []
    for node in region:
        weight = by_node.get(str(node.operands[1])) if node.op in WEIGHTED else None
        if weight is not None:
            found.append(Layer(node, weight, *_after(node, users)))
    return found


def _users(nodes: Iterable[Node]) -> Mapping[str, Sequence[Node]]:
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.inputs):
            users.setdefault(name, []).append(node)
    return users


def _after(call: Node, users: Mapping[str, Sequence[Node]]) -> tuple[Node | None, bool]:
    """The activation behind a call, where nothing else uses its value, and whether a normalisation stands there."""
    node, normalised = call, False
    while len(following := users.get(node.name, ())) == 1:
        node = following[0]
        if node.op in ACTIVATIONS:
            return node, normalised
        if node.op not in THROUGH:
            break
        normalised |= node.op in NORMALISERS
    return None, normalised


def _is_loss(audit: Audit, blamed: Blame) -> bool:
    """Whether the run lies between the model's output and the loss."""
    outputs = [i for i, node in enumerate(audit.graph.nodes) if node.name in audit.graph.outputs]
    places = [i for i, node in enumerate(audit.graph.nodes) if blamed.run is not None and node.name in blamed.run.nodes]
    return bool(places and outputs) and min(places) > max(outputs)


# what -------------------------------------------------------------------------------------------------------------------


def _unsaturated(layers: Sequence[Layer], audit: Audit) -> Candidate:
    acts = [layer.activation for layer in layers if layer.activation is not None and layer.activation.op in SATURATING]
    if not acts:
        return NOTHING
    names = ", ".join(sorted({act.op.partition(".")[2] for act in acts}))
    text = f"relu in place of {names} ({_times(len(acts), 'call')}), {_init(len(layers), 'relu')}"
    return text, (Replaced(tuple(act.name for act in acts), "aten.relu"), _rescaled(layers, audit, sqrt(2)))


def _init(count: int, nonlinearity: str) -> str:
    return f"kaiming_normal_(w, nonlinearity={nonlinearity!r}) on {_times(count, 'weight')}"


def _initialised(layers: Sequence[Layer], audit: Audit) -> Candidate:
    """The initialisation that fits the activation most layers have; nothing where the weights have it already."""
    ops = Counter(layer.activation.op for layer in layers if layer.activation is not None)
    gain, name = GAINS.get(max(ops, key=lambda o: ops[o]), (1.0, "linear")) if ops else (1.0, "linear")
    new = _rescaled(layers, audit, gain)
    off = {param: (_distance(audit, param, size), size) for param, size in zip(new.params, new.rms, strict=True)}
    limit = FAR if any(distance > FAR for distance, _ in off.values()) else NEAR
    chosen = {param: size for param, (distance, size) in off.items() if distance > limit}
    return (_init(len(chosen), name), (Rescaled(tuple(chosen), tuple(chosen.values())),)) if chosen else NOTHING


def _distance(audit: Audit, param: str, size: float) -> float:
    present = rms(audit.facts, audit.graph.params[param].node)
    return inf if present is None else abs(present - log10(size))


def _rescaled(layers: Sequence[Layer], audit: Audit, gain: float) -> Rescaled:
    params = tuple(dict.fromkeys(layer.weight for layer in layers))
    return Rescaled(params, tuple(gain / sqrt(max(prod(audit.graph.params[name].shape[1:]), 1)) for name in params))


def _residual(layers: Sequence[Layer], audit: Audit) -> Candidate:
    """Around each layer that ends in an activation and keeps its shape."""
    pairs = []
    for layer in layers:
        start = audit.facts.nodes[str(layer.call.operands[0])]
        if layer.activation is not None and start.shape == layer.activation.shape:
            pairs.append((start.name, layer.activation.name))
    return (f"a residual x + f(x) around {_times(len(pairs), 'layer')}", (Residual(tuple(pairs)),)) if pairs else NOTHING


def _unmultiplied(nodes: Sequence[Node]) -> Candidate:
    """Without what multiplies a stream by a constant above 1: sums of a tensor with itself, products with a number."""
    region = [node for node in nodes if _multiplies(node)]
    ops = ", ".join(sorted({node.op.partition(".")[2] for node in region}))
    text = f"leave out {_times(len(region), 'call')} of {ops} that multiply a stream by a constant"
    return (text, (Removed(tuple(node.name for node in region)),)) if region else NOTHING


def _multiplies(node: Node) -> bool:
    if len(node.operands) != 2 or not isinstance(node.operands[0], str):
        return False
    other = node.operands[1]
    return (node.op == "aten.add" and other == node.operands[0]) or (node.op == "aten.mul" and isinstance(other, float) and abs(other) > 1)


def _scaled(audit: Audit, nodes: Sequence[Node]) -> Candidate:
    """Branches of residual sums scaled by 1 / sqrt(their number): the variance of a sum of independent branches stays that of one."""
    branches = _branches(audit, {node.name for node in nodes})
    if len(branches) < 2:
        return NOTHING
    factor = 1 / sqrt(len(branches))
    return f"scale the {len(branches)} residual branches by {factor:.2g}", (ScaledBranch(branches, factor),)


def _branches(audit: Audit, region: set[str]) -> tuple[str, ...]:
    """Of each sum of two tensors in a region, the one that alone has a layer behind it: the branch; the other is the stream."""
    behind: dict[str, int] = {}
    layers = 0
    found = []
    for i, node in enumerate(audit.graph.nodes):
        seen = 1 << i
        for name in node.inputs:
            seen |= behind[name]
        behind[node.name] = seen
        layers |= (1 << i) if node.op in WEIGHTED else 0
        if node.op == "aten.add" and node.name in region and len(set(node.inputs)) == 2:
            one, other = node.inputs
            own = [name for name, against in ((one, other), (other, one)) if behind[name] & ~behind[against] & layers]
            found += own if len(own) == 1 else []
    return tuple(dict.fromkeys(found))


def _entry(audit: Audit, param: str) -> tuple[str | None, str | None]:
    node = audit.graph.params[param].node
    return entry(audit.facts, node, audit.flow.path(node)[1:])


def _in_front(audit: Audit, param: str) -> Candidate:
    """A normalisation of what enters the call of a weight."""
    call, operand = _entry(audit, param)
    if call is None or operand is None:
        return NOTHING
    node = audit.facts.nodes[call]
    channels = node.op in WEIGHTED and node.op != "aten.linear"
    kind, change = ("BatchNorm", Normalised((operand,), "channels")) if channels else ("LayerNorm", Normalised((operand,)))
    return f"a {kind} in front of `{node.where.module or node.op}`", (change,)


def _table(audit: Audit, param: str, blamed: Blame) -> Candidate:
    """The default of a table of embeddings, where it is the table that is too large or too small."""
    call, operand = _entry(audit, param)
    if blamed.way != "weight" or call is None or operand is not None:
        return NOTHING
    return f"initialise `{param}` with an RMS of 1, as nn.Embedding does", (Rescaled((param,), (1.0,)),)


def _normalised(layers: Sequence[Layer]) -> Candidate:
    bare = [layer.call for layer in layers if not layer.normalised]
    if not bare:
        return NOTHING
    convolutions = tuple(call.name for call in bare if call.op != "aten.linear")
    linear = tuple(call.name for call in bare if call.op == "aten.linear")
    changes: list[Change] = [Normalised(linear)] if linear else []
    changes += [Normalised(convolutions, "channels")] if convolutions else []
    kind = " and ".join(["LayerNorm"] * bool(linear) + ["BatchNorm"] * bool(convolutions))
    place = f"`{bare[0].where.module or bare[0].name}`" if len(bare) == 1 else f"the {len(bare)} layers"
    return f"a {kind} after {place}", tuple(changes)


def _times(count: int, what: str) -> str:
    return f"the {what}" if count == 1 else f"the {count} {what}s"
