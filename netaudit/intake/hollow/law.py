"""The distribution that a parameter without values is initialised with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from netaudit.moments import Moments
from netaudit.signal import Interval


@dataclass(frozen=True, slots=True)
class Law:
    """What is known of a parameter that holds no values.

    ``moments`` are MODELLED: independent entries of one distribution, or the kernel of the very values if it was made from a
    tensor that had some. ``range`` is PROVED, for every draw. ``reason`` says why the moments are unknown (None);
    ``broken`` that NaN or infinity was drawn.
    """

    moments: Moments | None = None
    range: Interval = Interval()
    reason: str = ""
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """The parameters of a model that hold no values, by name: the laws they are initialised with, and the file that has them.

    ``stored`` loads one tensor whenever it is asked for one.
    """

    laws: Mapping[str, Law] = field(default_factory=dict)
    stored: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of it."""
        if not self.laws:
            return ()
        if self.stored:
            return ("built on meta: weights were read from the checkpoint one by one",)
        unknown: dict[str, list[str]] = {}
        for name, law in self.laws.items():
            if law.reason:
                unknown.setdefault(law.reason, []).append(name)
        said = [f"built on meta: {reason}: {_listed(names)} unknown" for reason, names in unknown.items()]
        return ("built on meta: no weights, so no certified norms; forecasts use the init distribution", *said)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return names[0] + more
