"""Inputs at which functions are singular: what is the first to be not finite there, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf

import torch
from torch import Tensor

from netaudit.measured import Study
from netaudit.probe.calls import needed
from netaudit.probe.faults import Faults, faults
from netaudit.probe.machine import Machine
from netaudit.probe.recut import given, is_mask
from netaudit.probe.run import sized

from .bench import Bench, Studied

NAME, TITLE = "extremes", "inputs at singular points"
LARGEST = "largest finite"
Change = Callable[[Tensor], Tensor | None]
"""Another value for an input; None where there is none (a whole number has no tiniest one)."""


def extremes(bench: Bench) -> Studied:
    """The first value and the first gradient that is not finite, by name, for inputs where functions have poles, roots or ties.

    All zero, all one, all samples equal to the first, the largest finite number and the tiniest normal one; whole numbers are zero, or all
    as their first entry; masks are all 0, all 1 or (if floating) all -inf, the other inputs as they are. A -inf that only a softmax
    takes is deliberate (``faults.faults``); a row of nothing but -inf makes the softmax the fault.

    MEASURED on the traced graph in the model's own precision, one pass forward and backward each: a branch that the model takes by
    its inputs is the one taken when it was traced. What breaks at the largest finite number is no reading for verdicts: a sum of
    such numbers overflows in any layer.
    """
    machine = bench.machine
    cases = dict(_cases(machine))
    rows, broken = [], set[str]()
    for index, (title, leaves) in enumerate(cases.items()):
        bench.plan.progress("extremes", index, len(cases))
        row, found = _row(bench, title, leaves)
        rows.append(row)
        broken |= set() if title == LARGEST else found
    columns = ("inputs", "first value not finite", "first gradient", "outputs")
    return Studied(Study(NAME, TITLE, columns, tuple(rows), _says(rows)), broken=frozenset(broken))


# what is given ----------------------------------------------------------------------------------------------------------


def _cases(machine: Machine) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    masks = [name for name in machine.graph.inputs if is_mask(machine, name)]
    others = [name for name in machine.graph.inputs if name not in masks]
    for title, change in CASES.items():
        leaves = {name: value for name in others if (value := change(machine.leaves[name])) is not None}
        if leaves:
            yield title, leaves
    for name in masks:
        mask = machine.leaves[name]
        for value in (0.0, 1.0, *((-inf,) if mask.is_floating_point() else ())):
            yield f"{name} all {value:g}", {name: torch.full_like(mask, value)}


def _ones(x: Tensor) -> Tensor:
    return torch.ones_like(x) if x.is_floating_point() else x.flatten()[:1].expand(x.shape).clone() if x.numel() else x


def _tied(x: Tensor) -> Tensor:
    return x[:1].expand(x.shape).clone() if x.ndim and len(x) else x


CASES: Mapping[str, Change] = {
    "all zero": torch.zeros_like,
    "constant": _ones,
    "all samples equal": _tied,
    LARGEST: lambda x: torch.full_like(x, torch.finfo(x.dtype).max) if x.is_floating_point() else None,
    "tiniest normal": lambda x: torch.full_like(x, torch.finfo(x.dtype).tiny) if x.is_floating_point() else None,
}


# what is seen -----------------------------------------------------------------------------------------------------------


def _row(bench: Bench, title: str, leaves: Mapping[str, Tensor]) -> tuple[tuple[str, ...], frozenset[str]]:
    taken = {name for node in bench.machine.calls for name in needed(node)}
    if taken.isdisjoint(leaves):
        return (title, "not asked: the traced graph does not use it", "", ""), frozenset()
    machine = given(bench.machine, leaves)
    try:
        seen = sized(machine, bench.plan)
    except (RuntimeError, IndexError, ValueError) as error:  # what an op says of inputs that it does not take
        return (title, f"not measured: {str(error).splitlines()[0][:60]}", "", ""), frozenset()
    found = faults(machine, seen)
    ends = [seen.values[name] for name in (*machine.graph.heads, *machine.graph.outputs) if name in seen.values]
    finite = "finite" if all(end.is_finite for end in ends) else "not finite"
    return (title, _first(machine, found.values), _gradient(machine, found), finite), found.first


def _first(machine: Machine, names: tuple[str, ...]) -> str:
    if not names:
        return "finite"
    node = machine.nodes[names[0]]
    what = f"{node.name} ({node.op})" if node.folded else node.name  # a whole is named after its last part
    return what + (f" in {node.where.module}" if node.where.module else "")


def _gradient(machine: Machine, found: Faults) -> str:
    """The first gradient; none is named where it only follows from a value."""
    return "follows from the value" if found.values and found.gradients else _first(machine, found.gradients)


def _says(rows: list[tuple[str, ...]]) -> str:
    asked = [row for row in rows if row[3]]
    broken = [row[0] for row in asked if row[1:3] != ("finite", "finite")]
    skipped = f", {len(rows) - len(asked)} could not be asked" if len(asked) < len(rows) else ""
    if not asked:
        return "nothing was asked" + skipped
    overflow = f"finite at all {len(asked)} but the largest number, where any sum overflows"
    said = overflow if broken == [LARGEST] else f"not finite for: {', '.join(broken)}" if broken else f"finite at all {len(asked)}"
    return said + skipped
