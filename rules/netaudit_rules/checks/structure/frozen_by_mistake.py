"""NA422."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netaudit import Audit, Remark, check
from netaudit_rules.checks.common import common_module, is_matrix, module_of, owner_site
from netaudit_rules.checks.losses import downstream
from netaudit_rules.checks.weights import Use, ancestors, drawn_as, uses

MINORITY = 2
"""A frozen layer among trained ones is odd when at least twice as many are trained; with adapters most are frozen."""


@check("NA422", severity="warning", needs={"graph", "weights"})
def frozen_by_mistake(audit: Audit) -> Iterator[Remark]:
    """A layer is frozen although its weights are still as they were drawn.

    Why:
        Freezing keeps what was learnt before. A layer that is frozen at its random initialisation keeps nothing: a new head that
        was attached before the loop that freezes "everything", or a layer that was forgotten when the rest was unfrozen. The
        layers in front of it have to learn around a random matrix.

    How it is found:
        The entries of frozen weights are compared with the usual initialisations (end, mean square and fourth moment of the
        draw). Flagged when such a layer is the last before the loss with trained layers (or nothing but trained biases and
        norms) in front of it, or stands between trained layers that are at least twice as many. Not flagged: frozen layers in
        front of all that is trained (pretrained or random features), two frozen layers or more at the end (a discriminator, a
        perceptual loss: a note), adapters beside a frozen layer (LoRA), soft prompts, teachers without gradient, weights
        that are no usual draw (pretrained, orthogonal, fixed classifiers).

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
            model[2].requires_grad_(False)
            return model

        def example_inputs():
            return torch.randn(8, 16)
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
            model[0].requires_grad_(False)
            return model

        def example_inputs():
            return torch.randn(8, 16)
        ```

    References:
        PyTorch tutorial, "Transfer learning": the head is replaced after the backbone is frozen; Hoffer et al. 2018, "Fix your
        classifier" (fixed, but orthogonal).
    """
    if not any(info.trainable for info in audit.graph.params.values()):
        yield from _nothing_trained(audit)
        return
    layers = [use for use in uses(audit.graph) if use.node.name in audit.flow.reached]
    trained = [use for use in layers if use.info.trainable]
    last = trained[-1].node.name if trained else ""
    order = {node.name: i for i, node in enumerate(audit.graph.nodes)}
    end = [use for use in layers if not use.info.trainable and order[use.node.name] > order.get(last, -1)]
    yield from _at_the_end(audit, end, trained)
    yield from _in_between(audit, [use for use in layers if not use.info.trainable and use not in end], trained)


def _nothing_trained(audit: Audit) -> Iterator[Remark]:
    if audit.graph.params:
        wanted = audit.graph.loss is not None or bool(audit.training.optimizers)
        yield Remark(
            message="no parameter is trained: all have requires_grad=False",
            severity="error" if wanted else "info",
            reason="backward fails or does nothing" if wanted else "as for inference; unfreeze what is to learn",
            key="all",
        )


def _at_the_end(audit: Audit, end: Sequence[Use], trained: Sequence[Use]) -> Iterator[Remark]:
    """Frozen layers behind all trained ones: one is a forgotten head, several are a network of their own."""
    if not end or not drawn_as(audit.facts, end[-1]):
        return
    moving = downstream(audit.graph, (info.node for info in audit.graph.params.values() if info.trainable))
    if end[-1].data not in moving or (not trained and _trains_data(audit)):
        return
    behind_all = [use for use in end if use.data in moving]
    is_head = not trained or len(behind_all) == 1
    yield _remark(audit, behind_all[-1:] if is_head else behind_all, "the last layer", "warning" if is_head else "info")


def _trains_data(audit: Audit) -> bool:
    """Whether a matrix that is no layer's weight is trained: soft prompts, embeddings."""
    return any(info.trainable and is_matrix(info.shape) for info in audit.graph.params.values())


def _in_between(audit: Audit, frozen: Sequence[Use], trained: Sequence[Use]) -> Iterator[Remark]:
    if not frozen or len(trained) < MINORITY * len(frozen):
        return
    found = [use for use in frozen if drawn_as(audit.facts, use) and _is_between(audit, use, trained)]
    if found:
        yield _remark(audit, found, "a layer between trained ones", "warning")


def _is_between(audit: Audit, use: Use, trained: Sequence[Use]) -> bool:
    """Whether trained layers stand before and behind, and none beside it reads the same input."""
    before = ancestors(audit, use.node.name)
    return any(one.node.name in before for one in trained) and not any(one.data == use.data for one in trained)


def _remark(audit: Audit, found: Sequence[Use], what: str, severity: str) -> Remark:
    first = found[0]
    module = common_module(module_of(use.param) for use in found) or module_of(first.param)
    return Remark(
        message=f"`{first.param}`, {what}, is frozen at its random initialisation ({drawn_as(audit.facts, first) or 'a random draw'})",
        module=module,
        where=owner_site(audit, module, first.info.where),
        severity="warning" if severity == "warning" else "info",
        reason="requires_grad is False although nothing was learnt yet: what is trained has to work around a random matrix",
        siblings=tuple(use.param for use in found[1:]),
        key=what,
    )
