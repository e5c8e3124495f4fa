"""From a subject to its certificate: trace without the loss, one sample, tight norms, the bound, and what of it is attained."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch.utils._pytree as pytree
from torch import Tensor

from netaudit.cache.proofs import Proofs
from netaudit.certify.ball import Ball
from netaudit.certify.lower import largest_gain
from netaudit.certify.network import NetworkBound, certify
from netaudit.certify.plan import Live, live_part
from netaudit.clock import Clock
from netaudit.errors import TraceError
from netaudit.facts import Facts, derive
from netaudit.intake.lower import Lowered, lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.uses import Certifying
from netaudit.intake.weights import Assumed, leaves, named_ranges
from netaudit.pack import Catalog
from netaudit.signal import Interval, Signal, down, up

SHARE = 0.3
"""The time to look for what is attained, as a share of that for the bound."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the model's mode, ranges that the user vouches for, a ball for the local bound, time for each search.

    ``proofs``: certified norms of earlier runs.
    """

    mode: Literal["train", "eval"] = "eval"
    ranges: Mapping[str, Interval] = field(default_factory=dict)
    ball: Ball | None = None
    seconds: float = 10.0
    seed: int = 0
    proofs: Proofs = Proofs()


@dataclass(frozen=True, slots=True)
class Certified:
    """The bounds of one subject; ``measured`` is log10 of the largest gain found, a lower bound; None without a ball.

    ``seconds``: CPU time by stage.
    """

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    bound: NetworkBound
    measured: float
    local: NetworkBound | None
    local_measured: float | None
    facts: Facts
    notes: tuple[str, ...]
    mode: str
    seed: int
    seconds: Mapping[str, float]


def certify_subject(subject: Subject, catalog: Catalog, request: Request) -> Certified:
    """The certificate of a model from its inputs to its outputs.

    Raises:
        TraceError: the model could not be traced.
    """
    clock = Clock(time.process_time)
    subject, lowered, notes = _one_sample(replace(subject, loss=None), request.mode)
    clock.lap("trace")
    assumed = Assumed(guessed=True, ranges=named_ranges(lowered.graph, request.ranges))
    known = leaves(lowered, assumed, Certifying("tight", request.proofs))
    facts = derive(lowered.graph, known, catalog)
    part = live_part(facts, lowered.tensors)
    clock.lap("facts")
    bound = certify(part, seconds=request.seconds)
    clock.lap("bound")
    measured = largest_gain(part, ball=None, seconds=SHARE * request.seconds, seed=request.seed)
    clock.lap("attained")
    local, local_measured = None, None
    if request.ball is not None:
        signals = {**known.signals, **_in_ball(known.signals, part, request.ball)}
        near = live_part(derive(lowered.graph, replace(known, signals=signals), catalog), lowered.tensors)
        local = certify(near, ball=request.ball, seconds=request.seconds)
        clock.lap("local")
        local_measured = largest_gain(near, ball=request.ball, seconds=SHARE * request.seconds, seed=request.seed)
    shown = tuple((n.name, n.dtype, n.shape) for n in lowered.graph.nodes if n.op == "input")
    said = (*lowered.graph.notes, *notes)
    return Certified(shown, bound, measured, local, local_measured, facts, said, request.mode, request.seed, clock.laps)


def _one_sample(subject: Subject, mode: str) -> tuple[Subject, Lowered, tuple[str, ...]]:
    """The subject on the first sample of its batch, when it has one and traces so; else as it is."""
    sizes = {t.shape[0] if t.ndim else None for t in pytree.tree_leaves((subject.args, dict(subject.kwargs))) if isinstance(t, Tensor)}
    if subject.program is None and len(sizes) == 1 and (size := sizes.pop()) is not None and size > 1:
        args, kwargs = pytree.tree_map(lambda t: t[:1] if isinstance(t, Tensor) else t, (subject.args, dict(subject.kwargs)))
        single = replace(subject, args=args, kwargs=kwargs)
        try:
            return (
                single,
                lower(trace(single, mode=mode), single),
                ("one sample of the batch: the map of a batch has the same constant where samples are not mixed",),
            )
        except TraceError:
            pass
    return subject, lower(trace(subject, mode=mode), subject), ()


def _in_ball(known: Mapping[str, Signal], part: Live, ball: Ball) -> dict[str, Signal]:
    """The sources' signals with the box around the ball as their proved range."""
    result = {}
    for name in part.sources:
        value = part.values[name]
        box = Interval(down(float(value.min()) - up(ball.radius)), up(float(value.max()) + up(ball.radius)))
        result[name] = Signal(part.facts.nodes[name].shape, box, None, known[name].moments if name in known else None)
    return result
