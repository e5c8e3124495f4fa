"""One model of a sweep, with one seed: its sizes at initialisation, and how far its outputs move in the first steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TypeAlias

import torch

from netaudit.errors import ProbeError, TraceError
from netaudit.facts import LEAVES
from netaudit.graph import Graph
from netaudit.intake.heads import Head, with_head
from netaudit.intake.subject import Subject
from netaudit.intake.training import Said, training_of
from netaudit.measured import SweptQuantity
from netaudit.probe.calls import needed
from netaudit.probe.fitted import Fitted, Manner, fitted
from netaudit.probe.machine import Machine, forward
from netaudit.probe.run import Plan, node_measured, param_measured
from netaudit.probe.sizes import log, norm

from .steps import stepped

Readings: TypeAlias = Mapping[SweptQuantity, Mapping[str, float]]
"""log10 sizes by quantity, then by module or parameter."""

HEADS: Mapping[Head, str] = {"loss": "traced loss", "ce": "cross-entropy with random labels"}
"""What a gradient that starts at a loss starts from, in words."""
UNTRAINED = "no step was made, nothing says how it is trained: give --optimizer and --lr, or define optimizer(model) in the target file"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured: how a graph is run, where the gradient starts, what is said of training, and how many steps are made."""

    manner: Manner
    head: Head = "loss"
    said: Said = field(default_factory=Said)
    steps: int = 3


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one subject for one value and one seed; ``problem`` says why there is nothing."""

    value: float
    seed: int
    subject: str = ""
    readings: Readings = field(default_factory=dict)
    training: str = ""
    dtype: str = ""
    inputs: str = ""
    cotangent: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""
    partial: bool = False


def point(subject: Subject, value: float, seed: int, asked: Asked) -> Point:
    """Measure a subject. What fails is said in the point, and an interrupt gives what there is until then.

    Raises:
        ConfigError: what is said of training does not fit together.
    """
    base = Point(value, seed, subject.id, inputs=subject.inputs_from)
    manner = replace(asked.manner, plan=replace(asked.manner.plan, seed=seed, samples=0))
    try:
        subject = with_head(subject, asked.head)
        run = fitted(subject, None, manner)
    except KeyboardInterrupt:
        return replace(base, partial=True)
    except (ProbeError, TraceError) as error:
        return replace(base, problem=error.message)
    except RuntimeError as error:  # torch's word for what a device or a format cannot do
        return replace(base, problem=str(error).splitlines()[0][:160])
    if run.partial:
        return replace(base, partial=True)
    start = "unit RMS at the outputs" if run.machine.graph.loss is None else HEADS[asked.head]
    base = replace(base, readings=_initial(run), dtype=str(run.dtype).removeprefix("torch."), cotangent=start, notes=run.notes)
    return _moved(base, subject, run.machine, asked, manner.plan)


def _initial(run: Fitted) -> Readings:
    nodes, params = node_measured(run.found), param_measured(run.machine, run.found)
    ends = module_outputs(run.machine.graph)
    gradients = {module: nodes[end].gradient for module, end in ends.items() if end in nodes}
    return {
        "activation": {module: nodes[end].rms.middle for module, end in ends.items() if end in nodes},
        "gradient": {module: found.middle for module, found in gradients.items() if found is not None},
        "sensitivity": {name: found.sensitivity.middle for name, found in params.items()},
    }


def _moved(base: Point, subject: Subject, machine: Machine, asked: Asked, plan: Plan) -> Point:
    """The point with the change of the outputs, or with the reason why none was measured."""
    if not asked.steps:
        return base
    training = training_of(subject, machine.graph, asked.said)
    if not training.optimizers:
        return replace(base, notes=(*base.notes, UNTRAINED))
    try:
        found = changes(machine, stepped(machine, subject, training, asked.steps, plan), plan.seed)
    except KeyboardInterrupt:
        return replace(base, partial=True)
    except ProbeError as error:
        return replace(base, problem=f"no step was made: {error.message}; {error.hint}")
    except (MemoryError, RuntimeError) as error:
        lines = str(error).splitlines()
        return replace(base, problem=f"no step was made: {lines[0][:160] if lines else 'out of memory'}")
    return replace(base, readings={**base.readings, "change": found}, training=training.title)


def changes(before: Machine, after: Machine, seed: int) -> Mapping[str, float]:
    """log10 RMS of the difference between two machines at the output of every module, on the same batch, with the same draws."""
    ends = module_outputs(before.graph)
    old, new = (_values(machine, seed) for machine in (before, after))
    return {module: log(norm(new[end] - old[end]) / sqrt(max(old[end].numel(), 1))) for module, end in ends.items()}


def _values(machine: Machine, seed: int) -> Mapping[str, torch.Tensor]:
    """What every module puts out."""
    ends = tuple(dict.fromkeys(module_outputs(machine.graph).values()))
    with torch.no_grad():
        return forward(replace(machine, graph=replace(machine.graph, outputs=ends, loss=None)), {}, seed=seed)


def module_outputs(graph: Graph) -> Mapping[str, str]:
    """By the path of a module the last floating value made in it: by its own ``forward`` or by a module inside.

    Of a call with several results it is the first. A module that ends with one inside it is not listed beside that one, and what only
    the loss is made of is left out.
    """
    kept = _behind(graph, graph.outputs or graph.heads)
    ends: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in LEAVES or not node.is_float or node.name not in kept or node.name == graph.loss:
            continue
        own = node.where.module
        later = "output" in node.args and ends.get(own, "").rpartition(".")[0] == node.name.rpartition(".")[0]
        ends[own] = ends[own] if later else node.name
        ends |= {module: ends[own] for module in ends if _is_inside(own, module)}
    order = {node.name: place for place, node in enumerate(graph.nodes)}
    inner = {module for module, end in ends.items() if any(ends[other] == end and _is_inside(other, module) for other in ends)}
    return {module: ends[module] for module in sorted(ends.keys() - inner, key=lambda module: order[ends[module]])}


def _is_inside(module: str, other: str) -> bool:
    return module != other and (not other or module.startswith(f"{other}."))


def _behind(graph: Graph, results: Sequence[str]) -> frozenset[str]:
    """The nodes that some results are made of, those included."""
    found = set(results)
    for node in reversed(graph.nodes):
        if node.name in found:
            found.update(needed(node))
    return frozenset(found)
