"""NA421."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Claim, Remark, Unregistered, check, ever_reached
from netaudit_rules.checks.claiming import LEAST

LOSS = "the loss"


@check("NA421", severity="error")
def unregistered_parameter(audit: Audit) -> Iterator[Remark]:
    """A tensor that gets a gradient is no parameter of the model: it is never trained, saved or moved.

    Why:
        ``nn.Module`` knows the parameters and modules that are assigned as attributes, or held in ``nn.ModuleList``,
        ``nn.ModuleDict``, ``nn.ParameterList``. What stands in a plain list, dict or closure, or is a tensor with
        ``requires_grad=True`` rather than an ``nn.Parameter``, is missing from ``parameters()``: the optimiser never sees it,
        ``state_dict()`` does not save it, ``.to(device)`` leaves it behind. Nothing fails on the CPU.

    How it is found:
        The trace shows which tensors the model uses as constants; those that ask for a gradient, are not among
        ``model.parameters()``, and have a differentiable path to the loss are reported. Attributes, containers, closures and
        globals of ``forward`` are searched for the name by which the code reaches them. It is a note only when an optimiser
        of the target has the tensor, and when only the loss uses it (a perceptual loss or a discriminator is trained, or
        not, elsewhere).

    Flagged:
        ```python
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [nn.Linear(16, 16) for _ in range(3)]
                self.head = nn.Linear(16, 4)

            def forward(self, x):
                for layer in self.layers:
                    x = torch.relu(layer(x))
                return self.head(x)

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
                self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
                self.order = [self.layers[2], self.layers[0], self.layers[1]]
                self.head = nn.Linear(16, 4)

            def forward(self, x):
                for layer in self.order:
                    x = torch.relu(layer(x))
                return self.head(x)

        def build():
            return Model()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        PyTorch documentation of nn.ModuleList and nn.Parameter; Tambon et al. 2023, "Silent bugs in deep learning frameworks".
    """
    reached = ever_reached(audit.flow, audit.later)
    groups: dict[tuple[str, str, bool], list[Unregistered]] = {}
    for stray in audit.graph.unregistered:
        if stray.node in reached:
            groups.setdefault((stray.holder, stray.where.module, stray.optimised), []).append(stray)
    for found in groups.values():
        yield _remark(found)


def _remark(found: Sequence[Unregistered]) -> Remark:
    first = found[0]
    in_loss = first.holder.endswith(LOSS)
    return Remark(
        message=f"`{first.name}` gets a gradient but is not in model.parameters(): {_held(first)}",
        module=first.where.module,
        where=first.where,
        severity="info" if in_loss or first.optimised else "error",
        reason=_reason(first, in_loss),
        siblings=tuple(stray.name for stray in found[1:]),
        key=first.name,
        claim=Claim("gradient", (first.node,), LEAST, "above", certain=True) if first.is_leaf else None,
    )


def _held(stray: Unregistered) -> str:
    if not stray.is_leaf:
        return f"{stray.holder} holds what was computed from a parameter once, in the constructor"
    return f"{stray.holder} holds it"


def _reason(stray: Unregistered, in_loss: bool) -> str:
    if stray.optimised:
        return "an optimiser has it all the same, but state_dict() does not save it and .to(device) leaves it behind"
    if in_loss:
        return "only the loss uses it: if it is to learn, give it to an optimiser; if not, turn its gradient off"
    if stray.holder == "a buffer":
        return "a buffer is saved and moved, but no optimiser trains it: make it an nn.Parameter"
    if not stray.is_leaf:
        return "backward works once, and the parameter behind it is used as it was then; compute it in forward"
    return "no optimiser trains it, state_dict() does not save it, .to(device) leaves it behind"
