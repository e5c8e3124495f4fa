"""NA208."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log10

from netaudit import Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.common import module_of, owner_site, scientific
from netaudit_rules.checks.recurrences import Recurrence, recurrences, values

FORGOTTEN = -3.0
"""log10 of what is left of a cell's content after the sequence, below which the start is forgotten."""


@check("NA208", severity="info", needs={"graph", "weights"}, yields_to=("NA201",))
def forget_bias(audit: Audit) -> Iterator[Remark]:
    """The forget gate of an LSTM starts half closed: nothing is carried over the whole sequence.

    Why:
        A cell is multiplied by the forget gate in every step. With a bias of 0 the gate is at 0.5 and lets 10^-15 of a cell, and
        of its gradient, through 50 steps; with a bias of 1 it is 10^-7, with 2 still 0.002. What passes by way of the outputs
        instead is small at the start. PyTorch adds two biases, and starts both near 0.

    How it is found:
        The mean of ``b_ih + b_hh`` over the forget gate gives the gate, and the number of steps what it leaves. A note when
        less than 0.001 is left: default LSTMs are trained on such sequences, and learn to remember.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.LSTM(8, 16, batch_first=True)

        def example_inputs():
            return torch.randn(4, 50, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.LSTM(8, 16, batch_first=True)
            for bias in (model.bias_ih_l0, model.bias_hh_l0):
                nn.init.constant_(bias[16:32].data, 1.5)
            return model

        def example_inputs():
            return torch.randn(4, 50, 8)
        ```

    References:
        Gers et al. 2000; Jozefowicz et al. 2015, section 3.2.
    """
    found = [(one, *known) for one in recurrences(audit) if (known := _left(audit, one)) is not None and known[1] < FORGOTTEN]
    if found:
        one, bias, left = min(found, key=lambda item: item[2])
        module = module_of(one.matrix)
        yield Remark(
            message=f"the forget gate starts at {_sigmoid(bias):.2f}: {scientific(left)} of a cell passes the gates of {one.steps} steps",
            module=module,
            where=owner_site(audit, module, one.info.where),
            reason=f"b_ih + b_hh of the gate is {bias:.2f} in the mean; a sum of 1 to 3 lets gradients pass from the start",
            evidence=Evidence("what passes the forget gates", FORGOTTEN, None, left, None, "gates at their bias, outputs left out"),
            siblings=tuple(other.matrix for other, _, _ in found if other is not one),
            claim=Claim("memory", (one.node.name,), FORGOTTEN, "below", axis=one.index),
        )


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


def _left(audit: Audit, one: Recurrence) -> tuple[float, float] | None:
    """The mean bias of the forget gate and log10 of what it leaves of a cell."""
    biases = [values(audit, name) for name in one.biases]
    if one.node.op != "aten.lstm" or not biases or any(b is None for b in biases):
        return None
    bias = float(sum(b[one.hidden : 2 * one.hidden].mean() for b in biases))
    return bias, one.steps * log10(_sigmoid(bias))
