"""NA207."""

from __future__ import annotations

from collections.abc import Iterator
from math import log10

from netaudit import Audit, Claim, Evidence, Remark, check
from netaudit_rules.checks.common import module_of, owner_site, scientific
from netaudit_rules.checks.recurrences import Recurrence, recurrences
from netaudit_rules.checks.spectrum import spectral_radius

FORGOTTEN = -3.0
"""log10 of what a state passes to the end of the sequence, below which it is forgotten."""
GRU_GATE = 0.5
"""The update gate of a GRU at a bias of 0: what a state keeps in one step at least."""


@check("NA207", severity="info", needs={"graph", "weights"}, yields_to=("NA201",))
def recurrent_horizon(audit: Audit) -> Iterator[Remark]:
    """A recurrence forgets within the sequence: its state is multiplied by less than one in every step.

    Why:
        ``dh_T / dh_0`` is a product of T Jacobians. Its size is about ``rho^T``, rho the spectral radius of the recurrent
        matrix (0.58 for torch's default) times the slope; after 13 steps of 0.58 a thousandth is left. What the loss should
        learn from early steps does not reach them.

    How it is found:
        The spectral radius of the recurrent weight (for a GRU its gate at 0.5) to the power of the steps of the example. A
        note below 0.001: short dependencies are learnt all the same. The slope counts as 1, its largest. LSTMs are NA208.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.RNN(8, 32, batch_first=True)

        def example_inputs():
            return torch.randn(4, 40, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.RNN(8, 32, batch_first=True)
            nn.init.orthogonal_(model.weight_hh_l0)
            return model

        def example_inputs():
            return 0.1 * torch.randn(4, 40, 8)
        ```

    References:
        Pascanu et al. 2013, section 2; Le et al. 2015 (identity initialisation); Arjovsky et al. 2016 (orthogonal).
    """
    found = [(one, left) for one in recurrences(audit) if (left := _left(audit, one)) is not None and left < FORGOTTEN]
    if found:
        one, left = min(found, key=lambda item: item[1])
        module = module_of(one.matrix)
        yield Remark(
            message=f"a state of the recurrence passes {scientific(left)} to the end of {one.steps} steps",
            module=module,
            where=owner_site(audit, module, one.info.where),
            reason=f"it keeps {10 ** (left / one.steps):.3f} in each; orthogonal recurrent weights, gates or attention reach further",
            evidence=Evidence("what a first state passes on", FORGOTTEN, None, left, None, "slopes at their largest"),
            siblings=tuple(other.matrix for other, _ in found if other is not one),
            claim=Claim("memory", (one.node.name,), FORGOTTEN, "below", axis=one.index),
        )


def _left(audit: Audit, one: Recurrence) -> float | None:
    if one.node.op == "aten.gru":
        return one.steps * log10(GRU_GATE)
    radius = spectral_radius(audit, one) if one.node.op != "aten.lstm" else None
    return None if radius is None or radius <= 0.0 else one.steps * log10(radius)
