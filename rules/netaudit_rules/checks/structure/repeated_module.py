"""NA423."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, ParamInfo, Remark, check
from netaudit_rules.checks.common import is_matrix, owner_site, trained
from netaudit_rules.checks.losses import downstream
from netaudit_rules.checks.norms import BATCH


@check("NA423", severity="warning")
def repeated_module(audit: Audit) -> Iterator[Remark]:
    """One module stands at several places of a container and is applied one after the other.

    Why:
        ``nn.ModuleList([Block()] * n)`` holds n references to one block. The network looks n layers deep and has the
        parameters of one: its capacity is a fraction of what was meant, and its gradient is the sum over all depths.

    How it is found:
        The same parameter is registered under names that differ in one index only, and the calls that use it feed each other.
        Sharing that is written as such (one module called in a loop, as ALBERT does) has one name and is not flagged, nor is
        a head that several depths share beside each other, nor tied embeddings. A BatchNorm that is shared alone is flagged
        likewise, since its running statistics mix the depths; another shared gain or slope (LayerNorm, PReLU) is a note.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(*[nn.Sequential(nn.Linear(16, 16), nn.ReLU())] * 4, nn.Linear(16, 4))

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Shared(nn.Module):
            def __init__(self):
                super().__init__()
                self.block, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

            def forward(self, x):
                for _ in range(4):
                    x = torch.relu(self.block(x))
                return self.head(x)

        def build():
            return Shared()

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        Python documentation, "How do I create a multidimensional list?"; Lan et al. 2020 (ALBERT: sharing on purpose).
    """
    groups: dict[tuple[str, int], list[tuple[str, ParamInfo]]] = {}
    for name, info in trained(audit):
        place = _place(info.names)
        if place is not None and _in_series(audit, info):
            groups.setdefault((place, len(info.names)), []).append((name, info))
    for (place, count), members in groups.items():
        yield _remark(audit, place, count, members)


def _place(names: Sequence[str]) -> str | None:
    """The container in which a parameter has several positions: what stands before the one index in which its names differ."""
    if len(names) < 2:
        return None
    split = [name.split(".") for name in names]
    if len({len(parts) for parts in split}) != 1:
        return None
    differing = [i for i, parts in enumerate(zip(*split, strict=True)) if len(set(parts)) > 1]
    if len(differing) != 1 or not all(parts[differing[0]].isdecimal() for parts in split):
        return None
    return ".".join(split[0][: differing[0]])


def _in_series(audit: Audit, info: ParamInfo) -> bool:
    """Whether the last call that uses the parameter depends on the first."""
    calls = [node for node in audit.graph.nodes if info.node in node.inputs]
    return len(calls) > 1 and calls[-1].name in downstream(audit.graph, (calls[0].name,))


def _is_in_batch_norm(audit: Audit, info: ParamInfo) -> bool:
    return any(node.op in BATCH and info.node in node.inputs for node in audit.graph.nodes)


def _remark(audit: Audit, place: str, count: int, members: Sequence[tuple[str, ParamInfo]]) -> Remark:
    first, info = members[0]
    severe = any(is_matrix(member.shape) or _is_in_batch_norm(audit, member) for _, member in members)
    return Remark(
        message=f"`{place or 'the model'}` holds one module at {count} places: all use `{first}`",
        module=place,
        where=owner_site(audit, place, info.where),
        severity="warning" if severe else "info",
        reason="they are applied one after the other with the same weights; to share on purpose, call one module in a loop",
        siblings=tuple(name for name, _ in members[1:]),
        key=first,
    )
