"""Hand-written forms recognised as one op: a table of patterns, matched on the graph.

The bound of a whole (RMSNorm, softmax attention, x * sigmoid(x)) is tight where the product of its parts is vacuous. What is
folded stays in ``Node.folded``: the graph can still be run, and checks can still see that the form was written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import pi, sqrt

from netaudit.graph import Arg, Node, Operand, Ref
from netaudit.intake.patterns import Binding, Either, Free, Matcher, Number, Op, Pattern


@dataclass(frozen=True, slots=True)
class Composite:
    """A pattern, the op it becomes, and which bindings are operands and which are arguments."""

    op: str
    pattern: Pattern
    operands: tuple[str, ...]
    arguments: Callable[[Binding], Mapping[str, Arg]]


# vocabulary -------------------------------------------------------------------------------------------------------------


def _add(a: Pattern, b: Pattern) -> Op:
    return Op(("aten.add",), (a, b), commutes=True)


def _mul(a: Pattern, b: Pattern) -> Op:
    return Op(("aten.mul",), (a, b), commutes=True)


def _div(a: Pattern, b: Pattern) -> Op:
    return Op(("aten.div",), (a, b))


def _power(exponent: float) -> Callable[[Node], bool]:
    return lambda node: node.operands[1] == exponent


def _square(x: Pattern) -> Pattern:
    return Either((Op(("aten.pow",), (x,), needs=_power(2.0)), Op(("aten.mul",), (x, x)), Op(("aten.square",), (x,))))


def _keeps_dims(node: Node) -> bool:
    return node.args.get("keepdim") is True and bool(node.args.get("dim"))


def _is_biased(node: Node) -> bool:
    return _keeps_dims(node) and (node.args.get("unbiased") is False or node.args.get("correction") == 0)


X, EPS = Free("x"), Number("eps")
_DIM = (("dim", "dim"),)
_MEAN = Op(("aten.mean",), (X,), binds=_DIM, needs=_keeps_dims)
_MEAN_SQUARE = Op(("aten.mean",), (_square(X),), binds=_DIM, needs=_keeps_dims)
_SUM_SQUARE = Op(("aten.sum",), (_square(X),), binds=_DIM, needs=_keeps_dims)
_NORM = Op(
    ("aten.linalg_vector_norm", "aten.norm"),
    (X,),
    binds=_DIM,
    needs=lambda n: _keeps_dims(n) and n.args.get("ord", n.args.get("p")) in (None, 2),
)
_CENTRED = Op(("aten.sub",), (X, _MEAN))
_VARIANCE = Either(
    (
        Op(("aten.var",), (X,), binds=_DIM, needs=_is_biased),
        Op(("aten.mean",), (_square(_CENTRED),), binds=_DIM, needs=_keeps_dims),
    )
)


def _rooted(square: Pattern) -> Pattern:
    """``sqrt(square + eps)``."""
    return Op(("aten.sqrt",), (_add(square, EPS),))


def _over_root(numerator: Pattern, square: Pattern) -> Pattern:
    """``numerator / sqrt(square + eps)`` in the ways people write it."""
    inside = _add(square, EPS)
    root = _rooted(square)
    return Either(
        (
            _mul(numerator, Op(("aten.rsqrt",), (inside,))),
            _div(numerator, root),
            _mul(numerator, Op(("aten.pow",), (inside,), needs=_power(-0.5))),
            _div(numerator, Op(("aten.pow",), (inside,), needs=_power(0.5))),
            _mul(numerator, Op(("aten.reciprocal",), (root,))),
        )
    )


def _axes(bound: Binding) -> Mapping[str, Arg]:
    dim = bound["dim"]
    return {"dim": dim if isinstance(dim, tuple) else (dim,), "eps": bound["eps"]}


def _l2(style: str) -> Callable[[Binding], Mapping[str, Arg]]:
    return lambda bound: {
        "dim": bound["dim"] if isinstance(bound["dim"], tuple) else (bound["dim"],),
        "eps": bound.get("eps", 0.0),
        "style": style,
        "shift": bound.get("shift", 0.0),
    }


_FLOORED_NORM = Op(
    ("aten.clamp_min", "aten.clamp"), (_NORM, EPS), needs=lambda n: n.args.get("min") is not None and n.args.get("max") is None
)
_SOFTPLUS = Op(("aten.softplus",), (X,), needs=lambda n: n.args.get("beta", 1) == 1 and n.args.get("threshold", 20) == 20)
_RELU6 = Op(("aten.relu6",), (_add(X, Number(value=3.0)),))
_HARDSWISH = Either((_div(_mul(X, _RELU6), Number(value=6.0)), _mul(X, _div(_RELU6, Number(value=6.0)))))
_EXPANDED_FLOOR = Op(
    ("aten.expand_as", "aten.expand"),
    (_FLOORED_NORM,),
)
_GELU_INNER = _mul(Number(value=sqrt(2 / pi)), _add(X, _mul(Number(value=0.044715), Op(("aten.pow",), (X,), needs=_power(3.0)))))


def _half_times(x: Pattern, gate: Pattern) -> Pattern:
    """``0.5 * x * gate`` in any order of multiplication."""
    half = Number(value=0.5)
    return Either(
        (
            _mul(_mul(half, x), gate),
            _mul(half, _mul(x, gate)),
            _mul(x, _mul(half, gate)),
            _div(_mul(x, gate), Number(value=2.0)),
        )
    )


def _erf_of(x: Pattern) -> Pattern:
    return Op(("aten.erf",), (Either((_div(x, Number(value=sqrt(2))), _mul(x, Number(value=sqrt(0.5))))),))


def _is_over_channels(node: Node) -> bool:
    """Whether an average runs over windows of the leading pooled axis alone, step by step, without padding of its own."""
    kernel, stride, padding = (node.args.get(name) for name in ("kernel_size", "stride", "padding"))
    sizes = kernel if isinstance(kernel, tuple) else ()
    others_are_one = all(k == 1 for k in sizes[1:])
    return len(sizes) > 1 and others_are_one and set(_as_tuple(stride)) == {1} and not any(_as_tuple(padding))


def _as_tuple(value: Arg) -> tuple[Arg, ...]:
    return value if isinstance(value, tuple) else (value,)


def _moved(x: Pattern, *packets: str) -> Pattern:
    """``x`` behind any of the calls that torch's own code may put in between."""
    return Either((Op(packets, (x,)), x))


