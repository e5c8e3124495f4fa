"""What an op does to a tensor, to its Jacobians and to a gradient: one pure function per op, and the verbs that make most of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .graph import Node
from .moments import Cotangent, Modelled, Moments, Var, record
from .signal import Interval, Signal

Kind: TypeAlias = Literal["exact", "upper", "conditional", "infinite", "unknown"]
"""How good a bound is: the supremum itself; above it; valid on the proved domain only; none exists; nothing is known."""

Tag: TypeAlias = Literal[
    "diagonal",
    "linear",
    "isometry",
    "selection",
    "projection",
    "symmetric",
    "psd",
    "zero",
    "step",
    "rank-deficient",
    "scale-invariant",
]
Array: TypeAlias = NDArray[np.float64]
Pull: TypeAlias = Callable[[Cotangent], tuple[Cotangent | None, ...]]


@dataclass(frozen=True, slots=True)
class Jacobian:
    """PROVED facts of the Jacobian with respect to one operand.

    ``lip``: sup of the spectral norm (flattened tensors) over the operand's proved domain, inf if there is none; ``kind`` and
    ``why`` say how it is known. ``slope``: the range of f' when the op is a scalar function. ``spectrum``, ``nullspace`` and
    ``attained`` are texts for people.
    """

    lip: float
    kind: Kind = "upper"
    why: str = ""
    tags: frozenset[Tag] = frozenset()
    spectrum: str = ""
    nullspace: str = ""
    attained: str = ""
    slope: tuple[float, float] | None = None


ZERO = Jacobian(0.0, "exact", "the derivative is zero everywhere", frozenset({"zero", "linear"}))
UNKNOWN = Jacobian(inf, "unknown", "no transfer describes this op")


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """What a transfer returns: the output's signal, a Jacobian per operand (None in an empty slot), the modelled pull-back.

    ``caveats``: where the model's assumptions (many independent entries, wide layers) are thin at this call, in a few words.
    ``normalises``: the output's size does not depend on the input's; fluctuations of earlier layers end there.
    """

    out: Signal
    jac: tuple[Jacobian | None, ...]
    pull: Pull | None = None
    caveats: tuple[str, ...] = ()
    normalises: bool = False


Body: TypeAlias = Callable[..., Effect]


@dataclass(frozen=True, slots=True)
class Curve:
    """The facts of a scalar function that do not follow from its formula: see ``verbs.elementwise``."""

    f: Callable[..., Array]
    df: Callable[..., Array]
    slope: Callable[..., tuple[float, float]]
    values: Callable[..., Interval]
    turns: Callable[..., tuple[float, ...] | None]
    extrema: Callable[..., tuple[float, ...] | None]
    jump: Callable[..., float]


@dataclass(frozen=True, slots=True)
class Transfer:
    """The effect of one or several ops, with the text and the source that explain it; ``curve`` when it is a scalar function."""

    ops: tuple[str, ...]
    body: Body
    doc: str = ""
    source: str = ""
    kinks: str = ""
    degree: str = ""
    curve: Curve | None = None

    def __call__(self, node: Node, *operands: Signal | None) -> Effect:
        """Apply to a node's operands, in slot order; None for an absent one."""
        return self.body(node, *operands)


def transfer(*ops: str, source: str = "", kinks: str = "", degree: str = "") -> Callable[[Body], Transfer]:
    """Declare a function as the transfer of ops. It returns a value; nothing is registered.

    ``kinks``: where the op is not differentiable and what autograd returns there. ``degree``: its homogeneity.
    """

    def declare(body: Body) -> Transfer:
        return Transfer(ops, body, inspect.getdoc(body) or "", source, kinks, degree)

    return declare


# the modelled side ------------------------------------------------------------------------------------------------------


def modelled(model: Callable[..., Var], *operands: Signal | None) -> tuple[Moments | None, Pull | None]:
    """Run a model written on ``Var`` over the operands' moments; unknown moments spread.

    Operands stand in slot order, None in a slot that carries nothing; the pull-back answers in the same order.
    """
    if any(operand is not None and operand.moments is None for operand in operands):
        return None, None
    return _known(record(model, *(None if operand is None else operand.moments for operand in operands)))


def primitive(make: Callable[..., Modelled], *operands: Signal, **parameters: Any) -> tuple[Moments | None, Pull | None]:
    """The same for a single primitive of the moment algebra."""
    if any(operand.moments is None for operand in operands):
        return None, None
    return _known(make(*(operand.moments for operand in operands), **parameters))


def _known(result: Modelled) -> tuple[Moments | None, Pull | None]:
    """A model that overflows (exp of a large tensor) says nothing: unknown, not zero and not NaN."""
    return (result.out, result.pull) if isfinite(result.out.mean_square) else (None, None)
