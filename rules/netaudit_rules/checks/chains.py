"""Plain stacks: layers that follow each other with activations and normalisations between, and nothing around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log10

from netaudit import Audit, Node
from netaudit_rules.checks.common import MOVES, common_module, module_of
from netaudit_rules.checks.norms import NORMS
from netaudit_rules.checks.weights import Use, uses


@dataclass(frozen=True, slots=True)
class Link:
    """Two layers in a row and the calls between them, in order."""

    before: Use
    after: Use
    between: tuple[Node, ...]

    @property
    def is_normalised(self) -> bool:
        """Whether a normalisation stands between."""
        return any(node.op in NORMS for node in self.between)


def chains(audit: Audit) -> tuple[tuple[Link, ...], ...]:
    """The longest runs of links; a value that is also used elsewhere (a shortcut, a concatenation) ends a run."""
    by_node = {use.node.name: use for use in uses(audit.graph)}
    count: dict[str, int] = {}
    for node in audit.graph.nodes:
        for name in set(node.inputs):
            count[name] = count.get(name, 0) + 1
    runs: list[list[Link]] = []
    ending: dict[str, list[Link]] = {}
    for use in by_node.values():
        link = _link(audit, use, by_node, count)
        if link is None:
            continue
        run = ending.pop(link.before.node.name, None)
        if run is None:
            run = []
            runs.append(run)
        run.append(link)
        ending[use.node.name] = run
    return tuple(tuple(run) for run in runs)


def _link(audit: Audit, use: Use, by_node: dict[str, Use], count: dict[str, int]) -> Link | None:
    passed: list[Node] = []
    name = use.data
    while count.get(name) == 1:
        if name in by_node:
            return Link(by_node[name], use, tuple(passed[::-1]))
        node = audit.facts.nodes[name]
        data = [o for o in dict.fromkeys(node.inputs) if audit.facts.nodes[o].op not in ("parameter", "constant")]
        if len(data) != 1:
            return None
        passed.append(node)
        name = data[0]
    return None


def activations(audit: Audit, link: Link) -> tuple[Node, ...]:
    """The scalar functions between two layers."""
    found = []
    for node in link.between:
        transfer = audit.facts.transfers.get(node.op)
        if transfer is not None and transfer.curve is not None and node.op not in MOVES:
            found.append(node)
    return tuple(found)


def growth(audit: Audit, run: Sequence[Link]) -> float | None:
    """log10 of the forecast RMS of the last layer's output over the first one's; None without a forecast."""
    ends = [audit.facts.signals[use.node.name].moments for use in (run[0].before, run[-1].after)]
    if ends[0] is None or ends[1] is None or ends[0].mean_square <= 0.0 or ends[1].mean_square <= 0.0:
        return None
    return 0.5 * log10(ends[1].mean_square / ends[0].mean_square)


def gradient_growth(audit: Audit, run: Sequence[Link]) -> float | None:
    """log10 of the gradient's forecast norm at the first layer's output over that at the last one's."""
    first, last = (audit.flow.norm(use.node.name) for use in (run[0].before, run[-1].after))
    return None if first is None or last is None or -inf in (first, last) else first - last


def longest(run: Sequence[Link], keep: Sequence[bool]) -> tuple[Link, ...]:
    """The longest stretch of a run whose links are all kept."""
    best: tuple[Link, ...] = ()
    current: list[Link] = []
    for link, wanted in zip(run, keep, strict=True):
        current = [*current, link] if wanted else []
        best = tuple(current) if len(current) > len(best) else best
    return best


def home_of(layers: Sequence[Use]) -> str:
    """The module that holds a stack; its last layer may be the head, elsewhere."""
    return common_module(module_of(use.param) for use in layers[:-1]) or module_of(layers[0].param)
