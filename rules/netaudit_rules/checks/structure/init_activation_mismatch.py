"""NA406."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log10

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.chains import Link, activations, chains, gradient_growth, home_of, longest
from netaudit_rules.checks.claiming import ends, signal_grows
from netaudit_rules.checks.common import owner_site, scientific
from netaudit_rules.checks.losses import label
from netaudit_rules.checks.weights import drawn_as, fan_in

NEEDED = {
    "aten.relu": 2.0, "aten.relu6": 2.0, "aten.leaky_relu": 2.0, "aten.gelu": 2.352, "netaudit.gelu": 2.352, "netaudit.gelu_tanh": 2.352,
    "aten.silu": 2.811, "netaudit.swish": 2.811, "aten.mish": 2.211, "aten.elu": 1.551, "aten.selu": 1.0, "aten.hardswish": 3.016,
}  # fmt: skip
"""``1 / E f(z)^2`` for z ~ N(0, 1): the ``fan_in Var W`` that keeps the second moment of the signal, by quadrature.

Tanh and its like are left out: with smaller weights they become linear and keep what is left of the signal.
"""
SCALES = frozenset({"aten.mul", "aten.div"})
FEWEST = 4
DRIFT = 1.0
"""log10 of the factor that all ratios of a run multiply to."""


@check("NA406", severity="info", needs={"graph", "weights"}, yields_to=("NA201", "NA301"))
def init_activation_mismatch(audit: Audit) -> Iterator[Remark]:
    """The scale of the weights does not fit the activation: the signal grows or shrinks with depth.

    Why:
        A layer keeps the second moment of its signal when ``fan_in Var(W) = 1 / E f(z)^2``: 2 behind ReLU (He), 2.35 behind
        GELU, 2.81 behind SiLU, 1 behind SELU. With another value the signal is multiplied by the root of the ratio in every
        layer, and so is the gradient.

    How it is found:
        In runs of layers without normalisation and shortcut the measured ``fan_in Var(W)`` is set against the table. A note when
        the ratios multiply to more than a factor of 10 in the signal, either way, with the forecast of the gradient; what harms is
        NA201 and NA301. Stacks with torch's default initialisation are NA202.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(12) for m in (nn.Linear(32, 32), nn.ReLU())]
            model = nn.Sequential(*layers, nn.Linear(32, 4))
            for m in model[:-1:2]:
                nn.init.xavier_normal_(m.weight)
            return model

        def example_inputs():
            return torch.randn(8, 32)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(12) for m in (nn.Linear(32, 32), nn.ReLU())]
            model = nn.Sequential(*layers, nn.Linear(32, 4))
            for m in model[:-1:2]:
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            return model

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        He et al. 2015, section 2.2; Glorot & Bengio 2010; Klambauer et al. 2017 (SELU).
    """
    for run in chains(audit):
        found = longest(run, [_fits_table(audit, link) for link in run])
        told = sum(_mismatch(audit, link) for link in found)
        if len(found) >= FEWEST and abs(told) > DRIFT:
            yield _remark(audit, found, told)


def _fits_table(audit: Audit, link: Link) -> bool:
    known = any(node.op in NEEDED for node in activations(audit, link))
    scaled = any(node.op in SCALES for node in link.between)
    return known and not scaled and not link.is_normalised and drawn_as(audit.facts, link.after) != "the default of torch"


def _scale(audit: Audit, link: Link) -> tuple[float, float, str]:
    """``fan_in Var(W)`` of the layer behind an activation, what that one needs, and its name."""
    made = next(node for node in activations(audit, link) if node.op in NEEDED)
    moments = audit.facts.signals[link.after.weight].moments
    return fan_in(link.after) * (moments.mean_square if moments is not None else 0.0), NEEDED[made.op], label(made)


def _mismatch(audit: Audit, link: Link) -> float:
    """log10 of what a layer multiplies the signal by, beyond what its activation needs."""
    given, needed, _ = _scale(audit, link)
    return 0.5 * log10(given / needed) if given > 0.0 else 0.0


def _remark(audit: Audit, run: Sequence[Link], told: float) -> Remark:
    layers = [link.after for link in run]
    module = home_of(layers)
    given, needed, name = _scale(audit, run[0])
    change = gradient_growth(audit, run)
    return Remark(
        message=f"fan_in Var(W) = {given:.3g} where {name} needs {needed:.3g}: a factor of {scientific(told)} in {len(run)} layers",
        module=module,
        where=owner_site(audit, module, layers[0].info.where),
        reason="the ratio is multiplied in once per layer, into the signal and into the gradient",
        evidence=Evidence(
            "gradient in front of the stack over behind", None, None, change, None, "mean-field over random inputs and weights"
        ),
        siblings=tuple(use.param for use in layers[1:]),
        claim=replace(signal_grows(*ends(run), DRIFT if told > 0.0 else -DRIFT, "above" if told > 0.0 else "below"), aside=True),
    )
