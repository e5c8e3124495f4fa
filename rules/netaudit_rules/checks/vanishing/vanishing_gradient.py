"""NA201."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from netaudit import VANISHING, Audit, Claim, Evidence, Remark, Step, best_sensitivity, check, error_of
from netaudit_rules.checks.blame import SENSITIVITY, Blame, blame, graded, steps
from netaudit_rules.checks.common import common_module, is_matrix, module_of, owner_site, scientific, trained
from netaudit_rules.checks.remedies import for_vanishing
from netaudit_rules.checks.unread import is_unread


@check("NA201", severity="warning", needs={"graph", "weights"})
def vanishing_gradient(audit: Audit) -> Iterator[Remark]:
    """A parameter is forecast to receive almost no gradient.

    Why:
        A weight whose gradient is tiny against its own scale does not move: the layers it belongs to stay as they were
        initialised. Saturating activations, default initialisation in deep plain stacks and small scales multiply into it.

    How it is found:
        The backward sweep forecasts the gradient of every parameter. ``S = ||W||_F ||G||_F`` is the change of the loss for a
        100 % change of the weight; it does not depend on width or on the scale of W. Flagged when it is below 1e-5 by more
        than the factor of 2 that a forecast may be wrong by, an error below 1e-7; where no loss was
        traced 100 times more is asked for, and a note given below that. Parameters that are zero only because a
        factor is zero-initialised, and that recover once it has moved (ReZero, zero-initialised heads, LoRA), are not
        flagged; nor are biases whose effect a normalisation removes. Blame goes to the shortest run of calls that holds 90 %
        of the loss: on the way of the gradient back, or, where the values that enter the weight's call are what is small, on
        their way forward. A weight whose gradient is zero only because the entries that depend on it are sliced away (the last
        block of a model that reads its class token alone) is a note.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Sigmoid())]
            return nn.Sequential(*layers, nn.Linear(64, 10))

        def example_inputs():
            return torch.randn(32, 64)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())]
            model = nn.Sequential(*layers, nn.Linear(64, 10))
            for m in model:
                if isinstance(m, nn.Linear):
                    nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            return model

        def example_inputs():
            return torch.randn(32, 64)
        ```

    References:
        Glorot & Bengio 2010, section 4; Schoenholz et al. 2017, section 3; He et al. 2015, section 2.2.
    """
    found = [(name, s) for name, s in _sensitivities(audit) if s < VANISHING - error_of(audit.flow, name)]
    unread = [name for name, s in found if s == -inf and is_unread(audit, name)]
    small = [(name, s) for name, s in found if name not in unread]
    if small:
        yield _remark(audit, sorted(small, key=lambda item: item[1]))
    if unread:
        yield _unread_remark(audit, unread)


def _sensitivities(audit: Audit) -> Iterator[tuple[str, float]]:
    """Weights (not biases, gains or other vectors) that a gradient reaches, at its best: now or once zero factors have moved."""
    for name, info in trained(audit):
        if is_matrix(info.shape) and info.node in audit.flow.reached:
            best = best_sensitivity(audit.flow, audit.later, name)
            if best is not None:
                yield name, best


def _remark(audit: Audit, found: Sequence[tuple[str, float]]) -> Remark:
    worst, s = found[0]
    blamed = blame(audit, worst, -1.0)
    shown = steps(audit.flow, blamed.path)
    return Remark(
        message=f"`{worst}` is forecast to receive almost no gradient: S = {scientific(s)} (limit {scientific(VANISHING)})",
        module=blamed.module,
        where=blamed.where,
        severity=graded(audit.flow, VANISHING - s),
        reason=_reason(len(found), blamed, shown),
        evidence=Evidence("S", VANISHING, audit.flow.sensitivity_bound(worst), s, None, "mean-field over random inputs and weights"),
        path=shown,
        help=for_vanishing(audit, blamed, [name for name, _ in found]),
        siblings=tuple(name for name, _ in found[1:]),
        claim=Claim("sensitivity", tuple(name for name, _ in found), VANISHING, "below"),
    )


def _unread_remark(audit: Audit, unread: Sequence[str]) -> Remark:
    first = unread[0]
    module = common_module(module_of(name) for name in unread) or module_of(first)
    return Remark(
        message=f"`{first}` gets no gradient: what depends on it is not read",
        module=module,
        where=owner_site(audit, module, audit.graph.params[first].where),
        severity="info",
        reason="the entries that it has a part in are left out by slicing further on, as behind a class token; nothing else is wrong",
        evidence=Evidence("S", VANISHING, None, -inf, None, "mean-field over random inputs and weights"),
        siblings=tuple(unread[1:]),
        key="unread",
        claim=Claim("sensitivity", tuple(unread), -inf, "below"),
    )


def _reason(count: int, blamed: Blame, shown: Sequence[Step]) -> str:
    text = f"{SENSITIVITY}; {count} weight{'s are' if count > 1 else ' is'} below the limit{blamed.text and chr(10)}{blamed.text}"
    if not shown or shown[0].proved is None or shown[0].proved >= 0.0:
        return text
    share = f"at most {scientific(shown[0].proved, up=True)} of the gradient at `{shown[-1].label}` reaches `{shown[0].label}`"
    return f"{text}\nproved for every input: {share} (the norms of the Jacobians between)"