def _response() -> Pattern:
    """``x / (k + alpha mean(x^2 over neighbouring channels))^beta`` as ``torch.nn.functional.local_response_norm`` writes it."""
    views = ("aten.view", "aten.unsqueeze", "aten.squeeze")
    padded = Op(("aten.pad", "aten.constant_pad_nd"), (_moved(_square(X), *views),))
    mean = Op(("aten.avg_pool2d", "aten.avg_pool3d"), (padded,), binds=(("window", "kernel_size"),), needs=_is_over_channels)
    spread = _moved(_moved(mean, "aten.squeeze"), "aten.view")
    return _div(X, Op(("aten.pow",), (_add(_mul(spread, Number("alpha")), Number("k")), Number("beta"))))


def _response_arguments(bound: Binding) -> Mapping[str, Arg]:
    window = bound["window"]
    size = window[0] if isinstance(window, tuple) else 1
    return {"size": size, "alpha": bound["alpha"], "k": bound["k"], "beta": bound["beta"]}


def _attention(logits: Pattern) -> Pattern:
    weights = Op(
        ("aten.softmax", "aten._softmax"),
        (logits,),
        binds=(("axis", "dim"),),
        needs=lambda n: n.args.get("dim") in (-1, len(n.shape) - 1),
    )
    dropped = Op(("aten.dropout",), (weights,), binds=(("p", "p"), ("train", "train")))
    return Op(("aten.matmul", "aten.bmm"), (Either((dropped, weights)), Free("v")))


_SCORES = Op(("aten.matmul", "aten.bmm"), (Free("q"), Free("kt")))
_SCALED = Either(
    (
        Op(("aten.div",), (_SCORES, Number("divisor"))),
        Op(("aten.mul",), (_SCORES, Number("factor")), commutes=True),
        _SCORES,
    )
)
_MASKED = Either(
    (
        Op(("aten.add",), (_SCALED, Free("mask")), commutes=True),
        Op(("aten.masked_fill",), (_SCALED, Free("hide"), Free("fill"))),
        Op(("aten.where",), (Free("keep"), _SCALED, Free("fill"))),
        Op(("aten.where",), (Free("hide"), Free("fill"), _SCALED)),
        _SCALED,
    )
)


def _attention_arguments(bound: Binding) -> Mapping[str, Arg]:
    divisor, factor = bound.get("divisor", 1.0), bound.get("factor", 1.0)
    scale = float(factor) / float(divisor) if isinstance(divisor, (int, float)) and isinstance(factor, (int, float)) else 1.0
    p = bound.get("p", 0.0) if bound.get("train") else 0.0
    return {"scale": scale, "dropout_p": p}


def _nothing(_: Binding) -> Mapping[str, Arg]:
    return {}


