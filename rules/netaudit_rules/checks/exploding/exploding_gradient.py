"""NA301."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import EXPLODING, Audit, Claim, Evidence, Remark, check, error_of
from netaudit_rules.checks.blame import SENSITIVITY, blame, graded, steps
from netaudit_rules.checks.common import scientific, trained
from netaudit_rules.checks.remedies import for_exploding

RMS_LIMIT = 3.0
"""log10 of a gradient RMS that is too large whatever the weight's scale."""


@check("NA301", severity="warning", needs={"graph", "weights"})
def exploding_gradient(audit: Audit) -> Iterator[Remark]:
    """A parameter is forecast to receive a gradient that is far too large.

    Why:
        With a gradient that is huge against the loss, the first step of plain SGD throws the weights away, and in half
        precision the backward pass overflows. Gains above one that multiply over depth are the usual cause: weights
        initialised too large, residual branches that are added unscaled, recurrences.

    How it is found:
        The backward sweep forecasts every gradient. Flagged when ``S = ||W||_F ||G||_F`` exceeds 100 or the gradient's RMS
        exceeds 1000, by more than the factor of 2 that a forecast may be wrong by; an error 100 times beyond. Where no
        loss was traced the gradient at the outputs has a made-up size, and 100 times more is asked for: below that it is a
        note. Worst-case Lipschitz products are not used: they are huge for healthy nets. Blame goes to the shortest run of calls that holds
        90 % of the growth: of the gradient on its way back, or, where the values that enter the weight's call are further
        from an RMS of 1, of these on their way forward.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())]
            model = nn.Sequential(*layers, nn.Linear(64, 10))
            for m in model:
                if isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, std=0.5)
            return model

        def example_inputs():
            return torch.randn(32, 64)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 10)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())]
            model = nn.Sequential(*layers, nn.Linear(64, 10))
            for m in model:
                if isinstance(m, nn.Linear):
                    nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            return model

        def example_inputs():
            return torch.randn(32, 64)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 10)
        ```

    References:
        Pascanu et al. 2013, section 2; Schoenholz et al. 2017, section 3; Zhang et al. 2019 (Fixup), section 2.
    """
    found = [(name, excess, s) for name, excess, s in _excesses(audit) if excess > error_of(audit.flow, name)]
    if found:
        yield _remark(audit, sorted(found, key=lambda item: -item[1]))


def _excesses(audit: Audit) -> Iterator[tuple[str, float, float]]:
    """For each trained parameter, by how many decades it exceeds its nearest limit."""
    for name, _ in trained(audit):
        s, gradient = audit.flow.sensitivity(name), audit.flow.params[name].forecast
        if s is not None and gradient is not None:
            yield name, max(s - EXPLODING, gradient - audit.flow.reference - RMS_LIMIT), s


def _remark(audit: Audit, found: Sequence[tuple[str, float, float]]) -> Remark:
    worst, excess, s = found[0]
    blamed = blame(audit, worst, 1.0)
    return Remark(
        message=f"`{worst}` is forecast to receive an exploding gradient: S = {scientific(s)} (limit {scientific(EXPLODING)})",
        module=blamed.module,
        where=blamed.where,
        severity=graded(audit.flow, excess),
        reason=_reason(len(found), blamed.text),
        evidence=Evidence("S", EXPLODING, None, s, None, "mean-field over random inputs and weights"),
        path=steps(audit.flow, blamed.path),
        help=for_exploding(audit, blamed, [name for name, _, _ in found]),
        siblings=tuple(name for name, _, _ in found[1:]),
        claim=_claim(audit, found),
    )


def _claim(audit: Audit, found: Sequence[tuple[str, float, float]]) -> Claim:
    """What decided of the worst: its S, or its gradient alone."""
    _, excess, s = found[0]
    names = tuple(name for name, _, _ in found)
    if s - EXPLODING >= excess:
        return Claim("sensitivity", names, EXPLODING, "above")
    return Claim("gradient", names, RMS_LIMIT + audit.flow.reference, "above")


def _reason(count: int, cause: str) -> str:
    return f"{SENSITIVITY}; {count} parameter{'s are' if count > 1 else ' is'} above a limit{cause and chr(10)}{cause}"
