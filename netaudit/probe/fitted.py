"""A graph that runs in the precision asked for and in the memory there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from netaudit.intake.lower import Lowered, lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.probe.batch import DTYPES, cast, dominant, halved
from netaudit.probe.machine import Machine, machine_of
from netaudit.probe.run import Plan, runs
from netaudit.probe.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Manner:
    """How a graph is run: where, in which precision (the model's own if None), in which mode, and how often."""

    device: torch.device
    dtype: str | None
    mode: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Fitted:
    """A machine that ran, what was seen, and in which precision; notes say what had to be done for it to run.

    ``same``: the batch and the precision are at least those of the analysis, so that its bounds hold.
    """

    machine: Machine
    found: Sequence[Sizes]
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
    same: bool = True
    partial: bool = False


def fitted(subject: Subject, lowered: Lowered | None, manner: Manner) -> Fitted:
    """Run a graph, in another precision if one is asked for, and with smaller and smaller batches until it fits.

    Raises:
        ProbeError: not even one sample fits, or the graph cannot be run.
        TraceError: the model is not traced in another precision, or with another batch.
    """
    own = dominant(subject.model)
    dtype = own if manner.dtype is None else DTYPES[manner.dtype]
    if dtype != own:
        subject, lowered = cast(subject, dtype), None
    notes: tuple[str, ...] = ()
    while True:
        lowered = lowered or lowered_of(subject, manner.mode)
        ran = _ran(lowered, manner)
        if ran is not None:
            machine, found, said, partial = ran
            return Fitted(machine, found, dtype, (*notes, *said), not notes and _at_least(dtype, own), partial)
        # outside of the handler: an exception holds the frames, and they the tensors, of what did not fit
        _let_go(manner.device)
        subject = halved(subject)
        lowered = lowered_of(subject, manner.mode)
        notes = (f"out of memory: the batch was halved, inputs are now {_shapes(lowered)}",)


def _ran(lowered: Lowered, manner: Manner) -> tuple[Machine, Sequence[Sizes], tuple[str, ...], bool] | None:
    """The machine, what was seen, what is to be said of it, whether it was interrupted; None where memory does not suffice."""
    try:
        machine = machine_of(lowered, manner.device)
        return machine, *runs(machine, manner.plan)
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):  # torch has no class for it on the CPU
            return None
        raise


def _let_go(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _at_least(dtype: torch.dtype, own: torch.dtype) -> bool:
    return torch.finfo(dtype).eps <= torch.finfo(own).eps


def lowered_of(subject: Subject, mode: str) -> Lowered:
    """The subject's graph."""
    return lower(trace(subject, mode=mode), subject)


def _shapes(lowered: Lowered) -> str:
    nodes = lowered.graph.by_name()
    return ", ".join(f"{name} {'x'.join(map(str, nodes[name].shape))}" for name in lowered.graph.inputs)
