"""The JSON of a coordinate check as pydantic models. Changing it is a change of ``SWEEP_VERSION``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .schema import Model, Tool

SWEEP_VERSION: Literal["1.0"] = "1.0"


class ValueModel(Model):
    """One value of the argument: the seeds that were measured with it, and how its model was trained for a few steps."""

    value: float = Field(description="the value of the argument")
    seeds: list[int] = Field(description="of initialisations and inputs, those that were measured")
    training: str = Field(description="the optimiser and its learning rate; empty where it was not trained")


class SizeModel(Model):
    """What was measured for one value, as log10. Zero, what is not finite, and what was not measured have a word and no number."""

    log10: float | None = Field(description="the size, the median over the seeds")
    status: Literal["measured", "zero", "not finite", "unknown"] = Field(description="what is known of it")


class SlopeModel(Model):
    """``size ~ value^exponent`` by least squares through logarithms, with the standard error; none for two values."""

    exponent: float = Field(description="how the size grows with the value")
    error: float | None = Field(description="standard error of the exponent; null for two values")


class GrowthModel(Model):
    """A quantity of a module (by its path, empty for the model) or of a parameter, value by value."""

    quantity: Literal["activation", "gradient", "change", "sensitivity"] = Field(
        description="RMS of the output, of its cotangent, of the output's change over the steps; S = ||W||_F ||G||_F"
    )
    name: str = Field(description="path of the module, or name of the parameter")
    sizes: list[SizeModel] = Field(description="one for each value")
    slope: SlopeModel | None = Field(description="the fit; null where fewer than two values have a number")
    trend: Literal["grows", "vanishes", "steady", "unclear", "unknown"] = Field(description="what the exponent says")


class CoordinatesModel(Model):
    """The coordinate check of one target."""

    id: str = Field(description="as the target was named")
    argument: str = Field(description="what was swept")
    values: list[ValueModel] = Field(description="in order")
    steps: int = Field(description="optimiser steps after which the change was measured")
    device: str = Field(description="where it ran")
    dtype: str = Field(description="in which precision")
    inputs: str = Field(description="what went in")
    cotangent: str = Field(description="where the gradient starts")
    rows: list[GrowthModel] = Field(description="by quantity, modules and parameters in the order of the model")
    notes: list[str] = Field(description="what is left out")
    problems: list[str] = Field(description="values that could not be measured, and why")
    partial: bool = Field(description="whether it was interrupted")


class SweepModel(Model):
    """The whole document."""

    schema_version: Literal["1.0"] = Field(default=SWEEP_VERSION, description="of this format")
    tool: Tool = Field(description="what made it")
    targets: list[CoordinatesModel] = Field(description="one for each")
