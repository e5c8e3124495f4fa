"""What Python is given: the report, the certificate and the forecast as values that know how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import inf
from typing import TYPE_CHECKING

from netaudit import finding
from netaudit.claims import error_of
from netaudit.errors import ConfigError, NetauditError, did_you_mean
from netaudit.finding import SEVERITIES, Finding, Severity
from netaudit.report import certificate, text
from netaudit.report import forecast as forecasted
from netaudit.report.html import notebook
from netaudit.report.style import Style

if TYPE_CHECKING:  # torch stays out of this room
    from netaudit.certify import Ball
    from netaudit.certify import Certified as Certificate


class FindingsError(NetauditError):
    """A report has findings that must not be, or is not of the whole model. ``report`` is the whole of it."""

    exit_code = 1

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(f"{message}\n\n{report}")
        self.report = report


@dataclass(frozen=True, slots=True)
class Report(finding.Report):
    """The report of an audit; ``str(report)`` is what a terminal shows, and a notebook shows it drawn."""

    @property
    def ok(self) -> bool:
        """Whether everything was checked and there is no finding at warning or above: what ``netaudit check`` calls success."""
        return not self.incomplete and not self.at_least("warning")

    def at_least(self, level: Severity) -> tuple[Finding, ...]:
        """The findings of this severity or a worse one.

        Raises:
            NetauditError: there is no such severity.
        """
        counted = SEVERITIES[: SEVERITIES.index(level_of(level)) + 1]
        return tuple(f for f in self.findings if f.severity in counted)

    def raise_for_findings(self, level: Severity = "error", *, incomplete: bool = True) -> None:
        """Raise if there are findings at this level or above, or if not everything was checked (unless ``incomplete`` is False).

        Raises:
            FindingsError: there are; it has the report, and its message is the report as text.
        """
        found = self.at_least(level)
        if found:
            above = "" if level == "error" else " or above"
            raise FindingsError(f"netaudit: {len(found)} {'finding' if len(found) == 1 else 'findings'} at {level}{above}", self)
        if incomplete and self.incomplete:
            raise FindingsError("netaudit: not wholly checked", self)

    def text(self, *, full: bool = False, width: int = 80) -> str:
        """The report as a terminal shows it; ``full`` elides nothing."""
        return text.render(self, Style(width=width, full=full))

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return notebook(self)


def level_of(word: str) -> Severity:
    """A severity by name.

    Raises:
        ConfigError: it is none.
    """
    found = next((one for one in SEVERITIES if one == word), None)
    if found is None:
        raise ConfigError(f"the level {word!r} is not one of {', '.join(SEVERITIES)}", did_you_mean(str(word), SEVERITIES))
    return found


def _pre(shown: str) -> str:
    return f"<pre>{escape(shown)}</pre>"


@dataclass(frozen=True, slots=True)
class ParameterForecast:
    """The forecast of one parameter.

    ``log10_grad_rms``: log10 of the RMS of its gradient; ``log10_sensitivity``: of ``S = ||W||_F ||G||_F``, the change of the loss for a
    100 % change of the parameter. None is unknown, -inf exactly zero. ``error``: both are forecast to within ``10**error``. ``flags``:
    what is remarkable (``vanishing``, ``exploding``, ``zero``, ``frozen``, ...), and what thins the assumptions. ``log10_measured``: what
    one real pass gave for the gradient, None where none was asked for.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    log10_grad_rms: float | None
    log10_sensitivity: float | None
    error: float
    flags: tuple[str, ...]
    log10_measured: float | None = None

    @property
    def grad_rms(self) -> float | None:
        """The RMS of the gradient as a number, None if unknown. Below 1e-308 a float has no digits left: see the logarithm."""
        return _power(self.log10_grad_rms)

    @property
    def sensitivity(self) -> float | None:
        """``S`` as a number, None if unknown."""
        return _power(self.log10_sensitivity)


def _power(log: float | None) -> float | None:
    """``10^log``; the smallest or largest float where it has none, so that only what is exactly zero reads 0."""
    if log is None:
        return None
    return 0.0 if log == -inf else 10.0 ** min(max(log, -307.0), 308.0)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a model: ``forecast["stem.weight"].grad_rms``, or all of ``params``. ``details``: facts and flow, node by node."""

    details: forecasted.Forecast

    @property
    def params(self) -> Mapping[str, ParameterForecast]:
        """The forecast of every parameter, by name, in the order of the model."""
        return {name: self._of(name) for name in self.details.facts.graph.params}

    def __getitem__(self, name: str) -> ParameterForecast:
        for key, info in self.details.facts.graph.params.items():
            if name in (key, *info.names):
                return self._of(key)
        close = did_you_mean(name, self.details.facts.graph.params)
        raise KeyError(f"there is no parameter {name!r}" + (f": {close}" if close else ""))

    def _of(self, name: str) -> ParameterForecast:
        found, info = self.details, self.details.facts.graph.params[name]
        measured = next((found.measured[n] for n in info.names if n in found.measured), None) if found.measured else None
        return ParameterForecast(
            name=name,
            shape=info.shape,
            trainable=info.trainable,
            log10_grad_rms=found.flow.params[name].forecast,
            log10_sensitivity=found.flow.sensitivity(name),
            error=error_of(found.flow, name),
            flags=forecasted.flags(found, name),
            log10_measured=measured,
        )

    @property
    def cotangent(self) -> str:
        """Where the gradient starts."""
        return self.details.cotangent

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of how the model was traced."""
        return self.details.notes

    def __str__(self) -> str:
        return forecasted.text(self.details, full=True)

    def _repr_html_(self) -> str:
        return _pre(str(self))


@dataclass(frozen=True, slots=True)
class Certified:
    """The certificate of a model, logarithms to base 10. ``details``: segments and calls, one by one."""

    target: str
    details: Certificate
    ball: Ball | None

    @property
    def log10_bound(self) -> float:
        """PROVED: no two inputs are mapped further apart than this times their distance. inf if unbounded, or if an op is unknown."""
        return self.details.bound.log10

    @property
    def log10_composition(self) -> float:
        """PROVED, by the product of the norms of the calls alone."""
        return self.details.bound.composition

    @property
    def log10_attained(self) -> float:
        """MEASURED: a gain that was found, so that no smaller bound is true."""
        return self.details.measured

    @property
    def log10_local_bound(self) -> float | None:
        """PROVED in the ball around the inputs; None without one."""
        return None if self.details.local is None else self.details.local.log10

    @property
    def log10_local_attained(self) -> float | None:
        """MEASURED in the ball."""
        return self.details.local_measured

    @property
    def unknown(self) -> tuple[str, ...]:
        """The calls of which nothing is known: while there are any, there may be a bound that was not found."""
        return self.details.bound.unknown

    def __str__(self) -> str:
        return certificate.text(self.target, self.details, self.ball, full=False)

    def _repr_html_(self) -> str:
        return _pre(str(self))
