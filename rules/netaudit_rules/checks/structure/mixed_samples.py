"""NA435."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netaudit import Audit, Claim, Node, Remark, check
from netaudit_rules.checks.axes import ATTENTION, RECURRENT, sample_axes
from netaudit_rules.checks.claiming import ROUNDED
from netaudit_rules.checks.common import common_module, home
from netaudit_rules.checks.losses import CLASSES, comparisons, dependent, source
from netaudit_rules.checks.norms import DIRECTION

SOFTMAX = frozenset({"aten.softmax", "aten._softmax"})


@check("NA435", severity="warning", needs={"graph", "inputs"})
def mixed_samples(audit: Audit) -> Iterator[Remark]:
    """Attention, a recurrence, a softmax or a normalisation of length runs over the samples of the batch.

    Why:
        ``nn.MultiheadAttention``, ``nn.TransformerEncoder`` and ``nn.LSTM`` take (time, batch, features) unless told
        ``batch_first=True``. Given (batch, time, features) they mix the samples of a batch: the prediction for one depends on
        the others, training and eval disagree, and nothing is learnt from the sequence. ``softmax(dim=0)`` on (batch, classes)
        makes the samples compete.

    How it is found:
        Axis 0 of the inputs is followed through views, transpositions and products. When it arrives as the axis of samples at
        a loss (labels per row), or the input is an image, whatever attends, recurs or normalises along it on the way is
        flagged; so is a softmax over it that makes the result. Inputs of (time, batch, ...) lose their axis 0 or merge it with
        another one before the loss. Left alone are similarities of samples (batch, batch), as contrastive losses use them,
        and attention between rows of features, which may be the nodes of one graph.

    Flagged:
        ```python
        import torch
        from torch import nn

        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 16)
                self.head = nn.Linear(16, 4)

            def forward(self, x):
                return self.head(self.rnn(x)[0][:, -1])

        def build():
            return Tagger()

        def example_inputs():
            return torch.randn(16, 10, 8)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(16) % 4)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        class Tagger(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.LSTM(8, 16, batch_first=True)
                self.head = nn.Linear(16, 4)

            def forward(self, x):
                return self.head(self.rnn(x)[0][:, -1])

        def build():
            return Tagger()

        def example_inputs():
            return torch.randn(16, 10, 8)

        def loss(model, inputs):
            return nn.functional.cross_entropy(model(inputs), torch.arange(16) % 4)
        ```

    References:
        PyTorch documentation of nn.LSTM and nn.MultiheadAttention (batch_first).
    """
    axes = sample_axes(audit.graph)
    if not axes:
        return
    kept, moving = _is_kept(audit, axes) or _is_image(audit), dependent(audit.graph)
    results = {source(audit.facts, name).name for name in audit.graph.outputs}
    found = [
        node
        for node in audit.graph.nodes
        if (kept or (node.op in SOFTMAX and node.name in results)) and not moving.isdisjoint(node.inputs) and _mixes(audit, node, axes)
    ]
    if found:
        yield _remark(audit, found, axes)


def _remark(audit: Audit, found: Sequence[Node], axes: Mapping[str, frozenset[int]]) -> Remark:
    return Remark(
        message=f"{_spoken(found[0])} runs over the samples of the batch",
        module=common_module(home(audit.facts, node.name) for node in found) or home(audit.facts, found[0].name),
        where=found[0].where,
        reason="axis 0 of the input is the axis of samples at the loss, and this call mixes what stands along it",
        siblings=tuple(node.where.module or node.name for node in found[1:]),
        claim=_claim(audit, found[0], axes),
    )


def _claim(audit: Audit, node: Node, axes: Mapping[str, frozenset[int]]) -> Claim:
    """What one sample gets of a gradient comes from others, too: of an attention by way of its values."""
    rank = len(audit.facts.nodes[node.inputs[0]].shape)
    axis = rank - 2 if node.op in ATTENTION else min(axes[node.inputs[0]])
    operand = node.inputs[2] if node.op in ATTENTION and len(node.inputs) > 2 else node.inputs[0]
    return Claim("mixed", (f"{operand} > {node.name}",), ROUNDED, "above", axis=axis, certain=True, aside=True)


def _is_kept(audit: Audit, axes: Mapping[str, frozenset[int]]) -> bool:
    """Whether axis 0 of the input is still an axis of its own, and the axis of samples, at a loss."""
    facts = audit.facts
    for node in audit.graph.nodes:
        if node.op in CLASSES and node.inputs and len(facts.nodes[node.inputs[0]].shape) > 1 and 0 in axes.get(node.inputs[0], ()):
            return True
    pairs = (comparison.prediction for comparison in comparisons(audit))
    return any(0 in axes.get(name, ()) and facts.nodes[name].shape[1:] in ((), (1,)) for name in pairs)


def _is_image(audit: Audit) -> bool:
    """Whether an input can have its batch nowhere but at axis 0."""
    return any(len(audit.facts.nodes[name].shape) == 4 for name in audit.graph.inputs if audit.facts.nodes[name].is_float)


def _is_sequence(audit: Audit) -> bool:
    """Whether an input has an axis beside samples and features; rows of features may be nodes of one graph."""
    nodes = [audit.facts.nodes[name] for name in audit.graph.inputs]
    return any(len(node.shape) > (2 if node.is_float else 1) for node in nodes)


def _mixes(audit: Audit, node: Node, axes: Mapping[str, frozenset[int]]) -> bool:
    own = axes.get(node.inputs[0], frozenset()) if node.inputs else frozenset()
    rank = len(audit.facts.nodes[node.inputs[0]].shape) if node.inputs else 0
    if not own:
        return False
    if node.op in DIRECTION:
        dims = node.args.get("dim")
        return rank > 1 and isinstance(dims, tuple) and any(isinstance(d, int) and d % rank in own for d in dims)
    if node.op in SOFTMAX:
        dim = node.args.get("dim")
        lone = len(own) == 1 and rank > 1
        return isinstance(dim, int) and dim % rank in own and (lone or (rank > 2 and own == {rank - 2, rank - 1}))
    if not _is_sequence(audit):
        return False
    if node.op in ATTENTION:
        keys = axes.get(node.inputs[1], frozenset())
        key_axis = len(audit.facts.nodes[node.inputs[1]].shape) - (1 if node.op == "netaudit.attention" else 2)
        return rank - 2 in own and key_axis in keys
    return node.op in RECURRENT and rank == 3 and (1 if node.args.get("batch_first") is True else 0) in own


def _spoken(node: Node) -> str:
    if node.op in DIRECTION:
        return "normalize"
    return "softmax" if node.op in SOFTMAX else "attention" if node.op in ATTENTION else "the recurrence"
