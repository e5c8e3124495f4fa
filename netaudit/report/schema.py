"""The JSON report as pydantic models: the contract with other tools. Changing it is a change of ``SCHEMA_VERSION``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = "1.4"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Location(_Model):
    """A line of a file; files are relative to the working directory, or to site-packages."""

    file: str
    line: int


class Size(_Model):
    """A magnitude as log10, with how it is known. Zero, infinite and unknown sizes have a status and no number."""

    log10: float | None
    status: Literal["proved", "forecast", "measured", "unbounded", "unknown"]


class Tool(_Model):
    """What made the report."""

    name: Literal["netaudit"] = "netaudit"
    version: str
    torch: str
    packs: list[str]


class Run(_Model):
    """How the run ended."""

    status: Literal["clean", "findings", "incomplete"]
    seed: int
    min_coverage: float
    unused_overrides: list[str]


class Input(_Model):
    """An input of the model."""

    name: str
    dtype: str
    shape: list[int]


class Covered(_Model):
    """How much was understood; ``unknown`` counts calls without a transfer by op."""

    calls: int
    with_transfer: int
    unknown: dict[str, int]
    parameters: int
    forecast: int


class SpreadModel(_Model):
    """A measured size over all runs (log10); null for exactly zero and for what is not finite."""

    middle: float | None
    low: float | None
    high: float | None


class GainModel(_Model):
    """Measured gains of a call for one operand (log10): of random cotangents, and the largest that was found, a lower bound."""

    typical: float | None
    error: float | None = Field(description="relative standard error of the typical gain; null where that is not finite")
    largest: float | None
    pairs: int
    converged: bool


class NodeMeasuredModel(_Model):
    """What a probe measured of a call."""

    rms: SpreadModel
    largest: float | None
    zeros: float = Field(description="share of entries that are exactly zero")
    gradient_rms: SpreadModel | None
    gains: dict[str, GainModel]


class ParamMeasuredModel(_Model):
    """What a probe measured of a parameter."""

    gradient_rms: SpreadModel
    sensitivity: SpreadModel


class CalibrationModel(_Model):
    """How good the forecast was: share within a factor of two, median error in decades, rank correlation."""

    count: int
    within: float
    error: float
    correlation: float


class StudyModel(_Model):
    """A measurement of the model as a whole, as a table."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str | float | None]] = Field(
        description="what is no number is a word: 'not finite', 'infinite', '-infinite', or 'zero' where a log10 is asked for"
    )
    says: str


class ProbeModel(_Model):
    """A probe: where it ran, and how the analysis compares with it."""

    device: str
    dtype: str
    seeds: list[int]
    inputs: str
    bounds: int = Field(description="how many proved bounds were held against a measurement")
    violations: list[str]
    values: CalibrationModel | None
    gradients: CalibrationModel | None
    studies: list[StudyModel]
    notes: list[str]
    partial: bool


class NodeModel(_Model):
    """A call of the model."""

    id: str
    op: str
    module: str
    shape: list[int]
    dtype: str
    defined_at: Location | None
    called_at: Location | None
    lipschitz: Size
    jacobian: list[str] = Field(description="proved properties of the Jacobian with respect to the first operand")
    rms: Size
    gradient_norm: Size = Field(description="proved bound on the l2 norm of the gradient")
    gradient_rms: Size
    measured: NodeMeasuredModel | None = None


class ParamModel(_Model):
    """A parameter of the model."""

    name: str
    shape: list[int]
    trainable: bool
    gradient_norm: Size
    gradient_rms: Size
    sensitivity: Size = Field(description="S = ||W||_F ||G||_F")
    measured: ParamMeasuredModel | None = None


class StepModel(_Model):
    """A block of a path and the share of the gradient that reaches it (log10)."""

    label: str
    module: str
    proved: float | None
    forecast: float | None
    measured: float | None


class EvidenceModel(_Model):
    """What is known of the quantity that a finding is about (log10)."""

    quantity: str
    threshold: float | None
    proved: float | None
    forecast: float | None
    measured: float | None
    assumptions: str


class HelpModel(_Model):
    """Something to change; ``outcome`` says what the analysis gives with it, ``resolves`` whether the finding disappears.

    ``resolves`` is null for untested advice: a change that was not re-analysed, or that has no forecast.
    """

    text: str
    outcome: str
    resolves: bool | None


class ClaimModel(_Model):
    """What a measurement must show if a finding is right, and what it showed, as log10; null where that is 0, infinite or unknown."""

    quantity: str
    subjects: list[str]
    over: list[str] = Field(description="whose sizes are taken off")
    side: Literal["above", "below"]
    limit: float | None
    measured: float | None


class FindingModel(_Model):
    """One thing worth saying."""

    code: str
    name: str
    severity: Literal["error", "warning", "info"]
    fingerprint: str
    target: str
    module: str
    message: str
    reason: str
    defined_at: Location | None
    called_at: Location | None
    evidence: EvidenceModel
    path: list[StepModel]
    help: list[HelpModel]
    also: list[str]
    verdict: Literal["confirmed", "not reproduced", "not probed"] | None = None
    claim: ClaimModel | None = Field(default=None, description="what a probe can test of it")
    baseline: Literal["", "new", "unchanged", "worse"] = Field(description="against the baseline; empty when none is applied")


class SuppressedModel(_Model):
    """A finding that does not count, and what says so: a comment (with its reason and place) or an override."""

    code: str
    name: str
    severity: Literal["error", "warning", "info"]
    fingerprint: str
    module: str
    message: str
    by: str
    reason: str
    at: Location | None


class OptimizerModel(_Model):
    """An optimiser; ``lr`` are the largest learning rates of its groups, null where none is known."""

    kind: str
    lr: list[float | None]
    parameters: list[int] = Field(description="how many parameters each group holds")


class TrainingModel(_Model):
    """What was known of how the model will be trained; null where nothing was said."""

    given: bool
    source: str
    optimizers: list[OptimizerModel]
    steps: int | None
    precision: str | None
    notes: list[str]


class TargetModel(_Model):
    """The audit of one target."""

    id: str
    file: str = Field(description="the python file that makes the model; empty where there is none")
    tracer: str
    mode: str
    cotangent: str
    training: TrainingModel
    inputs: list[Input]
    inputs_from: str
    guess: str
    notes: list[str]
    problems: list[str]
    suppressed: list[SuppressedModel]
    coverage: Covered
    nodes: list[NodeModel]
    parameters: list[ParamModel]
    probe: ProbeModel | None = None


class Summary(_Model):
    """How many findings of each severity, without those that do not count: suppressed ones, and those accepted by a baseline."""

    error: int
    warning: int
    info: int
    suppressed: int
    baselined: int


class ReportModel(_Model):
    """A whole run."""

    schema_version: Literal["1.4"] = "1.4"
    tool: Tool
    run: Run
    summary: Summary
    findings: list[FindingModel]
    targets: list[TargetModel]
