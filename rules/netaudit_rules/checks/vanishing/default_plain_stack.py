"""NA202."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Evidence, Remark, check
from netaudit_rules.checks.chains import Link, activations, chains, gradient_growth, growth, home_of, longest
from netaudit_rules.checks.claiming import ends, signal_grows
from netaudit_rules.checks.common import owner_site, scientific
from netaudit_rules.checks.weights import drawn_as

RECTIFIERS = frozenset(
    {f"aten.{name}" for name in ("relu", "leaky_relu", "elu", "celu", "gelu", "silu", "mish", "relu6", "hardswish", "prelu")}
)
FEWEST = 5
"""Links (six layers) from which the default's factor of 6 per layer is worth a note."""


@check("NA202", severity="info", needs={"graph", "weights"}, yields_to=("NA201",))
def default_plain_stack(audit: Audit) -> Iterator[Remark]:
    """A deep plain stack keeps torch's default initialisation, which shrinks the signal in every layer.

    Why:
        ``nn.Linear`` and ``nn.Conv2d`` draw from U(-1 / sqrt n, 1 / sqrt n): variance 1 / (3 n). Behind a ReLU the second moment
        is divided by 6 per layer, forward and backward: by 10^4 after 5 layers, 10^8 after 10. What remains is the biases:
        all inputs look alike.

    How it is found:
        Runs of layers with a rectifier between, no normalisation and no shortcut, whose weights are statistically the default
        (end and mean square of the draw). A note with the forecast of what remains; whether too little gradient is left is
        NA201. Loaded weights are no such draw.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(8) for m in (nn.Linear(32, 32), nn.ReLU())]
            return nn.Sequential(*layers, nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 32)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(8) for m in (nn.Linear(32, 32), nn.ReLU())]
            model = nn.Sequential(*layers, nn.Linear(32, 4))
            for m in model[:-1:2]:
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            return model

        def example_inputs():
            return torch.randn(8, 32)
        ```

    References:
        He et al. 2015, section 2.2; torch.nn.Linear.reset_parameters.
    """
    for run in chains(audit):
        keep = [_is_plain(audit, link) for link in run]
        found = longest(run, keep)
        if len(found) >= FEWEST:
            yield _remark(audit, found)


def _is_plain(audit: Audit, link: Link) -> bool:
    rectified = any(node.op in RECTIFIERS for node in activations(audit, link))
    return (
        rectified and not link.is_normalised and all(drawn_as(audit.facts, u) == "the default of torch" for u in (link.before, link.after))
    )


def _remark(audit: Audit, run: Sequence[Link]) -> Remark:
    layers = [run[0].before, *(link.after for link in run)]
    module = home_of(layers)
    forward, backward = growth(audit, run), gradient_growth(audit, run)
    sizes = [
        f"{what} {scientific(size)} times"
        for what, size in (("the signal shrinks", forward), ("the gradient", backward))
        if size is not None
    ]
    return Remark(
        message=f"{len(layers)} plain layers keep torch's default initialisation" + (f": forecast {', '.join(sizes)}" if sizes else ""),
        module=module,
        where=owner_site(audit, module, layers[0].info.where),
        reason="variance 1 / (3 fan_in) divides the second moment by 6 per ReLU layer; kaiming_normal_(w, nonlinearity='relu') keeps it",
        evidence=Evidence("RMS behind the stack over in front", None, None, forward, None, "mean-field over random inputs and weights"),
        siblings=tuple(use.param for use in layers[1:]),
        claim=None if forward is None else signal_grows(*ends(run), forward, "below"),
    )
