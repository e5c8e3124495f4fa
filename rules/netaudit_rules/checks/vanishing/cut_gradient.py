"""NA206."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Claim, Evidence, Node, Remark, check, ever_reached
from netaudit_rules.checks.claiming import ROUNDED, no_gradient
from netaudit_rules.checks.common import common_module, module_of, owner_site, trained
from netaudit_rules.checks.norms import NORMS
from netaudit_rules.checks.zeros import locked


@check("NA206", severity="error")
def cut_gradient(audit: Audit) -> Iterator[Remark]:
    """A trained parameter has no differentiable path to the loss.

    Why:
        Its gradient is None or exactly zero for every input: it never learns, and nothing says so. The tape was cut
        (detach, no_grad, argmax, rounding, a comparison, an integer cast), or the parameter is not used at all.

    How it is found:
        Every path from the parameter to the loss is followed. When all of them cross an op whose Jacobian is identically
        zero, the parameter is cut and those ops are named. What is zero only until a zero-initialised factor has moved
        (ReZero, a zero head or gamma, LoRA) is not cut, and two zero factors that hold each other are NA212. A parameter from
        which no path leads to the loss is unused; that is reported as info, since published models carry such parameters too.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder = nn.Linear(16, 16)
                self.head = nn.Linear(16, 4)

            def forward(self, x):
                return self.head(self.encoder(x).detach())

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder = nn.Linear(16, 16)
                self.head = nn.Linear(16, 4)

            def forward(self, x):
                return self.head(self.encoder(x))

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Bengio et al. 2013 (straight-through estimators), section 1; PyTorch notes, "Autograd mechanics".
    """
    reached, held = ever_reached(audit.flow, audit.later), locked(audit)
    lost = [name for name, info in trained(audit) if info.node not in reached and name not in held]
    used = _used(audit)
    cut = [name for name in lost if audit.graph.params[name].node in used]
    unused = [name for name in lost if audit.graph.params[name].node not in used]
    if cut:
        yield _cut_remark(audit, cut)
    if unused:
        yield _unused_remark(audit, unused)


def _used(audit: Audit) -> frozenset[str]:
    """The nodes that the loss depends on at all, differentiably or not."""
    wanted = set(audit.graph.heads)
    for node in reversed(audit.graph.nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    return frozenset(wanted)


def _cutting_ops(audit: Audit, params: Sequence[str]) -> list[str]:
    """The calls at which the gradient of the parameters stops: differentiable so far, not beyond."""
    downstream = {audit.graph.params[name].node for name in params}
    result = []
    for node in audit.graph.nodes:
        if not downstream & set(node.inputs):
            continue
        effect = audit.facts.effects.get(node.name)
        zero = effect is not None and all(
            j is None or "zero" in j.tags for o, j in zip(node.operands, effect.jac, strict=True) if o in downstream
        )
        if zero:
            result.append(node.name)
        else:
            downstream.add(node.name)
    return result


def _cut_remark(audit: Audit, cut: Sequence[str]) -> Remark:
    ops = _cutting_ops(audit, cut)
    nodes = [audit.facts.nodes[name] for name in ops]
    module = common_module(module_of(name) for name in cut) or module_of(cut[0])
    names = ", ".join(sorted({_named(n.op, n.regions) for n in nodes})) or "a zero Jacobian"
    called = next((n.where for n in nodes if n.where.called is not None), audit.graph.params[cut[0]].where)
    place = owner_site(audit, module, audit.graph.params[cut[0]].where)
    at = f" at {called.called.file}:{called.called.line}" if called.called is not None else ""
    return Remark(
        message=f"`{cut[0]}` gets no gradient: every path to the loss crosses {names}{at}",
        module=module,
        where=place,
        reason="the Jacobian of these calls is zero (or autograd records nothing), so the gradient is None or 0 for every input",
        evidence=Evidence("gradient", None, float("-inf"), None, None, "structure of the graph"),
        siblings=tuple(cut[1:]),
        key="cut",
        claim=_claim(cut, nodes),
    )


def _claim(cut: Sequence[str], nodes: Sequence[Node]) -> Claim:
    """Exactly zero; behind a normalisation that subtracts all that it gets, what rounding leaves of the gradient there."""
    smooth = next((node.name for node in nodes if node.op in NORMS), None)
    if smooth is None:
        return no_gradient(cut)
    return Claim("gradient", tuple(cut), ROUNDED, "below", over=(smooth,), certain=True)


def _named(op: str, regions: frozenset[str]) -> str:
    return "no_grad" if "no_grad" in regions else op.removeprefix("aten.")


def _unused_remark(audit: Audit, unused: Sequence[str]) -> Remark:
    module = common_module(module_of(name) for name in unused) or module_of(unused[0])
    return Remark(
        message=f"`{unused[0]}` is not used: no result of the model depends on it",
        module=module,
        where=owner_site(audit, module, audit.graph.params[unused[0]].where),
        severity="info",
        reason="it takes memory and optimiser state, and weight decay shrinks it to nothing",
        siblings=tuple(unused[1:]),
        key="unused",
        claim=no_gradient(unused),
    )
