"""NA613."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from netaudit import Audit, Claim, Optimizer, Remark, Remedy, Severity, Where, check, ever_reached
from netaudit_rules.checks.claiming import LEAST
from netaudit_rules.checks.common import owner_site
from netaudit_rules.checks.optimiser.common import place, together


@check("NA613", severity="warning", needs={"training"})
def not_in_optimiser(audit: Audit) -> Iterator[Remark]:
    """A parameter that is to be trained is in no optimiser, or an optimiser holds what cannot be trained.

    Why:
        A gradient is computed for it, and nothing is done with it: the layer stays as it was initialised. The optimiser was
        built before the head was replaced or the model converted, a group was forgotten, or part of the model was left out.

    How it is found:
        The parameters with ``requires_grad`` that a gradient reaches, against those in all groups of all optimisers together. An
        error when all that an optimiser holds is frozen or not the model's. A warning when a missing parameter acts on what an
        optimised one has made: a head, a layer in between; an error when the optimiser holds tensors instead that are not the
        model's, for which it was built. A note when parts in front or beside are missing: that is how a backbone is kept fixed.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            made = torch.optim.Adam(model.parameters(), lr=1e-3)
            model[2] = nn.Linear(32, 8)
            return made
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-3)
        ```

    References:
        PyTorch documentation of torch.optim, "Constructing it" (parameters are those at the time of construction).
    """
    optimizers = audit.training.optimizers
    if not optimizers:
        return
    counts = Counter(name for optimizer in optimizers for group in optimizer.groups for name in group.params)
    reached = ever_reached(audit.flow, audit.later)
    trainable = [name for name, info in audit.graph.params.items() if info.trainable]
    missing = [name for name in trainable if name not in counts and audit.graph.params[name].node in reached]
    idle = [o for o in optimizers if not any(name in trainable for group in o.groups for name in group.params)]
    yield from (_idle(audit, optimizer) for optimizer in idle)
    if missing and not idle:
        yield _missing(audit, missing, frozenset(name for name in counts if name in trainable))
    twice = [name for name in trainable if counts[name] > 1]
    if twice:
        yield _twice(optimizers[-1], twice)


def _idle(audit: Audit, optimizer: Optimizer) -> Remark:
    frozen = [name for group in optimizer.groups for name in group.params if name in audit.graph.params]
    what = "only frozen parameters" if frozen else "no parameter of the model"
    reason = "step() skips what has no gradient" if frozen else "it was built for tensors that are not, or no longer, the model's"
    return Remark(
        message=f"{optimizer.kind} holds {what}: it trains nothing",
        module=together(frozen),
        where=place(optimizer),
        severity="error",
        reason=reason,
        siblings=tuple(frozen[1:]),
        key="idle",
    )


def _missing(audit: Audit, missing: Sequence[str], optimised: frozenset[str]) -> Remark:
    strangers = sum(o.strangers for o in audit.training.optimizers)
    behind = _behind(audit, missing, optimised)
    shown = behind[0] if behind else missing[0]
    others = [name for name in missing if name != shown]
    severity: Severity = "error" if strangers and behind else "warning" if behind else "info"
    why = "a gradient is computed for it, and nothing is done with it"
    if strangers and behind:
        why += f"\nthe optimiser holds {strangers} tensors that are not the model's: it was built before they were replaced"
    module = together(behind or missing)
    return Remark(
        message=f"`{shown}` is trained by no optimiser" + (f", nor are {len(others)} others" if others else ""),
        module=module,
        where=_place(audit, module, shown),
        severity=severity,
        reason=why,
        help=(Remedy("build the optimiser last, from model.parameters(), or turn requires_grad off for what is to stay as it is"),),
        siblings=tuple(others),
        key="missing",
        claim=Claim("gradient", (shown,), LEAST, "above", certain=True),
    )


def _place(audit: Audit, module: str, name: str) -> Where:
    return owner_site(audit, module, audit.graph.params[name].where)


def _behind(audit: Audit, missing: Sequence[str], optimised: frozenset[str]) -> list[str]:
    """The missing parameters that act on what an optimised one has had a part in."""
    made = {audit.graph.params[name].node for name in optimised}
    found = set()
    own = {audit.graph.params[name].node: name for name in missing}
    for node in audit.graph.nodes:
        if made & set(node.inputs):
            found |= {own[name] for name in node.inputs if name in own}
            made.add(node.name)
    return [name for name in missing if name in found]


def _twice(optimizer: Optimizer, twice: Sequence[str]) -> Remark:
    return Remark(
        message=f"`{twice[0]}` is in two groups: every update moves it twice",
        module=together(twice),
        where=place(optimizer),
        reason="its learning rate is the sum of both, and each optimiser's state is wrong about the other's steps",
        siblings=tuple(twice[1:]),
        key="twice",
    )
