"""What was measured, as models of the JSON report."""

from __future__ import annotations

from math import isfinite

from netaudit.measured import Calibration, Measured, Spread, Study

from . import schema
from .numbers import cell, outward


def node(found: Measured | None, name: str) -> schema.NodeMeasuredModel | None:
    """What a probe measured of a call; None when it did not."""
    if found is None or name not in found.nodes:
        return None
    one = found.nodes[name]
    gains = {
        operand: schema.GainModel(
            typical=outward(gain.typical, "measured"),
            error=_known(gain.error),
            largest=outward(gain.largest, "measured"),
            pairs=gain.pairs,
            converged=gain.converged,
        )
        for operand, gain in sorted(one.gains.items())
    }
    return schema.NodeMeasuredModel(
        rms=_spread(one.rms),
        largest=outward(one.largest, "measured"),
        zeros=round(one.zeros, 6),
        gradient_rms=None if one.gradient is None else _spread(one.gradient),
        gains=gains,
    )


def param(found: Measured | None, name: str) -> schema.ParamMeasuredModel | None:
    """What a probe measured of a parameter; None when it did not."""
    if found is None or name not in found.params:
        return None
    one = found.params[name]
    return schema.ParamMeasuredModel(gradient_rms=_spread(one.gradient), sensitivity=_spread(one.sensitivity))


def summary(found: Measured | None) -> schema.ProbeModel | None:
    """The probe as a whole."""
    if found is None:
        return None
    return schema.ProbeModel(
        device=found.device,
        dtype=found.dtype,
        seeds=list(found.seeds),
        inputs=found.inputs,
        bounds=found.bounds,
        violations=list(found.violations),
        values=_calibration(found.values),
        gradients=_calibration(found.gradients),
        studies=[_study(one) for one in found.studies],
        notes=list(found.notes),
        partial=found.partial,
    )


def _study(one: Study) -> schema.StudyModel:
    rows = [list(map(cell, one.columns, row)) for row in one.rows]
    return schema.StudyModel(name=one.name, title=one.title, columns=list(one.columns), rows=rows, says=one.says)


def _known(value: float) -> float | None:
    return round(value, 4) if isfinite(value) else None


def _spread(one: Spread) -> schema.SpreadModel:
    return schema.SpreadModel(middle=outward(one.middle, "measured"), low=outward(one.low, "measured"), high=outward(one.high, "measured"))


def _calibration(one: Calibration | None) -> schema.CalibrationModel | None:
    if one is None:
        return None
    return schema.CalibrationModel(
        count=one.count, within=round(one.within, 4), error=round(one.error, 4), correlation=round(one.correlation, 4)
    )
