"""NA614."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from netaudit import Audit, Optimizer, Remark, Remedy, Schedule, check
from netaudit_rules.checks.optimiser.common import place

ZERO = 1e-5
"""The share of the peak that counts as nothing: three step decays by 10 stay a hundred times above it."""
WASTED = 0.1
"""The share of the training that may pass at such a rate."""
LOW, HIGH = 0.1, 0.5
"""A schedule that falls below a tenth of its peak has decayed; one that ends above half of it has not."""
Points: TypeAlias = tuple[tuple[int, float], ...]
EPOCHS = 1000
"""Nobody trains for more epochs: a scheduler that does something at a later step is stepped once an update."""


@check("NA614", severity="warning", needs={"training"})
def inconsistent_schedule(audit: Audit) -> Iterator[Remark]:
    """The learning rate over time does not fit the length of the training.

    Why:
        A warm-up that is longer than the training never reaches its peak; a cosine with a T_max below the number of updates
        rises again at the end; an exponential meant for epochs is at zero after a few hundred updates; OneCycleLR raises behind
        its last step.

    How it is found:
        The schedule is replayed without training, and looked at: does it raise, reach its peak, stay at nothing (1e-5 of the
        peak) for more than a tenth of the updates, climb back gradually to half of its peak after having been below a tenth (a
        restart jumps, a cyclic schedule climbs many times), or end before it decayed. Notes, where it depends on whether the
        scheduler is stepped once an update and that is not said by schedule-steps.

    Flagged:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3)

        def scheduler(optimizer):
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6000)

        def training_setup():
            return {"steps": 10_000}
        ```

    Clean:
        ```python
        import torch
        from torch import nn

        def build():
            return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

        def example_inputs():
            return torch.randn(8, 16)

        def optimizer(model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3)

        def scheduler(optimizer):
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10_000)

        def training_setup():
            return {"steps": 10_000}
        ```

    References:
        PyTorch documentation of torch.optim.lr_scheduler, CosineAnnealingLR and OneCycleLR.
    """
    steps = audit.training.steps
    seen: set[Schedule] = set()
    for optimizer in audit.training.optimizers:
        for group in optimizer.groups:
            if steps is not None and group.schedule is not None and group.schedule not in seen:
                seen.add(group.schedule)
                problem = _problem(group.schedule, steps)
                if problem is not None:
                    yield _remark(optimizer, group.schedule, steps, problem, len(seen))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a schedule, what to do, and the update from which on it is so."""

    key: str
    text: str
    remedy: str
    start: int


def _remark(optimizer: Optimizer, schedule: Schedule, steps: int, problem: Problem, number: int) -> Remark:
    settled = problem.key in ("raises", "warm-up", "early") or problem.start > EPOCHS
    rates = ", ".join(f"{schedule.at(round(steps * k / 4)):.2g}" for k in range(5))
    told = f"lr at 0, 1/4, 1/2, 3/4 and the end of {steps} updates: {rates}"
    return Remark(
        message=problem.text,
        where=place(optimizer),
        severity="warning" if settled and problem.key != "early" else "info",
        reason=told if settled else f"{told}\nthe scheduler is taken to be stepped once an update",
        help=(Remedy(problem.remedy if settled else "say with schedule-steps how often it is stepped, if not once an update"),),
        key=f"{problem.key} {number}",
    )


def _problem(schedule: Schedule, steps: int) -> Problem | None:
    """The first thing that is wrong: it hides the rest."""
    if schedule.broken and schedule.known < steps:
        text = f"the scheduler raises after {schedule.known} of {steps} updates: {schedule.broken}"
        return Problem("raises", text, f"make it {steps} updates long", schedule.known)
    if schedule.known < steps:
        return None  # not replayed to the end: nothing is known of it
    if schedule.warmup >= steps:
        text = f"the warm-up is still going on when the training ends after {steps} updates"
        return Problem("warm-up", text, "make it a few percent of the training", steps)
    points = tuple((step, lr) for step, lr in schedule.points if step <= steps)
    zero = _nothing_from(points, ZERO * schedule.peak)
    if steps - zero > WASTED * steps:
        return Problem(
            "zero", f"the learning rate is nothing from update {zero} of {steps} on", f"spread the decay over {steps} updates", zero
        )
    rise = _rises_from(points, schedule.peak)
    if rise is not None:
        return Problem("rises", f"the learning rate rises again from update {rise} of {steps} on", f"T_max = {steps}", rise)
    if _is_cut(points, schedule.peak):
        text = f"the training ends before the learning rate has decayed, at {points[-1][1] / schedule.peak:.0%} of its peak"
        return Problem("early", text, f"T_max = {steps}", steps)
    return None


def _nothing_from(points: Points, limit: float) -> int:
    """The update from which the learning rate stays at or below a limit; the last one when it does not."""
    above = [k for k, (_, lr) in enumerate(points) if lr > limit]
    if not above:
        return 0
    return points[min(above[-1] + 1, len(points) - 1)][0]


def _rises_from(points: Points, top: float) -> int | None:
    """Where a decayed learning rate turns and climbs to the end, gradually and for the first time: T_max is too short."""
    peak = next(step for step, lr in points if lr == top)
    valley, low = min((p for p in points if p[0] >= peak), key=lambda p: p[1])
    if low > LOW * top or points[-1][1] < HIGH * top:
        return None
    climbs = [b - a for (a, x), (b, y) in pairwise(points) if a >= peak and x < HIGH * top <= y]
    restarts = any(b - a <= 1 and y - x > HIGH * top for (a, x), (b, y) in pairwise(points) if a >= valley)
    return valley if len(climbs) == 1 and not restarts else None


def _is_cut(points: Points, top: float) -> bool:
    """Whether it has only fallen since its peak, is still falling at the end, and is still high."""
    peak = next(step for step, lr in points if lr == top)
    since = [lr for step, lr in points if step >= peak]
    return len(since) > 1 and all(y <= x for x, y in pairwise(since)) and since[-1] < since[-2] and since[-1] > HIGH * top
