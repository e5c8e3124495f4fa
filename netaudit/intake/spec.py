"""The grammar of an input: ``x=f32[8,3,224,224]``, ``ids=i64[2,128]<50257>``, ``f32[]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from netaudit.errors import TargetError, did_you_mean
from netaudit.intake.usercode import one_line

DTYPES = {
    "f32": torch.float32,
    "f64": torch.float64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "c64": torch.complex64,
    "c128": torch.complex128,
    "i64": torch.int64,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
}
# What people write first: torch's and numpy's own words.
_ALIASES = {
    "float": "f32",
    "double": "f64",
    "half": "f16",
    "cfloat": "c64",
    "long": "i64",
    "int": "i32",
    "short": "i16",
    "byte": "u8",
    **{str(dtype).removeprefix("torch."): word for word, dtype in DTYPES.items() if word != "bool"},
}
BOUND = 10  # of integers when none is given: small enough for nearly every table that they may index
_EXAMPLES = "write it like x=f32[8,32], ids=i64[2,128]<50257> (upper bound, exclusive) or, by position, f32[8,32]"
_COUNT = re.compile(r"0*[1-9][0-9]{0,18}")  # no more digits than an i64 has
_SPEC = re.compile(r"(?:(?P<name>[^=]*)=)?(?P<dtype>\w+)\[(?P<shape>[^\]]*)\](?:<(?P<bound>[^>]*)>)?")


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor to be drawn: floats and complex from N(0, 1), integers uniformly from ``[0, bound)``, booleans fairly.

    ``name`` is empty for an input by position; ``bound`` is None for ``BOUND``, and for what is not an integer.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bound: int | None = None

    def __str__(self) -> str:
        """The specification as it is typed: ``parse_spec`` reads it back."""
        bound = "" if self.bound is None else f"<{self.bound}>"
        return f"{self.name}{'=' if self.name else ''}{self.dtype}[{','.join(map(str, self.shape))}]{bound}"


def parse_spec(text: str) -> Spec:
    """Read one input specification; spaces do not count.

    Raises:
        TargetError: the text is no specification, or a part of it is not valid.
    """
    match = _SPEC.fullmatch("".join(text.split()))
    if match is None:
        raise TargetError(f"{text!r} is not an input", _EXAMPLES)
    name, dtype = match["name"], match["dtype"]
    if name is not None and not name.isidentifier():
        raise TargetError(f"{name!r} in {text!r} cannot be the name of an argument", _EXAMPLES)
    if dtype not in DTYPES:
        close = f"did you mean {_ALIASES[dtype]!r}?" if dtype in _ALIASES else did_you_mean(dtype, DTYPES)
        raise TargetError(f"{dtype!r} in {text!r} is not a dtype", f"{close} known: {', '.join(DTYPES)}".strip())
    return Spec(name or "", dtype, _shape(match["shape"], text), _bound(match["bound"], dtype, text))


def parse_specs(texts: Sequence[str]) -> tuple[Spec, ...]:
    """Read several, in order.

    Raises:
        TargetError: one is not valid, or a name is given twice.
    """
    specs = tuple(parse_spec(text) for text in texts)
    names = [spec.name for spec in specs if spec.name]
    for name in names:
        if names.count(name) > 1:
            raise TargetError(f"the input {name!r} is given twice", "give each argument of forward() once")
    return specs


def draw(specs: Sequence[Spec], seed: int) -> tuple[torch.Tensor, ...]:
    """The tensors, on the CPU; the same seed and specifications always give the same ones.

    Raises:
        TargetError: they do not fit into memory.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for spec in specs:
        try:
            tensors.append(_tensor(spec, generator))
        except RuntimeError as error:
            raise TargetError(f"{str(spec)!r} cannot be made: {one_line(str(error))}", "give smaller sizes") from error
    return tuple(tensors)


def word(dtype: torch.dtype) -> str:
    """The word of the grammar for a dtype; ``f32`` for one that it has no word for."""
    return next((word for word, known in DTYPES.items() if known is dtype), "f32")


def _tensor(spec: Spec, generator: torch.Generator) -> torch.Tensor:
    dtype = DTYPES[spec.dtype]
    if dtype is torch.bool:
        return torch.randint(0, 2, spec.shape, generator=generator).bool()
    if dtype.is_floating_point:
        # Drawn wide and narrowed, so that f16 and f32 of one seed are the same numbers.
        return torch.randn(spec.shape, generator=generator, dtype=torch.float64).to(dtype)
    if dtype.is_complex:
        return torch.randn(spec.shape, generator=generator, dtype=torch.complex128).to(dtype)
    return torch.randint(0, spec.bound or BOUND, spec.shape, generator=generator).to(dtype)


def _shape(text: str, whole: str) -> tuple[int, ...]:
    sizes = text.split(",") if text else []
    for size in sizes:
        if not _COUNT.fullmatch(size):
            raise TargetError(f"{size!r} in {whole!r} is not a size: sizes are positive integers", _EXAMPLES)
    return tuple(int(size) for size in sizes)


def _bound(text: str | None, dtype: str, whole: str) -> int | None:
    if text is None:
        return None
    kind = DTYPES[dtype]
    if kind is torch.bool or kind.is_floating_point or kind.is_complex:
        raise TargetError(f"{dtype} in {whole!r} takes no bound: only integers do", _EXAMPLES)
    most = min(torch.iinfo(kind).max + 1, torch.iinfo(torch.int64).max)  # the bound itself is passed as an i64
    if not _COUNT.fullmatch(text) or int(text) > most:
        raise TargetError(f"the bound {text!r} in {whole!r} is not an integer from 1 to {most}", _EXAMPLES)
    return int(text)
