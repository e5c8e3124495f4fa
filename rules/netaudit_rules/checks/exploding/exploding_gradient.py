"""NA301."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Claim, Evidence, Remark, check, error_of
from netaudit_rules.checks.blame import SENSITIVITY, blame, graded, steps
from netaudit_rules.checks.common import scientific
from netaudit_rules.checks.limits import Excess, excesses
from netaudit_rules.checks.remedies import for_exploding


@check("NA301", severity="warning", needs={"graph", "weights"})
def exploding_gradient(audit: Audit) -> Iterator[Remark]:
    """A parameter is forecast to receive a gradient that is far too large.

    Why:
        With a gradient that is huge against the loss, the first step of plain SGD throws the weights away, and in half
        precision the backward pass overflows. Gains above one that multiply over depth are the usual cause: weights
        initialised too large, residual branches that are added unscaled, recurrences.

    How it is found:
        The backward sweep forecasts every gradient. Flagged when ``S = ||W||_F ||G||_F`` exceeds 100 or the gradient's RMS
        exceeds 1000, by more than the factor of 2 that a forecast may be wrong by; an error 100 times beyond. S of a healthy
        layer grows with the root of its narrower side, and its limit with it from 16 on. Where most of a gradient comes through
        a normalisation, a step that is too large diverges nowhere (deep published networks with BatchNorm have S up to 1e4):
        100 times more is allowed, and what normalised stacks do to gradients is NA304. A parameter that is zero is judged after
        it has moved, since rows of zeros in front of a normalisation have a huge gradient for one step only. Where no
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
    found = [excess for excess in excesses(audit) if excess.decades > error_of(audit.flow, excess.param)]
    if found:
        yield _remark(audit, sorted(found, key=lambda excess: -excess.decades))


def _remark(audit: Audit, found: Sequence[Excess]) -> Remark:
    worst = found[0]
    blamed = blame(audit, worst.param, 1.0)
    size = f"{worst.quantity} = {scientific(worst.value)} (limit {scientific(worst.limit)})"
    return Remark(
        message=f"`{worst.param}` is forecast to receive an exploding gradient: {size}",
        module=blamed.module,
        where=blamed.where,
        severity=graded(audit.flow, worst.decades),
        reason=_reason(found, blamed.text),
        evidence=Evidence(worst.quantity, worst.limit, None, worst.value, None, "mean-field over random inputs and weights"),
        path=steps(audit.flow, blamed.path),
        help=for_exploding(audit, blamed, [excess.param for excess in found]),
        siblings=tuple(excess.param for excess in found[1:]),
        claim=_claim(audit, found),
    )


def _claim(audit: Audit, found: Sequence[Excess]) -> Claim:
    """The size that decided of the worst, of every parameter that it decided of."""
    worst = found[0]
    subjects = tuple(excess.param for excess in found if excess.quantity == worst.quantity)
    if worst.quantity == "S":
        return Claim("sensitivity", subjects, worst.limit, "above")
    return Claim("gradient", subjects, worst.limit, "above", shift=-audit.flow.reference)


def _reason(found: Sequence[Excess], cause: str) -> str:
    said = [SENSITIVITY] if any(excess.quantity == "S" for excess in found) else []
    said.append(f"{len(found)} parameter{'s are' if len(found) > 1 else ' is'} above {'their limits' if len(found) > 1 else 'its limit'}")
    return f"{'; '.join(said)}{cause and chr(10)}{cause}"
