"""NA001."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, check


@check("NA001", severity="info")
def not_traced(audit: Audit) -> Iterator[Remark]:
    """Part of the model was not traced, or only one path through it.

    Why:
        What was not traced was not checked. A model with data-dependent branches is followed along the path its example
        input takes; a loss that does not trace leaves the head-to-loss part unseen.

    How it is found:
        The tracer reports what it lost on the way. A model that cannot be traced at all is an error of its own and ends the
        run with exit code 3.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Branching(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(8, 8)
                self.b = nn.Linear(8, 8)

            def forward(self, x):
                return self.a(x) if x.sum() > 0 else self.b(x)

        def build():
            return Branching()

        def example_inputs():
            return torch.ones(2, 8)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(8, 8)

        def example_inputs():
            return torch.ones(2, 8)
        ```

    References:
        PyTorch documentation, "torch.export: data-dependent control flow".
    """
    for note in audit.graph.notes:
        yield Remark(message=note, key=note.partition(":")[0], reason="what is not traced is not checked")
