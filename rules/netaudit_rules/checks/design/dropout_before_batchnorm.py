"""NA409."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log10

from netaudit import Audit, Evidence, Node, Remark, Severity, check
from netaudit_rules.checks.common import MOVES
from netaudit_rules.checks.forms import aten
from netaudit_rules.checks.places import Place, folded

SHIFT = 4.0
"""Factor between the variances from which it is a warning: deviations in evaluation are half of what was trained on."""
DROPOUT = aten("dropout feature_dropout native_dropout alpha_dropout feature_alpha_dropout")
THROUGH = MOVES | aten(
    "linear conv1d conv2d conv3d convolution relu relu6 leaky_relu gelu silu elu hardswish tanh mul max_pool1d max_pool2d max_pool3d "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)
"""What the factor passes on its way: maps of one tensor. A sum with a path that is not dropped dilutes it, a normalisation ends it."""


@check("NA409", severity="info", needs={"graph"})
def dropout_before_batchnorm(audit: Audit) -> Iterator[Remark]:
    """Dropout feeds a batch normalisation.

    Why:
        Dropout multiplies the second moment by 1 / (1 - p) in training and by 1 in evaluation. The running variance that the
        batch normalisation collects is that of training: in evaluation its input is smaller by up to that factor, in every
        such layer.

    How it is found:
        From each dropout forward through linear layers, convolutions, activations and pools to a batch normalisation in
        training mode, without a sum or another normalisation between. The mean does not shift, so the factor is an upper
        bound, reached for inputs of mean 0. Info, since wide residual networks live with it; a warning from a factor of 4.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Li et al. 2019, "Understanding the disharmony between dropout and batch normalization by variance shift", section 3.
    """
    for place, siblings in folded(_places(audit)):
        yield _remark(place.node, place.severity, place.found, siblings)


@dataclass(frozen=True, slots=True)
class _Shift:
    p: float
    norm: Node

    @property
    def factor(self) -> float:
        """Of the second moment."""
        return 1.0 / (1.0 - self.p)


def _places(audit: Audit) -> Iterator[Place[_Shift]]:
    for node in audit.graph.nodes:
        p = node.args.get("p")
        if node.op not in DROPOUT or node.args.get("train") is False or not isinstance(p, (int, float)) or not 0 < p < 1:
            continue
        norm = _fed(audit, node)
        if norm is not None:
            shift = _Shift(float(p), norm)
            severity: Severity = "warning" if shift.factor >= SHIFT else "info"
            yield Place(node, severity, "shift", shift)


def _fed(audit: Audit, dropout: Node) -> Node | None:
    """The first batch normalisation that dropped values reach undiluted."""
    carried = {dropout.name}
    for node in audit.graph.nodes:
        if not node.inputs or node.inputs[0] not in carried:
            continue
        if node.op == "aten.batch_norm" and node.args.get("training") is True:
            return node
        if node.op in THROUGH:
            carried.add(node.name)
    return None


def _remark(node: Node, severity: Severity, shift: _Shift, siblings: tuple[str, ...]) -> Remark:
    return Remark(
        message=f"dropout (p = {shift.p:g}) feeds the batch normalisation `{shift.norm.where.module or shift.norm.name}`: its running "
        f"variance is up to {shift.factor:.3g} times that of evaluation",
        module=node.where.module,
        where=node.where,
        severity=severity,
        reason="dropout multiplies the second moment by 1 / (1 - p) in training only; put it behind the last batch normalisation",
        evidence=Evidence("factor of the second moment", log10(SHIFT), log10(shift.factor), None, None, "at most, for inputs of mean 0"),
        siblings=siblings,
    )
