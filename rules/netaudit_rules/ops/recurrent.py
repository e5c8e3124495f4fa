"""Recurrent layers: one call for all layers, directions and steps. Their moments are in ``recurrent_model``.

A step ``s_t = F(s_{t-1}, x_t)`` with Lipschitz constants ``L`` in the state and ``M`` in the input gives, over T steps,

* sequence to sequence: ``M sum_{k < T} L^k`` (the Jacobian is block lower triangular, blocks ``M L^{i - j}``: Young's inequality);
* sequence to last state: ``M sqrt(sum_{k < T} L^{2k})``;
* first state to sequence: ``sqrt(sum_{1 <= k <= T} L^{2k})``; first state to last state: ``L^T``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import hypot, inf, isinf, sqrt

from netaudit import (
    UNKNOWN,
    Cotangent,
    Effect,
    Interval,
    Jacobian,
    Node,
    Pull,
    RowNorm,
    Signal,
    Var,
    modelled,
    random_numbers,
    transfer,
    unknown_cotangent,
    up,
)

from .common import NON_NEGATIVE, finite_product, integer, no_gradient, real
from .linear import map_norm
from .recurrent_model import MOST_STEPS, STEPS, Stack, outputs

UNBOUNDED = Jacobian(inf, "unknown", "no bound has been derived for the weights of a recurrence")


@dataclass(frozen=True, slots=True)
class Step:
    """Lipschitz constants of one step: in the state, in the input, and of the output in the state (1 but for an LSTM)."""

    state: float
    input: float


@dataclass(frozen=True, slots=True)
class Weights:
    """One layer in one direction: PROVED norms of ``W_ih`` and ``W_hh``, the largest l1 norm of a row of ``W_hh``, the largest bias."""

    ih: float
    hh: float
    row: float
    bias: float


def _power_sum(base: float, first: int, stop: int, power: int) -> float:
    """``sum_{first <= k < stop} base^(power k)``, rounded up; inf where it overflows."""
    total, term = 0.0, base ** (power * first)
    for _ in range(first, stop):
        total += term
        term *= base**power
        if isinf(total) or term == 0.0:
            break
    return up(total * (1.0 + 4e-16 * stop))


@dataclass(frozen=True, slots=True)
class Over:
    """Constants over T steps, from the sequence and from the first state, to the sequence and to the last state."""

    sequence: float
    sequence_to_last: float
    first: float
    first_to_last: float


def _over(step: Step, steps: int) -> Over:
    if isinf(step.state) or isinf(step.input):
        return Over(inf, inf, inf, inf)
    try:
        return Over(
            up(step.input * _power_sum(step.state, 0, steps, 1)),
            up(step.input * sqrt(_power_sum(step.state, 0, steps, 2))),
            up(sqrt(_power_sum(step.state, 1, steps + 1, 2))),
            up(step.state**steps * (1.0 + 4e-16 * steps)),
        )
    except OverflowError:
        return Over(inf, inf, inf, inf)


def _weights(params: tuple[Signal | None, ...], *, biases: bool, layers: int, directions: int) -> list[list[Weights]] | None:
    """Norms by layer and direction; None when the parameters are not four (or two) to each."""
    each = 4 if biases else 2
    if len(params) != each * layers * directions or any(p is None for p in params):
        return None
    result = []
    for layer in range(layers):
        row = []
        for direction in range(directions):
            start = each * (layer * directions + direction)
            ih, hh, *rest = (p for p in params[start : start + each] if p is not None)
            bias = up(sum(b.range.magnitude for b in rest))
            longest = hh.norms.row_l1 if hh.norms is not None else inf
            row.append(Weights(map_norm(ih)[0], map_norm(hh)[0], longest, bias))
        result.append(row)
    return result


def _plain_step(w: Weights, _first: float, _steps: int) -> Step:
    """``h' = f(W x + U h + b)``, ``|f'| <= 1``."""
    return Step(w.hh, w.ih)


def _gru_step(w: Weights, first: float, _steps: int) -> Step:
    """``h' = (1 - z) n + z h``, ``n = tanh(W x + b + r (U h + c))``, on ``|h| <= R = max(1, |h_0|)``, where every state stays.

    ``dh'/dz = h - n`` is at most ``R + 1``, a sigmoid's slope 1/4; ``dn/dr = U h + c`` is at most ``R |U|_row + |c|``. Each gate's
    norm is taken as that of all three together.
    """
    r = max(1.0, first)
    gate = 0.25 * (r + 1.0)
    inner = 0.25 * (finite_product(r, w.row) + w.bias)
    return Step(up(1.0 + finite_product(gate + 1.0 + inner, w.hh)), up(finite_product(gate + 1.0 + inner, w.ih)))


def _lstm_step(w: Weights, first: float, steps: int) -> Step:
    """``c' = f c + i g``, ``h' = o tanh(c')``.

    With ``|c| <= C = |c_0| + T`` the four blocks of the state's Jacobian are bounded by ``|U| / 4 + q, 1; q, 1``, where
    ``q = C |U| / 4 + |U| / 4 + |U|``; each gate's norm is taken as that of all four together.
    """
    top = first + steps

    def cell(norm: float) -> float:
        return finite_product(top, norm) / 4.0 + norm / 4.0 + norm

    state = sqrt((w.hh / 4.0 + cell(w.hh)) ** 2 + 1.0 + cell(w.hh) ** 2 + 1.0)
    fed = sqrt((w.ih / 4.0 + cell(w.ih)) ** 2 + cell(w.ih) ** 2)
    return Step(up(state), up(fed))


_CONSTANTS = {"aten.rnn_tanh": _plain_step, "aten.rnn_relu": _plain_step, "aten.gru": _gru_step, "aten.lstm": _lstm_step}


@transfer(
    "aten.rnn_tanh",
    "aten.rnn_relu",
    "aten.gru",
    "aten.lstm",
    source="steps of a recurrence: M sum L^k (Pascanu 2013, section 2; the step constants by the chain rule on the invariant set)",
    kinks="relu: 0, autograd returns 0",
    degree="not homogeneous",
)
def recurrent(node: Node, x: Signal, *others: Signal | None) -> Effect:
    """Layers and directions of a recurrence over T steps; outputs: the sequence, the last states (and cells)."""
    states = 2 if node.op == "aten.lstm" else 1
    hx, params = others[:states], others[states:]
    layers, directions = integer(node, "num_layers", 1), 2 if node.args.get("bidirectional") else 1
    weights = _weights(params, biases=node.args.get("has_biases") is not False, layers=layers, directions=directions)
    if weights is None or "batch_sizes" in node.args or len(x.shape) not in (2, 3):
        return Effect(Signal(node.shape), tuple(None if o is None else UNKNOWN for o in (x, *others)))
    steps = x.shape[1] if node.args.get("batch_first") and len(x.shape) == 3 else x.shape[0]
    largest = max((h.range.magnitude for h in hx if h is not None), default=0.0)
    spread = 1.0 / (1.0 - real(node.args.get("dropout"))) if node.args.get("train") and layers > 1 else 1.0
    by_x, by_state = _stacked(node, weights, steps, largest, spread)
    state = Jacobian(by_state, "upper" if by_state < inf else "infinite", "the first state, through all steps")
    jac = (
        Jacobian(by_x, "upper" if by_x < inf else "infinite", f"{steps} steps of a recurrence, {layers} layers, {directions} directions"),
        *(None if h is None else no_gradient("a constant") if h.constant else state for h in hx),
        *(None if p is None else UNBOUNDED for p in params),
    )
    if steps > MOST_STEPS or len(x.shape) != 3:
        return Effect(_out(node, largest, steps), jac)
    stack = Stack(layers, directions, 1 if node.args.get("batch_first") else 0, node.args.get("has_biases") is not False, _dropout(spread))

    def model(v: Var, *rest: Var) -> Var:
        return outputs(STEPS[node.op], stack, v, rest[:states], rest[states:])[integer(node, "output", 0)]

    moments, pull = modelled(model, x, *others)
    pull = None if pull is None else _as_far_as_known(pull, node, (x, *others), len(hx), layers)
    return Effect(replace(_out(node, largest, steps), moments=moments), jac, pull)


def _as_far_as_known(pull: Pull, node: Node, operands: tuple[Signal | None, ...], states: int, layers: int) -> Pull:
    """Without the gradients that a gate's memory adds up over the steps, which the model takes as uncorrelated.

    Measured on width 48: a gated layer's biases are forecast up to 2.7 times too small, its matrices within 1.5, those of stacks up
    to 2.4 times too small.
    """
    if node.op not in ("aten.gru", "aten.lstm"):
        return pull
    first = 1 + states
    biased = node.args.get("has_biases") is not False
    hidden = {slot for slot in range(first, len(operands)) if layers > 1 or (biased and (slot - first) % 4 >= 2)}

    def known(g: Cotangent) -> tuple[Cotangent | None, ...]:
        return tuple(
            unknown_cotangent(o.shape) if slot in hidden and o is not None else part
            for slot, (o, part) in enumerate(zip(operands, pull(g), strict=True))
        )

    return known


def _dropout(gain: float) -> Callable[[Var], Var]:
    return lambda v: v if gain == 1.0 else v * Var(random_numbers(v.sizes, gain, 1.0, positive=True))


@transfer(
    "aten.rnn_tanh_cell",
    "aten.rnn_relu_cell",
    "aten.gru_cell",
    "aten.lstm_cell",
    source="one step of a recurrence: the constants of the layer with T = 1",
    kinks="relu: 0, autograd returns 0",
    degree="not homogeneous",
)
def cell(node: Node, x: Signal, *others: Signal | None) -> Effect:
    """One step; outputs: the state (and the cell)."""
    states = 2 if node.op == "aten.lstm_cell" else 1
    hx, params = others[:states], others[states:]
    biases = len(params) == 4 and params[2] is not None
    weights = _weights(params if biases else params[:2], biases=biases, layers=1, directions=1)
    if weights is None:
        return Effect(Signal(node.shape), tuple(None if o is None else UNKNOWN for o in (x, *others)))
    largest = max((h.range.magnitude for h in hx if h is not None), default=0.0)
    step = _CONSTANTS[node.op.removesuffix("_cell")](weights[0][0], largest, 1)
    jac = (
        Jacobian(step.input, "infinite" if isinf(step.input) else "upper", "one step, in the input"),
        *(None if h is None else Jacobian(step.state, "infinite" if isinf(step.state) else "upper", "one step, in the state") for h in hx),
        *(None if p is None else UNBOUNDED for p in params),
    )
    if len(x.shape) != 2:
        return Effect(_out(node, largest, 1), jac)

    def model(v: Var, *rest: Var | None) -> Var:
        known = [r for r in rest if r is not None]
        return STEPS[node.op.removesuffix("_cell")](v, tuple(known[:states]), known[states:])[integer(node, "output", 0)]

    moments, pull = modelled(model, x, *others)
    return Effect(replace(_out(node, largest, 1), moments=moments), jac, pull)


def _stacked(node: Node, weights: list[list[Weights]], steps: int, first: float, spread: float) -> tuple[float, float]:
    """Constants from the input, and from all first states together, to this node's output.

    Layers multiply; directions, and the last states of layers, are joined and add in squares.
    """
    is_sequence = node.args.get("output", 0) == 0
    through, from_states, to_last, last_from_states = 1.0, 0.0, 0.0, 0.0
    for position, layer in enumerate(weights):
        over = [_over(_CONSTANTS[node.op](w, first, steps), steps) for w in layer]
        gain = through * (spread if position else 1.0)
        reached = from_states * (spread if position else 1.0)
        sequence, last = hypot(*(o.sequence for o in over)), hypot(*(o.sequence_to_last for o in over))
        own_last = finite_product(reached, last) + max(o.first_to_last for o in over)
        to_last, last_from_states = hypot(to_last, finite_product(gain, last)), hypot(last_from_states, own_last)
        through = up(up(finite_product(gain, sequence)))
        from_states = up(up(finite_product(reached, sequence) + max(o.first for o in over)))
    return (through, from_states) if is_sequence else (up(up(to_last)), up(up(last_from_states)))


def _out(node: Node, first: float, steps: int) -> Signal:
    """Ranges: tanh and an output gate keep 1, a GRU the largest of 1 and its first state; an LSTM's cell grows by 1 a step."""
    kind = node.op.removesuffix("_cell")
    if kind == "aten.rnn_relu":
        return Signal(node.shape, NON_NEGATIVE)
    is_cell = node.args.get("output") == (1 if node.op == "aten.lstm_cell" else 2)
    if kind == "aten.lstm" and is_cell:
        return Signal(node.shape, Interval(-up(first + steps), up(first + steps)))
    bound = max(1.0, first) if kind == "aten.gru" else 1.0
    size = node.shape[-1] if node.shape else 1
    return Signal(node.shape, Interval(-bound, bound), RowNorm(up(bound * sqrt(size)), (len(node.shape) - 1,)))
