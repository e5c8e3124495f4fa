"""A case run as a probe runs a model: every proved bound held against sizes and gains that were measured without a Jacobian matrix."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from netaudit.facts import LEAVES
from netaudit.flow import flow
from netaudit.intake.lower import Lowered
from netaudit.probe.heads import cotangents
from netaudit.probe.held import held
from netaudit.probe.machine import machine_of, sweep
from netaudit.probe.sizes import Gauge
from netaudit.testing.case import Applied

PAIRS = 20
SAMPLES = 2


def refuted(op: Applied, *, seed: int = 0) -> Iterator[str]:
    """Every bound that does not hold at the case's own point: of a gain, of a range, of a gradient."""
    tensors = {node.name: op.allowed(node.name, op.tensors[node.name]) for node in op.facts.graph.nodes if node.op in LEAVES}
    machine = machine_of(Lowered(op.facts.graph, tensors), torch.device("cpu"))
    watch = Gauge(SAMPLES, frozenset(op.facts.effects), PAIRS, seed)
    sweep(machine, cotangents(machine, seed), watch, seed=seed, points=watch.climbed)
    yield from (f"{op.case.id}: {text}" for text in held(op.facts, flow(op.facts), [watch.read()], machine.graph).violations)
