"""NA105."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isinf, log10

from netaudit import Audit, Claim, Evidence, Node, Remark, Remedy, WithArg, check
from netaudit_rules.checks.common import common_module

OPS = {
    "aten.layer_norm": "a constant row", "aten.native_layer_norm": "a constant row", "netaudit.layer_norm": "a constant row",
    "aten.rms_norm": "a zero row", "netaudit.rms_norm": "a zero row", "aten.group_norm": "a constant group",
    "aten.instance_norm": "a constant map", "aten.batch_norm": "a constant channel", "netaudit.l2_normalize": "a zero row",
}  # fmt: skip
NOTICED = 1e3
"""Worst-case gain above which the eps is worth a note: torch's default of 1e-5 gives 316."""
REACHED = 1e-2
"""Forecast RMS of the input below which the worst case is near: eps then matters for typical inputs, not for rare ones."""


@check("NA105", severity="info")
def tiny_normaliser_eps(audit: Audit) -> Iterator[Remark]:
    """The eps of a normalisation allows a huge gain on (nearly) constant or zero inputs.

    Why:
        A normalisation amplifies by up to ``max|gamma| / sqrt(eps)``: 316 at eps 1e-5, a million at 1e-12. The supremum is
        reached at constant (LayerNorm, BatchNorm) or zero (RMSNorm, normalize) inputs: padding tokens, dead rows.

    How it is found:
        The exact supremum of the Jacobian is computed from gamma and eps. Above 1000 it is a note; a warning when the input
        is forecast to be so small that the bound is approached by ordinary inputs.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16, eps=1e-12), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16, eps=1e-5), nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Ba et al. 2016; Xu et al. 2019; the supremum is derived in the transfer of aten.layer_norm.
    """
    found = sorted(_gains(audit), key=lambda item: -item[1])
    if not found:
        return
    node, gain = found[0]
    near = [(n, g) for n, g in found if _is_small(audit, n, g)]
    eps = node.args.get("eps")
    where = f"{gain:.3g}" if not isinf(gain) else "unbounded"
    yield Remark(
        message=f"eps = {eps} lets {node.op.split('.')[-1]} amplify by up to {where}, reached at {OPS[node.op]}",
        module=common_module(n.where.module for n, _ in found) or node.where.module,
        where=node.where,
        severity="warning" if near else "info",
        reason="typical inputs are forecast to be that small" if near else "typical inputs are far from the singular point",
        evidence=Evidence(
            "gain",
            log10(NOTICED),
            log10(gain) if not isinf(gain) else None,
            None,
            None,
            "exact supremum over all inputs",
        ),
        siblings=tuple(n.where.module or n.name for n, _ in found[1:]),
        help=_remedies([n for n, _ in found]),
        claim=_claim(*near[0]) if near else None,
    )


def _gains(audit: Audit) -> Iterator[tuple[Node, float]]:
    for node in audit.graph.nodes:
        if node.op in OPS:
            jac = audit.facts.effects[node.name].jac[0]
            if jac is not None and jac.lip > NOTICED * (1 + 1e-6) and jac.kind != "unknown":
                yield node, jac.lip


def _is_small(audit: Audit, node: Node, gain: float) -> bool:
    """Whether the forecast input is within 100 of where the supremum is met."""
    moments = audit.facts.signals[node.inputs[0]].moments
    if moments is None:
        return False
    size = float(moments.mean_square**0.5)
    return 0 < size < REACHED and 1 / size > gain / 100


def _claim(node: Node, gain: float) -> Claim:
    """The input is as small as was forecast: where the supremum is met, give or take a factor of 100."""
    return Claim("value", node.inputs[:1], log10(min(REACHED, 100.0 / gain)), "below", aside=True)


def _remedies(nodes: Sequence[Node]) -> tuple[Remedy, ...]:
    """A usual eps: 1e-5 on the mean square, torch's default; 1e-3 where it is the least length itself."""
    floored = tuple(n.name for n in nodes if n.op == "netaudit.l2_normalize" and n.args.get("style") != "root")
    rooted = tuple(n.name for n in nodes if n.name not in floored)
    changes = [WithArg(names, "eps", eps) for names, eps in ((rooted, 1e-5), (floored, 1e-3)) if names]
    values = " and ".join(f"{change.value:g}" for change in changes)
    return (Remedy(f"set eps to {values}", changes=tuple(changes)),)
