"""NA211."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, log10
from typing import Any

from netaudit import Audit, Claim, Evidence, Node, Remark, check
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.gaussian import mean_and_std, outside
from netaudit_rules.checks.losses import WEIGHTED, label, source
from netaudit_rules.checks.norms import BATCH, NORMS, RMS, is_on_batch
from netaudit_rules.checks.norms import LAYER as OVER_FEATURES

ACTIVE: dict[str, tuple[float, float]] = {
    "aten.relu": (0.0, inf),
    "aten.relu6": (0.0, 6.0),
    "aten.hardswish": (-3.0, inf),
    "netaudit.hardswish": (-3.0, inf),
}
"""Where an activation has a slope at all."""
FEATURES = OVER_FEATURES | RMS
"""Normalisations whose gains stand on the last axis."""
DEAD = 0.99
"""A unit is taken as dead when it is off for 99 of 100 inputs: mean below -2.33 standard deviations."""
LAYER = 0.9
"""Share of dead units from which a layer is dead: on 300 models healthy ones stay below."""
NOTICED = 0.5
"""Share worth a note: in deep plain nets half of the units may be off for all inputs, and they train."""


@dataclass(frozen=True, slots=True)
class _Layer:
    node: Node
    share: float
    by_unit: bool


@check("NA211", severity="warning", needs={"graph", "weights"})
def dead_units(audit: Audit) -> Iterator[Remark]:
    """Most units of a ReLU layer are forecast to be off for all inputs.

    Why:
        A unit whose pre-activation is below 0 for every input outputs 0 and gets no gradient: neither its weights nor its bias
        ever move again. Large negative biases, a BatchNorm with beta far below 0, and inputs that are all shifted to one side
        kill whole layers.

    How it is found:
        Per unit: behind a normalisation the pre-activation is ``gamma z + beta`` with z normal, behind a layer its mean and
        variance follow from its weights, its bias and the forecast of its input. A unit counts as dead when it is off with a
        chance above 99 %. A warning when 90 % of a layer's units are, a note above 50 %. Where values are not at hand, mean
        and variance over the whole layer are used.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
            nn.init.constant_(model[0].bias, -10.0)
            return model

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
            nn.init.constant_(model[0].bias, 0.1)
            return model

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Lu et al. 2019, "Dying ReLU and initialization"; ``P(off) = Phi(-m / s)``.
    """
    layers = [_layer(audit, node) for node in audit.graph.nodes]
    found = [layer for layer in layers if layer is not None and layer.share > NOTICED]
    dead = [layer for layer in found if layer.share >= LAYER]
    for group in (dead, [layer for layer in found if layer.share < LAYER]):
        if group:
            yield _remark(audit, group)


def _layer(audit: Audit, node: Node) -> _Layer | None:
    active = _active(node)
    if active is None or not node.inputs or node.name not in audit.flow.reached:
        return None
    units = _units(audit, source(audit.facts, node.inputs[0]))
    if units is not None:
        off = [outside(*active, float(mean), float(std)) for mean, std in zip(*units, strict=True)]
        return _Layer(node, sum(chance > DEAD for chance in off) / max(len(off), 1), True)
    known = mean_and_std(audit.facts.signals[node.inputs[0]])
    if known is None or known[1] == 0.0:
        return None
    chance = outside(*active, *known)
    return _Layer(node, chance if chance > DEAD else 0.0, False)


def _active(node: Node) -> tuple[float, float] | None:
    """Where an activation of the ReLU family has a slope; torch writes ReLU6 as a hardtanh from 0."""
    if node.op == "aten.hardtanh" and node.args.get("min_val") == 0.0:
        top = node.args.get("max_val")
        return 0.0, float(top) if isinstance(top, (int, float)) else inf
    return ACTIVE.get(node.op)


def _units(audit: Audit, made: Node) -> tuple[Any, Any] | None:
    """Mean and standard deviation of each unit of a layer or of a normalisation; None when its values are not at hand."""
    if made.op in NORMS and (is_on_batch(made) or made.op not in BATCH):
        weight, bias = (_value(audit, made, slot) for slot in (1, 2))
        return None if bias is None else (bias, abs(weight) if weight is not None else bias * 0 + 1)
    if made.op not in WEIGHTED or "transpose" in made.op or made.op == "aten.addmm":
        return None
    weight, bias = (_value(audit, made, slot) for slot in (1, 2))
    known = mean_and_std(audit.facts.signals[made.inputs[0]])
    if weight is None or known is None or made.args.get("transposed") is True:
        return None
    rows = weight.reshape(weight.shape[0], -1).astype(float)
    mean = known[0] * rows.sum(1) + (0.0 if bias is None else bias.astype(float))
    return mean, known[1] * (rows**2).sum(1) ** 0.5


def _value(audit: Audit, node: Node, slot: int) -> Any:
    operand = node.operands[slot] if slot < len(node.operands) else None
    return audit.facts.signals[operand].value if isinstance(operand, str) else None


def _remark(audit: Audit, layers: Sequence[_Layer]) -> Remark:
    first = layers[0]
    share = f"{first.share:.0%} of the units of {label(first.node)} are" if first.by_unit else f"{label(first.node)} is"
    return Remark(
        message=f"{share} forecast to be off for all inputs",
        module=common_module(home(audit.facts, layer.node.name) for layer in layers) or home(audit.facts, first.node.name),
        where=first.node.where,
        severity="warning" if first.share >= LAYER else "info",
        reason="a unit that is always off passes no gradient: its weights and bias never move again",
        evidence=Evidence("", None, None, None, None, f"off with a chance above {DEAD:.0%}; normal pre-activations"),
        siblings=tuple(layer.node.where.module or layer.node.name for layer in layers[1:]),
        key="dead" if first.share >= LAYER else "many",
        claim=_claim(audit, first),
    )


def _claim(audit: Audit, layer: _Layer) -> Claim:
    """The share of units that are off for all entries; where units are not known, that of entries that are off."""
    active, operand = _active(layer.node), layer.node.inputs[0]
    if not layer.by_unit:
        return Claim("outside", (operand,), log10(DEAD), "above", slack=0.0, between=active, aside=True)
    made = source(audit.facts, operand)
    axis = 1 if "conv" in made.op or made.op in NORMS - FEATURES else -1
    limit = LAYER if layer.share >= LAYER else NOTICED
    return Claim("off", (made.name,), log10(limit), "above", slack=0.0, axis=axis, between=active, aside=True)
