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


class SinceModel(_Model):
    """An earlier state of the project that findings are compared with."""

    what: str = Field(description="the commit, in words")
    gone: int = Field(description="how many of its findings there are no more")
    notes: list[str] = Field(description="what could not be compared, so that all its findings count")


class Run(_Model):
    """How the run ended."""

    status: Literal["clean", "findings", "incomplete"]
    seed: int
    min_coverage: float
    unused_overrides: list[str]
    since: SinceModel | None = Field(None, description="what the findings are compared with beside a baseline; null for nothing")


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
    broken: bool = Field(description="whether a parameter holds NaN, so that none can have a forecast, which a finding says")


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
    zero: list[Literal["proved", "forecast", "measured"]] = Field(description="which of these are exactly zero, and null for that")


class EvidenceModel(_Model):
    """What is known of the quantity that a finding is about (log10)."""

    quantity: str
    threshold: float | None
    proved: float | None
    forecast: float | None
    measured: float | None
    zero: list[Literal["proved", "forecast", "measured"]] = Field(description="which of these are exactly zero, and null for that")
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
    key: str = Field(description="tells findings of one rule about one module apart")
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
    defined_at: Location | None = Field(description="the line that builds the module")
    called_at: Location | None = Field(description="the line that calls it")
    by: str
    reason: str
    at: Location | None


class SpentModel(_Model):
    """A comment that suppressed something: its file, and its name in it with the rule that it names."""

    file: str = Field(description="the file")
    key: str = Field(description="as that of a finding about the comment")


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
    clip: float | None = Field(description="largest norm of the gradient")
    clip_value: float | None = Field(description="largest entry of the gradient")
    accumulation: int | None = Field(description="batches an update")
    batch_size: int | None = Field(description="samples a batch")
    precision: str | None
    scaler: bool | None = Field(description="whether the loss is scaled")
    ema: float | None = Field(description="decay of a running mean of the weights")
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
    spent: list[SpentModel] = Field(description="the comments that suppress something in this target")
    coverage: Covered
    nodes: list[NodeModel]
    parameters: list[ParamModel]
    probe: ProbeModel | None = None


class Summary(_Model):
    """How many findings of each severity, without those that do not count: suppressed, accepted by a baseline, known before."""

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
