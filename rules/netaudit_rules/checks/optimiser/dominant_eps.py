"""NA605."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10

from netaudit import VANISHING, Audit, Claim, Evidence, Optimizer, Remark, Remedy, best_sensitivity, check
from netaudit_rules.checks.optimiser.common import DOUBT, Held, coming_gradient_rms, held, held_matrices, logarithm, middle, place, together

SHARE = 0.1
"""The share of the gradient's RMS from which eps makes itself felt: a step is then 10 % shorter."""
HALF = 2.0**-25
"""What is below half the smallest number of fp16 rounds to zero."""


@check("NA605", severity="info", needs={"training"})
def dominant_eps(audit: Audit) -> Iterator[Remark]:
    """An optimiser's eps is large against the gradients, or nothing at all.

    Why:
        An adaptive step is ``lr g / (|g| + eps)``. With eps above the gradients it is ``lr g / eps``: SGD with another learning
        rate, and layers with small gradients stand still. Deep and wide networks reach gradients of 1e-9, where the usual 1e-8
        rules. In fp16 the same 1e-8 rounds to zero: an entry whose second moment underflows divides by zero.

    How it is found:
        The forecast gradient of the weights: a note when eps exceeds a tenth of it for half of them (a fifth, since a forecast is
        good to a factor of two). An error when the optimiser's state is in fp16, as its parameters are, and eps is below 3e-8.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 4)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-3, eps=0.1)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

        def example_inputs():
            return torch.randn(32, 16)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(32) % 4)

        def optimizer(model):
            return torch.optim.Adam(model.parameters(), lr=1e-3)
        ```

    References:
        Kingma & Ba 2015, section 2.1; Wortsman et al. 2024 (small-scale proxies), section 3.4.
    """
    for optimizer in audit.training.optimizers:
        own = [one for one in held(audit) if one.optimizer is optimizer]
        zero = [one for one in own if _is_adaptive(one) and _state(audit, one) == "float16" and 0.0 < _eps(one) < HALF]
        if zero:
            yield _vanished(optimizer, zero)
        else:
            yield from _felt(audit, optimizer)


def _is_adaptive(one: Held) -> bool:
    return one.kind.adaptive and one.kind.step in ("sign", "gradient")


def _eps(one: Held) -> float:
    return one.group.number("eps") or 0.0


def _state(audit: Audit, one: Held) -> str:
    """The dtype of the moments: that of the parameter, unless it is said that all is in half precision."""
    return "float16" if audit.training.precision == "fp16" else one.info.dtype


def _vanished(optimizer: Optimizer, found: Sequence[Held]) -> Remark:
    eps = _eps(found[0])
    return Remark(
        message=f"eps = {eps:g} is 0 in fp16, in which {optimizer.kind} keeps its moments: `{found[0].name}` is divided by zero",
        module=together(one.name for one in found),
        where=place(optimizer),
        severity="error",
        reason="the second moment of a gradient below 0.0077 underflows as well (0.001 g^2 < 6e-8), and g / (0 + 0) is inf or NaN",
        help=(Remedy("keep parameters in fp32 and use autocast, or bf16; an eps of 1e-4 helps out"),),
        siblings=tuple(one.name for one in found[1:]),
        key="zero",
    )


def _felt(audit: Audit, optimizer: Optimizer) -> Iterator[Remark]:
    weights = [one for one in held_matrices(audit) if one.optimizer is optimizer and _is_adaptive(one) and _eps(one) > 0.0]
    known = [(one, g) for one in weights if _learns(audit, one) and (g := coming_gradient_rms(audit, one.name))]
    if not known:
        return
    typical = middle(_eps(one) / g for one, g in known)
    if typical > SHARE * DOUBT:
        one, g = max(known, key=lambda item: _eps(item[0]) / item[1])
        moves = g / (g + _eps(one))
        alike = tuple(other.name for other, _ in known if _eps(other) == _eps(one))
        yield Remark(
            message=f"eps = {_eps(one):g} rules over the gradients: the {g:.1e} (RMS) of `{one.name}` moves it by {moves:.1e} lr",
            module=together(one.name for one, _ in known),
            where=place(optimizer),
            reason="the step is proportional to the gradient then, as SGD's is",
            evidence=Evidence("eps / gradient RMS", logarithm(SHARE), None, logarithm(typical), None, "median over weights"),
            help=(Remedy("an eps of 1e-12 to 1e-15 is safe in fp32"),),
            key="felt",
            claim=Claim("gradient", alike, log10(_eps(one) / SHARE), "below", aside=True),
        )


def _learns(audit: Audit, one: Held) -> bool:
    """Whether the weight gets a gradient to speak of: where none does, NA201 says why."""
    best = best_sensitivity(audit.flow, audit.later, one.name)
    return best is not None and best > VANISHING
