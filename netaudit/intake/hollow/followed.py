"""The samples of all storages without values, and how operators change them."""

from __future__ import annotations

from math import inf, isnan, nan

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from netaudit.intake.hollow import rules
from netaudit.intake.hollow.law import Law
from netaudit.intake.hollow.operation import Operation, is_hollow
from netaudit.intake.hollow.places import Places, Strided, scattered
from netaudit.intake.hollow.sample import COUNT, FEW, Entries, Sample
from netaudit.intake.hollow.storages import Storages
from netaudit.moments import known_array
from netaudit.signal import Interval


class ValuelessError(RuntimeError):
    """Code asked for the values of a parameter that has none."""


class Followed:
    """Samples by storage.

    The same places are taken of all storages of one size, so that entrywise operators meet samples of the same entries.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._samples: Storages[Sample] = Storages()
        self._fresh: Storages[None] = Storages()
        self._places: dict[int, Places] = {}

    def law(self, tensor: Tensor) -> Law:
        """The law of a parameter without values."""
        sample = self._samples.get(tensor)
        return Law(reason="it is made on the meta device") if sample is None else sample.law(tensor)

    # tensors with values ----------------------------------------------------------------------------------------------------

    def ran(self, call: Operation, result: object) -> None:
        """Remember which tensors with values were never written to: ``torch.empty`` draws no law."""
        for tensor in call.written:
            self._fresh.drop(tensor)
        if call.is_uninitialised and isinstance(result, Tensor):
            self._fresh.keep(result, None)

    def made_from(self, hollow: Tensor, real: Tensor) -> None:
        """Follow a tensor that takes the place of one with values."""
        places, index = self._places_in(hollow)
        if real in self._fresh:
            self._samples.keep(hollow, Sample(hollow.numel(), places, Entries.unknown(len(places), real.dtype, rules.UNINITIALISED)))
            return
        real = real.to(hollow.dtype)
        entries = _entries(real, tuple(real.shape), index)
        self._samples.keep(hollow, Sample(hollow.numel(), places, entries, exact=(Strided.of(hollow), _law_of(real))))

    def read_into(self, real: Tensor, call: Operation) -> Tensor:
        """Write entries of tensors without values into one with values: one draw of their law.

        Raises:
            ValuelessError: their law is unknown.
        """
        index = np.arange(real.numel(), dtype=np.int64)
        entries = self._evaluated(call, tuple(real.shape), index) if call.writes_entrywise(real) else None
        if entries is None or not entries.known.all():
            raise ValuelessError(f"{call} needs the values of a parameter that has none")
        self._fresh.drop(real)
        return real.copy_(entries.values.reshape(real.shape))

    # tensors without values -------------------------------------------------------------------------------------------------

    def created(self, call: Operation, result: Tensor, output: int = 0) -> None:
        """Follow a result of an operator, one of several, unless it is a view of something followed."""
        if self._samples.get(result) is None:
            places, index = self._places_in(result)
            self._samples.keep(result, Sample(result.numel(), places, self._new(call, result, output, index)))

    def written(self, tensor: Tensor, call: Operation) -> None:
        """Change the sample of a tensor that an operator wrote to."""
        sample, view = self._samples.get(tensor), Strided.of(tensor)
        if sample is None:
            return
        if tensor.dtype != sample.entries.values.dtype:
            self._samples.keep(tensor, sample.lost("its bits are written as another dtype"))
            return
        which, index = view.held(sample.places)
        share = min(view.count / max(sample.size, 1), 1.0)
        if not call.writes_entrywise(tensor):
            new = Entries.unknown(len(index), tensor.dtype, f"{call} is not followed")
            self._samples.keep(tensor, sample.written(which, new, share, inf))
            return
        source = call.args[1] if call.name == "copy" and share == 1.0 else None
        if isinstance(source, Tensor) and not is_hollow(source) and source.shape == tensor.shape:
            self.made_from(tensor, source)
            return
        few = share < 1.0 and len(index) < FEW
        if few:  # entries beside the sampled ones, to see how large what was written is
            index = np.concatenate([index, self._rng.integers(0, view.count, FEW)])
        new = self._evaluated(call, view.sizes, index)
        hidden = share * new.mean_square() if few else 0.0
        self._samples.keep(tensor, sample.written(which, new.take(np.arange(len(which))) if few else new, share, hidden))

    def _new(self, call: Operation, result: Tensor, output: int, index: Places) -> Entries:
        count = len(index)
        if call.factory:
            return rules.born(call, count, result.dtype, self._rng)
        if call.is_entrywise:
            return self._evaluated(call, tuple(result.shape), index)
        operand = call.args[0] if call.args and isinstance(call.args[0], FakeTensor) else None
        if operand is not None and call.name in rules.REDUCTIONS:
            joined = operand.numel() // max(result.numel(), 1)
            return rules.reduced(call, self._all(operand), joined, count, self._rng)
        if operand is not None and call.name == "linalg_qr" and operand.ndim == 2:
            if output == 0 and result.shape == operand.shape:
                return rules.orthogonal_factor(operand.shape[0], self._all(operand), count, self._rng)
            return Entries.unknown(count, result.dtype, f"{call} is not followed", signs=output == 1)
        signs = operand is not None and call.name == "diagonal_copy" and self._all(operand).signs
        return Entries.unknown(count, result.dtype, f"{call} is not followed", signs=signs)

    # samples ----------------------------------------------------------------------------------------------------------------

    def _evaluated(self, call: Operation, shape: tuple[int, ...], index: Places) -> Entries:
        def read(tensor: Tensor) -> Entries:
            if not isinstance(tensor, FakeTensor):
                return _entries(tensor, shape, index)
            sample = self._samples.get(tensor)
            if sample is None or tensor.dtype != sample.entries.values.dtype:
                return Entries.unknown(len(index), tensor.dtype, "it is computed from a tensor that is not followed")
            return sample.read(Strided.of(tensor).broadcast(shape), index, self._rng)

        return rules.evaluated(call, len(index), read, self._rng)

    def _all(self, tensor: Tensor) -> Entries:
        """All sampled entries of a tensor."""
        sample = self._samples.get(tensor)
        if sample is None or tensor.dtype != sample.entries.values.dtype:
            return Entries.unknown(1, tensor.dtype, "it is computed from a tensor that is not followed")
        which, _ = Strided.of(tensor).held(sample.places)
        return sample.entries.take(which) if len(which) else sample.entries

    def _places_in(self, tensor: Tensor) -> tuple[Places, Places]:
        """The places followed of a dense tensor with a storage of its own, and the numbers of the entries there."""
        size = tensor.numel()
        if size not in self._places:
            self._places[size] = scattered(size, COUNT, self._rng)
        which, index = Strided.of(tensor).held(self._places[size])
        return self._places[size][which], index


def _entries(real: Tensor, shape: tuple[int, ...], index: Places) -> Entries:
    """Entries of a tensor with values, broadcast to a shape; a number stays one."""
    real = real.detach()
    if real.ndim == 0:
        value = nan if real.is_complex() else float(real)
        return Entries(real, np.ones(len(index), dtype=np.bool_), Interval() if isnan(value) else Interval(value, value))
    places = torch.from_numpy(Strided.of(real).broadcast(shape).places(index))
    stored = real.as_strided((real.untyped_storage().nbytes() // real.element_size(),), (1,), 0)
    constant = real.numel() > 0 and bool((real == real.flatten()[0]).all())
    value = float(real.flatten()[0]) if constant else nan
    return Entries.drawn(stored[places], Interval(value, value) if constant else Interval(), noisy=not constant)


def _law_of(real: Tensor) -> Law:
    """The law of a tensor with values: these."""
    array = (real.float() if real.dtype in (torch.bfloat16, torch.float16) else real).numpy()
    if not np.isfinite(array).all():
        return Law(reason="it holds NaN or infinity", broken=True)
    return Law(known_array(array), Interval(float(array.min()), float(array.max())))
