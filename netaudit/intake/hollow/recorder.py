"""Building a model whose large parameters hold no values."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import erf, prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from netaudit.intake.hollow.followed import Followed, ValuelessError
from netaudit.intake.hollow.law import Law
from netaudit.intake.hollow.operation import Operation, is_hollow

SMALL = 1 << 14
"""Parameters up to this size keep their values: biases and scales, whose values the analysis can use."""
LARGEST = 1 << 26
"""Bytes up to which a tensor that is no parameter is real: tables, masks and positions are needed as values."""
_PATCHING = threading.RLock()


class Recorder(TorchDispatchMode):
    """While it is active, parameters above ``SMALL`` entries hold no values, whatever makes them.

    What is done to them is followed on a sample. Everything else is real as always: buffers, constants, small parameters.

    A parameter without values is a fake tensor on the CPU: it has a shape, a dtype and aliases, so it can be initialised,
    copied, tied and traced. Code that asks for its values gets a ``ValuelessError``.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stub
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._followed = Followed(seed)

    def laws(self, model: nn.Module) -> dict[str, Law]:
        """The law of every parameter of ``model`` that holds no values, under every name that it has."""
        named = model.named_parameters(remove_duplicate=False)
        return {name: self._followed.law(tensor) for name, tensor in named if is_hollow(tensor)}

    @contextmanager
    def building(self) -> Iterator[None]:
        """Build under this recorder; what it patches in torch is put back. Threads take turns."""
        with _PATCHING, warnings.catch_warnings(), _patched(self.hollowed), _SettingData(self.emptied), self:
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")  # copy.deepcopy asks for it
            yield

    def hollowed(self, tensor: Tensor) -> Tensor:
        """The tensor, or in place of a large one its shape, with a sample of its values."""
        return self.emptied(tensor) if _is_large(tensor) else tensor

    def emptied(self, tensor: Tensor) -> Tensor:
        """The shape of a tensor, with a sample of its values."""
        with _disable_current_modes(), self._mode:
            dense = torch.empty_permuted(tensor.shape, _layout(tensor), dtype=tensor.dtype)
        with _disable_current_modes():
            self._followed.made_from(dense, tensor.detach())
        return dense

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run an operator, and follow it where it meets tensors without values."""
        del types
        call = Operation(func, args, kwargs or {})
        if any(isinstance(leaf, FakeTensor) for leaf in pytree.arg_tree_leaves(*args, **call.kwargs)):
            return self._hollow(call)
        if call.factory and _is_huge(call):
            with self._mode:
                result = call.run()
            self._followed.created(call, result)
            return result
        result = call.run()
        if call.factory or call.is_mutable:
            self._followed.ran(call, result)
        return result

    def _hollow(self, call: Operation) -> Any:
        if call.is_asking:
            raise ValuelessError(f"{call} asks for the values of a parameter that has none")
        written = call.written
        real = next((tensor for tensor in written if not isinstance(tensor, FakeTensor)), None)
        if real is not None:
            return self._followed.read_into(real, call)
        result = call.run()
        for tensor in written:
            self._followed.written(tensor, call)
        for output, tensor in enumerate(pytree.tree_leaves(result)):
            if isinstance(tensor, FakeTensor):
                self._followed.created(call, tensor, output)
        return result


def _is_large(tensor: object) -> bool:
    return (
        isinstance(tensor, Tensor)
        and type(tensor) in (Tensor, nn.Parameter)
        and tensor.is_floating_point()
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.numel() > SMALL
    )


def _is_huge(call: Operation) -> bool:
    size, device = call.argument("size"), call.argument("device")
    dtype = call.argument("dtype") or torch.get_default_dtype()
    on_cpu = device is None or torch.device(device).type == "cpu"
    return on_cpu and isinstance(size, list | tuple) and prod(int(n) for n in size) * dtype.itemsize > LARGEST


def _layout(tensor: Tensor) -> list[int]:
    """The order of a tensor's axes in memory."""
    strides = tuple(tensor.stride())
    return sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))


# what is patched ----------------------------------------------------------------------------------------------------------


class _SettingData(TorchFunctionMode):
    """``parameter.data = tensor``, where one of the two holds no values."""

    def __init__(self, emptied: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._emptied = emptied

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Take the values off the right side where the left side has none."""
        del types
        if func == _SET_DATA and is_hollow(args[0]) != is_hollow(args[1]):
            if is_hollow(args[1]):
                raise ValuelessError("a parameter with values is set to one without")
            args = (args[0], self._emptied(args[1]))
        return func(*args, **(kwargs or {}))


_SET_DATA: Any = torch.Tensor.data.__set__  # type: ignore[attr-defined]  # a property of the C class


@contextmanager
def _patched(hollowed: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace what in torch would make, need or refuse tensors without values; everything is put back.

    ``nn.Parameter(...)`` takes the values off. ``Module.to`` and its like swap tensors, which torch refuses for these: the new
    storage is set instead. The truncated normal redraws until every entry lies in the interval; quantiles of the uniform
    distribution are mapped in place of it, which has the same law and asks for no value.
    """
    swap: Any = torch.utils.swap_tensors
    new, truncated = nn.Parameter.__dict__["__new__"], getattr(nn.init, "_no_grad_trunc_normal_", None)

    @functools.wraps(nn.Parameter.__new__)
    def parameter(cls: type, data: Any = None, requires_grad: bool = True) -> Any:
        return new.__func__(cls, hollowed(data) if cls is nn.Parameter else data, requires_grad)

    def swapped(left: Tensor, right: Tensor) -> None:
        if isinstance(left, FakeTensor) and isinstance(right, FakeTensor):
            left.data = right.detach()
        else:
            swap(left, right)

    def draw(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any = None) -> Tensor:
        if is_hollow(tensor) or truncated is None:
            return _truncated_normal(tensor, mean, std, a, b)
        result: Tensor = truncated(tensor, mean, std, a, b, generator)
        return result

    replaced: list[tuple[Any, str, Any, Any]] = [
        (nn.Parameter, "__new__", new, staticmethod(parameter)),
        (torch.utils, "swap_tensors", swap, swapped),
        *([(nn.init, "_no_grad_trunc_normal_", truncated, draw)] if truncated is not None else []),
    ]
    for place, name, _, ours in replaced:
        setattr(place, name, ours)
    try:
        yield
    finally:
        for place, name, theirs, _ in replaced:
            setattr(place, name, theirs)


def _truncated_normal(tensor: Tensor, mean: float, std: float, a: float, b: float) -> Tensor:
    """N(mean, std^2) on [a, b] by the inverse of its distribution function."""
    with torch.no_grad():
        low, high = (erf((end - mean) / (std * sqrt(2.0))) for end in (a, b))
        return tensor.uniform_(low, high).erfinv_().mul_(std * sqrt(2.0)).add_(mean).clamp_(a, b)