TABLE: tuple[Composite, ...] = (
    Composite("netaudit.attention", _attention(_MASKED), ("q", "kt", "v", "mask", "hide", "keep", "fill"), _attention_arguments),
    Composite("netaudit.layer_norm", _over_root(_CENTRED, _VARIANCE), ("x",), _axes),
    Composite("netaudit.rms_norm", _over_root(X, _MEAN_SQUARE), ("x",), _axes),
    Composite("netaudit.l2_normalize", _over_root(X, _SUM_SQUARE), ("x",), _l2("root")),
    Composite("netaudit.l2_normalize", _div(X, _add(_rooted(_SUM_SQUARE), Number("shift"))), ("x",), _l2("root")),
    Composite("netaudit.l2_normalize", _div(X, _EXPANDED_FLOOR), ("x",), _l2("floor")),
    Composite("netaudit.l2_normalize", _div(X, _FLOORED_NORM), ("x",), _l2("floor")),
    Composite("netaudit.l2_normalize", _div(X, _add(_NORM, EPS)), ("x",), _l2("shift")),
    Composite(
        "netaudit.gelu_tanh",
        _half_times(X, _add(Op(("aten.tanh",), (_GELU_INNER,)), Number(value=1.0))),
        ("x",),
        _nothing,
    ),
    Composite("netaudit.gelu", _half_times(X, _add(_erf_of(X), Number(value=1.0))), ("x",), _nothing),
    Composite("netaudit.swish", _mul(X, Op(("aten.sigmoid",), (X,))), ("x",), lambda _b: {"beta": 1.0}),
    Composite(
        "netaudit.swish",
        _mul(X, Op(("aten.sigmoid",), (_mul(X, Number("beta")),))),
        ("x",),
        lambda b: {"beta": b["beta"]},
    ),
    Composite("netaudit.local_response_norm", _response(), ("x",), _response_arguments),
    Composite("netaudit.softsign", _div(X, _add(Op(("aten.abs",), (X,)), Number(value=1.0))), ("x",), _nothing),
    Composite("netaudit.tanhshrink", Op(("aten.sub",), (X, Op(("aten.tanh",), (X,)))), ("x",), _nothing),
    Composite("netaudit.hardswish", _HARDSWISH, ("x",), _nothing),
    Composite("netaudit.mish", _mul(X, Op(("aten.tanh",), (_SOFTPLUS,))), ("x",), _nothing),
    Composite("netaudit.center", _CENTRED, ("x",), lambda b: {"dim": b["dim"]}),
)


def recognise(nodes: Sequence[Node], roots: Iterable[str]) -> tuple[Node, ...]:
    """Replace every match by one node; inner nodes that others use, or that are results, prevent a match.

    Longer patterns stand first in the table and win; matches are tried from the last node back.
    """
    for composite in TABLE:
        nodes = _replace_all(nodes, composite, frozenset(roots))
    return tuple(nodes)


def _replace_all(nodes: Sequence[Node], composite: Composite, roots: frozenset[str]) -> Sequence[Node]:
    packets = _last_packets(composite.pattern)
    if not any(node.op in packets for node in nodes):
        return nodes
    by_name = {node.name: node for node in nodes}
    users: dict[str, set[str]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, set()).add(node.name)
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in reversed(nodes):
        if node.op not in packets or node.name in gone:
            continue
        found = Matcher(by_name).match(composite.pattern, node.name, {}, frozenset())
        if found is None:
            continue
        bound, used = found
        inner = used - {node.name}
        if inner & (gone | roots) or any(users.get(name, set()) - used for name in inner):
            continue
        made[node.name] = _fold(composite, node, bound, [n for n in nodes if n.name in used])
        gone |= used
    if not made:
        return nodes
    return [made.get(node.name, node) for node in nodes if node.name in made or node.name not in gone]


def _last_packets(pattern: Pattern) -> frozenset[str]:
    if isinstance(pattern, Op):
        return frozenset(pattern.packets)
    return frozenset().union(*(_last_packets(o) for o in pattern.options)) if isinstance(pattern, Either) else frozenset()


def _fold(composite: Composite, node: Node, bound: Binding, folded: Sequence[Node]) -> Node:
    operands: list[Operand] = []
    args: dict[str, Arg] = dict(composite.arguments(bound))
    for name in composite.operands:
        value = bound.get(name)
        operands.append(value.name if isinstance(value, Ref) else value if isinstance(value, float) else None)
        args[name] = value
    regions = frozenset().union(*(n.regions for n in folded))
    return replace(node, op=composite.op, operands=tuple(operands), args=args, target="", regions=regions, folded=tuple(folded))
