"""NA111."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf, log10
from typing import TYPE_CHECKING

from netaudit import Audit, Evidence, Node, Remark, check
from netaudit_rules.checks.common import behind_moves, common_module
from netaudit_rules.checks.places import label
from netaudit_rules.checks.ranges import learning

if TYPE_CHECKING:
    from netaudit import Facts

TOLERANCE = 1.1
"""A factor above which an op is named: the power iteration of spectral_norm is below the norm by some percent at first."""
WEIGHTED = frozenset(f"aten.{name}" for name in ("linear", "conv1d", "conv2d", "conv3d", "convolution", "addmm"))
DOTS = frozenset({"aten.dot", "aten.vdot", "aten.sum", "aten.matmul"})


@check("NA111", severity="info", needs={"graph", "weights"})
def false_lipschitz_certificate(audit: Audit) -> Iterator[Remark]:
    """Every weight is spectrally normalised, and the model is still not 1-Lipschitz.

    Why:
        ``spectral_norm`` divides a convolution by the norm of its reshaped kernel, which its own norm exceeds by up to
        ``sqrt(taps / strides)``. A residual sum has ``1 + L``, overlapping max-pooling, normalisations, GELU (1.129), SiLU
        (1.0998) and dropout more than 1: the product is no certificate.

    How it is found:
        Weights that are divided by an estimate of their own spectral norm are recognised by their arithmetic. If all layers
        are normalised so, the calls whose certified constant exceeds 1 are listed. Info: as a regulariser of a GAN's
        discriminator spectral normalisation needs no certificate.

    Flagged:
        ```python
        import torch
        from torch import nn
        from torch.nn.utils.parametrizations import spectral_norm

        def build():
            return nn.Sequential(spectral_norm(nn.Conv2d(3, 8, 3, padding=1)), nn.GELU(), nn.Flatten(), spectral_norm(nn.Linear(512, 1)))

        def example_inputs():
            return torch.randn(2, 3, 8, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn
        from torch.nn.utils.parametrizations import spectral_norm

        def build():
            return nn.Sequential(spectral_norm(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 1))

        def example_inputs():
            return torch.randn(2, 16)
        ```

    References:
        Miyato et al. 2018, section 2.1; Farnia et al. 2019, section 3; Sedghi et al. 2019, section 1.
    """
    inside = _of_inputs(audit)
    layers = [n for n in audit.graph.nodes if n.op in WEIGHTED and n.name in inside and len(n.inputs) > 1]
    if not layers or not all(_is_normalised(audit.facts, n.inputs[1]) for n in layers):
        return
    found = sorted(_exceeding(audit, inside), key=lambda item: -item[1])
    if not found:
        return
    worst, factor = found[0]
    yield Remark(
        message=f"all weights are spectrally normalised, but the certified constants of {len(found)} calls exceed 1: {_listed(found)}",
        module=common_module(node.where.module for node, _ in found) or worst.where.module,
        where=worst.where,
        reason="spectral_norm normalises the reshaped kernel, not the convolution; sums, norms and GELU have constants of their own",
        evidence=Evidence("Lipschitz constant", 0.0, None if isinf(factor) else log10(factor), None, None, "at this input size"),
        siblings=tuple(label(node) for node, _ in found[1:]),
    )


def _listed(found: list[tuple[Node, float]]) -> str:
    shown = [f"{node.op.partition('.')[2]} {factor:.3g}" for node, factor in found[:3]]
    return ", ".join(shown) + (", ..." if len(found) > 3 else "")


def _of_inputs(audit: Audit) -> frozenset[str]:
    """The nodes between a float input and the outputs, the loss left out."""
    wanted = set(audit.graph.outputs)
    for node in reversed(audit.graph.nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    found: set[str] = set()
    for node in audit.graph.nodes:
        if (node.op == "input" and node.is_float) or found & set(node.inputs):
            found.add(node.name)
    return frozenset(found & wanted)


def _exceeding(audit: Audit, inside: frozenset[str]) -> Iterator[tuple[Node, float]]:
    trained = learning(audit)
    for node in audit.graph.nodes:
        effect = audit.facts.effects.get(node.name)
        if effect is None or node.name not in inside or node.name not in trained:
            continue
        factors = [
            jac.lip for o, jac in zip(node.operands, effect.jac, strict=True) if o in inside and jac is not None and jac.kind != "unknown"
        ]
        several = len({o for o in node.inputs if o in inside}) > 1
        factor = sum(factors) if node.op == "aten.add" and several else max(factors, default=0.0)
        if factor > TOLERANCE:
            yield node, factor


def _is_normalised(facts: Facts, weight: str) -> bool:
    """``W / sigma`` where sigma is ``u . (W v)`` of the same W."""
    node = behind_moves(facts, weight)
    if node.op != "aten.div" or len(node.inputs) != 2:
        return False
    own, sigma = behind_moves(facts, node.inputs[0]), behind_moves(facts, node.inputs[1])
    return own.op == "parameter" and sigma.op in DOTS and own.name in _sources(facts, sigma)


def _sources(facts: Facts, node: Node) -> frozenset[str]:
    found = {node.name}
    for _ in range(6):
        found |= {o for name in tuple(found) for o in facts.nodes[name].inputs}
    return frozenset(found)
