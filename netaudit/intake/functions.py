"""Custom ``autograd.Function``s: whose backward is user code that no trace shows, and whether it was seen to be a derivative."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._python_dispatch import _disable_current_modes

from netaudit.graph import CUSTOM_FUNCTION, SAMPLED_BACKWARD

LARGEST = 8
"""Sizes are cut down to this before sampling: equal ones stay equal, so that what broadcasts or contracts still does."""
SCALE = 2.0
TOLERANCE = 1e-3
"""Relative to the largest entry: constants are often written with few digits, a forecast needs no more."""


@contextlib.contextmanager
def marked_functions() -> Iterator[None]:
    """Annotate every call made inside a custom autograd.Function with the function's name, and whether its backward was sampled.

    The forwards are wrapped, not ``apply``: code that keeps ``f = Function.apply`` must not get past.
    """
    sampled: dict[type[Function], bool] = {}
    originals = {cls: cls.__dict__["forward"] for cls in _subclasses(Function) if isinstance(cls.__dict__.get("forward"), staticmethod)}
    for cls, forward in originals.items():
        cls.forward = staticmethod(_annotated(cls, forward.__func__, sampled))  # type: ignore[method-assign]  # undone below
    try:
        yield
    finally:
        for cls, forward in originals.items():
            cls.forward = forward  # type: ignore[method-assign]  # what was there


def _subclasses(cls: type[Function]) -> Iterator[type[Function]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _annotated(cls: type[Function], forward: Any, sampled: dict[type[Function], bool]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if cls not in sampled:
            sampled[cls] = True  # while it is sampled, its own calls ask no more
            sampled[cls] = not kwargs and backward_is_derivative(cls, forward, args if _sets_up_context(cls) else args[1:])
        with torch.fx.traceback.annotate({CUSTOM_FUNCTION: cls.__name__, SAMPLED_BACKWARD: sampled[cls]}):
            return forward(*args, **kwargs)

    return call


def _sets_up_context(cls: type[Function]) -> bool:
    """Whether the forward takes no ctx."""
    return cls.setup_context is not Function.setup_context


class _Context:
    """Stands for the ctx of a forward that is differentiated by autograd instead."""

    needs_input_grad = (True,) * 64

    def save_for_backward(self, *_: object) -> None:
        """Nothing is saved."""

    def mark_non_differentiable(self, *_: object) -> None:
        """Autograd finds out by itself."""


def backward_is_derivative(function: type[Function], forward: Any, args: Sequence[Any]) -> bool:
    """Whether the function's backward gave the derivative of its forward, MEASURED on normal random points of seed 0 in float64.

    Straight-through estimators, clipped or scaled gradients differ. False when it cannot be run alone.
    """
    try:
        with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(0)
            plain = forward if _sets_up_context(function) else lambda *given: forward(_Context(), *given)
            given, expected = (_gradients(run, args) for run in (function.apply, plain))
    except Exception:  # user code, run outside its place: whatever it raises, nothing was learnt
        return False
    return all(
        a is not None and b is not None and float((a - b).abs().max()) <= TOLERANCE * float(b.abs().max())
        for a, b in zip(given, expected, strict=True)
    )


def _gradients(run: Any, args: Sequence[Any]) -> tuple[Tensor | None, ...]:
    """The gradients of all float arguments for one random cotangent; the same points at every call."""
    generator = torch.Generator().manual_seed(0)
    points = [_point(a, generator) for a in args]
    floats = [p for p in points if isinstance(p, Tensor)]
    y = run(*points)
    (y,) = y if isinstance(y, tuple) else (y,)
    cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return torch.autograd.grad(y, floats, cotangent, allow_unused=True)


def _point(arg: Any, generator: torch.Generator) -> Any:
    if not isinstance(arg, Tensor):
        return arg
    if not arg.is_floating_point():
        raise TypeError("only float tensors are sampled")
    shape = [min(int(n), LARGEST) for n in arg.shape]
    return (SCALE * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
