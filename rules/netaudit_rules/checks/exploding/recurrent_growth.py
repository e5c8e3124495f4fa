"""NA305."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.common import module_of, owner_site, scientific
from netaudit_rules.checks.recurrences import Recurrence, recurrences
from netaudit_rules.checks.spectrum import relu_growth, tanh_growth

NOTICED, HARMFUL, CERTAIN = 2.0, 3.0, 5.0
"""log10 of the growth of a gradient over the sequence."""


@check("NA305", severity="warning", needs={"graph", "weights"}, yields_to=("NA301",))
def recurrent_growth(audit: Audit) -> Iterator[Remark]:
    """The recurrent weights of a plain recurrence are so large that gradients explode over the sequence.

    Why:
        ``dh_T / dh_0`` is a product of T Jacobians. A ReLU recurrence grows like ``rho^T`` on both ways where its weights keep
        states positive (rho above 1), like ``(g^2 / 2)^(T / 2)`` where they are random (half of the units are shut). A tanh
        recurrence stays bounded forward, and turns chaotic: its gradient grows all the same.

    How it is found:
        For ReLU the steps are run from the weights, on normal inputs as they are forecast; for tanh the mean-field growth
        ``g^2 E tanh'^2`` per step at the fixed point of the state's variance, driven by the forecast of the input. A note from
        100, a warning from 1000, an error from 100000.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.RNN(8, 32, nonlinearity="relu", batch_first=True)
            nn.init.orthogonal_(model.weight_hh_l0, 1.7)
            return model

        def example_inputs():
            return torch.randn(4, 50, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.RNN(8, 32, nonlinearity="relu", batch_first=True)
            nn.init.eye_(model.weight_hh_l0)
            return model

        def example_inputs():
            return torch.randn(4, 50, 8)
        ```

    References:
        Pascanu et al. 2013, section 2.1; Sompolinsky et al. 1988; Le et al. 2015.
    """
    found = [(one, grown) for one in recurrences(audit) if (grown := _growth(audit, one)) is not None and grown > NOTICED]
    if found:
        one, grown = max(found, key=lambda item: item[1])
        module = module_of(one.matrix)
        yield Remark(
            message=f"gradients of the recurrence grow {scientific(grown)} times over {one.steps} steps",
            module=module,
            where=owner_site(audit, module, one.info.where),
            severity="error" if grown > CERTAIN else "warning" if grown > HARMFUL else "info",
            reason=f"each step multiplies them by {10 ** (grown / one.steps):.3g}; orthogonal or smaller recurrent weights, or clipping",
            evidence=Evidence(
                "growth over the sequence", HARMFUL, None, grown, None, "normal inputs; ReLU: its steps simulated, tanh: mean-field"
            ),
            siblings=tuple(other.matrix for other, _ in found if other is not one),
            claim=Claim("memory", (one.node.name,), HARMFUL if grown > HARMFUL else NOTICED, "above", axis=one.index),
        )


def _growth(audit: Audit, one: Recurrence) -> float | None:
    if one.node.op == "aten.rnn_relu":
        return relu_growth(audit, one)
    weight, x = audit.facts.signals[one.info.node].moments, audit.facts.signals[one.node.inputs[0]].moments
    if one.node.op != "aten.rnn_tanh" or weight is None or x is None:
        return None
    gain = one.hidden * weight.mean_square
    drive = _drive(audit, one) * x.mean_square
    step = tanh_growth(gain, drive) if gain > 1.0 else 0.0
    return 0.5 * one.steps * log10(step) if step > 0.0 else None


def _drive(audit: Audit, one: Recurrence) -> float:
    """``n_in Var(W_ih)`` of the first layer: what an input of unit variance adds to the pre-activation."""
    matrices = [audit.facts.nodes[name] for name in one.node.inputs if len(audit.facts.nodes[name].shape) == 2]
    first = next((node for node in matrices if node.op == "parameter"), None)
    moments = None if first is None else audit.facts.signals[first.name].moments
    return 0.0 if first is None or moments is None else first.shape[1] * moments.mean_square
