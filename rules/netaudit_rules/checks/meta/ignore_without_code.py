"""NA902."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, Remedy, Where, check


@check("NA902", severity="info", needs={"ignores"})
def ignore_without_code(audit: Audit) -> Iterator[Remark]:
    """A comment suppresses findings without saying which.

    Why:
        ``# netaudit: ignore`` takes every finding of its line, those that do not exist yet among them.

    How it is found:
        The comment has no codes in brackets, and something was suppressed. What it should say is in the help.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Sigmoid())]  # netaudit: ignore
            return nn.Sequential(*layers, nn.Linear(64, 10))

        def example_inputs():
            return torch.randn(32, 64)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.Sigmoid())]  # netaudit: ignore[NA201] a bad example
            return nn.Sequential(*layers, nn.Linear(64, 10))

        def example_inputs():
            return torch.randn(32, 64)
        ```

    References:
        ruff, rule PGH004 (blanket-noqa).
    """
    for outcome in audit.ignores:
        if outcome.spent and not outcome.ignore.selectors:
            codes = ", ".join(outcome.spent)
            yield Remark(
                message=f"`ignore` without codes suppresses {codes}, and whatever else will be found here",
                where=Where(called=outcome.ignore.site),
                help=(Remedy(f"write `# netaudit: ignore[{codes}] reason`"),),
                key=outcome.key(""),
            )
