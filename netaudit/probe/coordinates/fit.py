"""How sizes grow with a number: names matched between models of several sizes, medians over seeds, a line through logarithms."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import isfinite, log10, sqrt
from statistics import fmean

from netaudit.measured import LAST, Slope


def slope(values: Sequence[float], sizes: Sequence[float | None]) -> Slope | None:
    """The least-squares slope of log10 sizes against log10 of the values, with its standard error.

    ``e = sum (x - mean x)(y - mean y) / sum (x - mean x)^2``; its error is the root of the residual sum of squares over
    ``(n - 2) sum (x - mean x)^2``, that of noise which is alike for all values. Sizes that are zero, not finite or not measured are
    left out; None where fewer than two different values are left.
    """
    known = [(log10(value), size) for value, size in zip(values, sizes, strict=True) if size is not None and isfinite(size)]
    if len({x for x, _ in known}) < 2:
        return None
    middle, height = fmean(x for x, _ in known), fmean(y for _, y in known)
    width = sum((x - middle) ** 2 for x, _ in known)
    exponent = sum((x - middle) * (y - height) for x, y in known) / width
    if len(known) == 2:
        return Slope(exponent, None)
    left = sum((y - height - exponent * (x - middle)) ** 2 for x, y in known)
    return Slope(exponent, sqrt(left / (len(known) - 2) / width))


def matched(names: Sequence[Collection[str]]) -> tuple[Sequence[Mapping[str, str]], int]:
    """For every model the names by a label that all models have, and how many names have none.

    A name is its own label. Where a numbered stack has another length in another model, its last member is ``body.last``, and an
    index that is the last one in any of the models stands for nothing else.
    """
    stacks = _stacks(names)
    found = [{label: name for name in one if (label := _label(name, index, stacks)) is not None} for index, one in enumerate(names)]
    common = [label for label in found[0] if all(label in one for one in found)] if found else []
    lost = sum(len(one) - len(common) for one in names)
    return [{label: one[label] for label in common} for one in found], lost


def _stacks(names: Sequence[Collection[str]]) -> Mapping[str, Sequence[int]]:
    """The last index in every model, by the path of the stack, where it is not everywhere the same."""
    tops: dict[str, dict[int, int]] = {}
    for model, one in enumerate(names):
        for path, index in (pair for name in one for pair in _indices(name)):
            ends = tops.setdefault(path, {})
            ends[model] = max(index, ends.get(model, 0))
    return {
        path: [ends[i] for i in range(len(names))] for path, ends in tops.items() if len(ends) == len(names) and len({*ends.values()}) > 1
    }


def _indices(name: str) -> Iterator[tuple[str, int]]:
    """The path of every numbered stack that a name goes through, and the number."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            yield ".".join(parts[:place]), int(part)


def _label(name: str, model: int, stacks: Mapping[str, Sequence[int]]) -> str | None:
    parts = name.split(".")
    label = list(parts)
    for place, part in enumerate(parts):
        tops = stacks.get(".".join(parts[:place])) if part.isdigit() else None
        if tops is None:
            continue
        if int(part) == tops[model]:
            label[place] = LAST
        elif int(part) in tops:
            return None
    return ".".join(label)
