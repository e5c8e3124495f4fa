"""NA901."""

from __future__ import annotations

from collections.abc import Iterator

from netaudit import Audit, Remark, Where, check


@check("NA901", severity="info", needs={"ignores"})
def unused_ignore(audit: Audit) -> Iterator[Remark]:
    """A comment suppresses nothing.

    Why:
        A comment that outlives its finding hides the next one on its line, and tells readers of a fault that is not there.

    How it is found:
        Of every ``# netaudit: ignore[...]`` on a line that builds or calls a part of the model, each rule is looked for among the
        findings there. Rules that did not run are not judged, nor is anything when the audit was not complete; a comment that is
        of use in another model of the same run is not unused. A code that no rule has is told, too.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Linear(16, 4)  # netaudit: ignore[NA201] its input is scaled

        def example_inputs():
            return torch.randn(8, 16)
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
        ruff, rule RUF100; mypy, error code unused-ignore.
    """
    for outcome in audit.ignores:
        where = Where(called=outcome.ignore.site)
        for selector in outcome.idle:
            rule = f"[{selector}]" if selector else ""
            reason = "no rule that ran finds anything on the lines that it is about"
            yield Remark(f"`ignore{rule}` suppresses nothing", where=where, reason=reason, key=outcome.key(selector))
        for selector in outcome.unknown:
            reason = "`netaudit rule --all` lists the rules"
            yield Remark(f"`ignore[{selector}]` names no rule", where=where, reason=reason, key=outcome.key(selector))
