"""Other seeds: the target loaded again with each, measured in the same way, summed up where its graph is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from netaudit.errors import NetauditError
from netaudit.graph import Graph
from netaudit.intake.subject import Subject
from netaudit.probe.fitted import Manner, fitted
from netaudit.probe.sizes import Sizes

Load = Callable[[int], Iterable[Subject]]
"""Everything that a target names, built and fed with a seed."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was measured of one subject with one seed; plain values, so that processes can send it to each other.

    ``subject`` is its id, empty for all that a target names. ``outline`` is its graph in a line a node. ``problem``: why there is
    nothing; ``partial``: it was interrupted.
    """

    seed: int
    subject: str = ""
    found: tuple[Sizes, ...] = ()
    outline: tuple[str, ...] = ()
    problem: str = ""
    partial: bool = False


def seeded(load: Load, seeds: Sequence[int], manner: Manner) -> tuple[Seeded, ...]:
    """Every subject with every seed, one at a time in memory. What fails is said; an interrupt ends it, and what there is is kept."""
    found: list[Seeded] = []
    plan = replace(manner.plan, climbed=frozenset())  # largest gains are those of the first seed: they cost most
    for index, seed in enumerate(seeds):
        plan.progress("other seeds", index, len(seeds))
        try:
            found += _of_seed(load, seed, replace(manner, plan=replace(plan, seed=seed)))
        except KeyboardInterrupt:
            found.append(Seeded(seed, partial=True))
        if any(one.partial for one in found):
            break
    plan.progress("other seeds", len(seeds), len(seeds))
    return tuple(found)


def _of_seed(load: Load, seed: int, manner: Manner) -> Iterator[Seeded]:
    try:
        subjects = load(seed)
    except NetauditError as error:
        yield Seeded(seed, problem=error.message)
        return
    for subject in subjects:
        yield _measured(subject, seed, manner)


def _measured(subject: Subject, seed: int, manner: Manner) -> Seeded:
    try:
        run = fitted(subject, None, manner)
    except NetauditError as error:
        return Seeded(seed, subject.id, problem=error.message)
    except RuntimeError as error:
        return Seeded(seed, subject.id, problem=str(error).splitlines()[0][:160])
    if run.partial:
        return Seeded(seed, subject.id, partial=True)
    return Seeded(seed, subject.id, tuple(run.found), outline(run.machine.graph))


def outline(graph: Graph) -> tuple[str, ...]:
    """The graph without its numbers: two of one outline are measured at the same nodes."""
    return tuple(f"`{node.name}` = {node.op}({', '.join(node.inputs)}), {list(node.shape)} {node.dtype}" for node in graph.nodes)


def alike(graph: Graph, others: Sequence[Seeded]) -> tuple[tuple[Seeded, ...], tuple[str, ...]]:
    """Those seeds whose graph is this one, and what is to be said of the others."""
    own = outline(graph)
    kept = tuple(one for one in others if one.found and one.outline == own)
    notes = [_note(one, own) for one in others if one not in kept and not one.partial]
    return kept, tuple(notes)


def _note(one: Seeded, own: Sequence[str]) -> str:
    if one.problem:
        return f"seed {one.seed} is left out: {one.problem}"
    pairs = zip((*own, ""), (*one.outline, ""), strict=False)
    mine, its = next((a, b) for a, b in pairs if a != b)
    return f"seed {one.seed} is left out, it makes another graph: {its or 'it ends'} instead of {mine or 'the end'}"
