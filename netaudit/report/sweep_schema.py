"""The JSON of a coordinate check as pydantic models. Changing it is a change of ``SWEEP_VERSION``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .schema import Tool

SWEEP_VERSION: Literal["1.0"] = "1.0"


class Strict(BaseModel):
    """What it has no field for is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ValueModel(Strict):
    """One value of the argument: the seeds that were measured with it, and how its model was trained for a few steps."""

    value: float
    seeds: list[int]
    training: str


class SizeModel(Strict):
    """What was measured for one value, as log10. Zero, what is not finite, and what was not measured have a word and no number."""

    log10: float | None
    status: Literal["measured", "zero", "not finite", "unknown"]


class SlopeModel(Strict):
    """``size ~ value^exponent`` by least squares through logarithms, with the standard error; none for two values."""

    exponent: float
    error: float | None


class GrowthModel(Strict):
    """A quantity of a module (by its path, empty for the model) or of a parameter, value by value."""

    quantity: Literal["activation", "gradient", "change", "sensitivity"] = Field(
        description="RMS of the output, of its cotangent, of the output's change over the steps; S = ||W||_F ||G||_F"
    )
    name: str
    sizes: list[SizeModel]
    slope: SlopeModel | None
    trend: Literal["grows", "vanishes", "steady", "unclear", "unknown"]


class CheckModel(Strict):
    """The coordinate check of one target."""

    id: str
    argument: str
    values: list[ValueModel]
    steps: int
    device: str
    dtype: str
    inputs: str
    cotangent: str
    rows: list[GrowthModel]
    notes: list[str]
    problems: list[str]
    partial: bool


class SweepModel(Strict):
    """The whole document."""

    schema_version: Literal["1.0"] = SWEEP_VERSION
    tool: Tool
    targets: list[CheckModel]
