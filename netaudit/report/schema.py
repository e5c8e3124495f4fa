"""The JSON report as pydantic models: the contract with other tools. Changing it is a change of ``SCHEMA_VERSION``."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = "1.3"


class Model(BaseModel):
    """A JSON object: it has these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_serialization_defaults_required=True)


class Location(Model):
    """A line of a file; files are relative to the working directory, or to site-packages."""

    file: str = Field(description="relative to the working directory, or to site-packages")
    line: int = Field(description="counted from 1")


class Size(Model):
    """A magnitude as log10, with how it is known. Zero, infinite and unknown sizes have a status and no number."""

    log10: float | None = Field(description="the size; null for zero, for what has no bound and for what is unknown")
    status: Literal["proved", "forecast", "measured", "unbounded", "unknown"] = Field(description="how it is known")
    error: float | None = Field(
        default=None, description="decades by which a forecast may be wrong, up or down; null for what is no forecast"
    )


class Tool(Model):
    """What made the report."""

    name: Literal["netaudit"] = Field(default="netaudit", description="always netaudit")
    version: str = Field(description="the version of netaudit")
    torch: str = Field(description="the version of torch")
    packs: list[str] = Field(description="the packs whose rules and transfers were used")


class SinceModel(Model):
    """An earlier state of the project that findings are compared with."""

    what: str = Field(description="the commit, in words")
    gone: int = Field(description="how many of its findings there are no more")
    notes: list[str] = Field(description="what could not be compared, so that all its findings count")


class Run(Model):
    """How the run ended."""

    status: Literal["clean", "findings", "incomplete"] = Field(
        description="clean: everything was checked and nothing found that counts; incomplete goes before findings"
    )
    seed: int = Field(description="the seed of everything random")
    min_coverage: float = Field(description="share of the calls, and of the parameters, that has to be understood")
    unused_overrides: list[str] = Field(description="overrides of the configuration that suppressed nothing, and why")
    since: SinceModel | None = Field(default=None, description="what the findings are compared with beside a baseline; null for nothing")


class Input(Model):
    """An input of the model."""

    name: str = Field(description="the argument of forward")
    dtype: str = Field(description="float32, int64, ...")
    shape: list[int] = Field(description="sizes of its axes")


class Covered(Model):
    """How much was understood; ``unknown`` counts calls without a transfer by op."""

    calls: int = Field(description="calls that carry a gradient or could")
    with_transfer: int = Field(description="those of which an installed pack knows what they do")
    unknown: dict[str, int] = Field(description="how often each op without a transfer occurs")
    parameters: int = Field(description="trainable parameters")
    forecast: int = Field(description="those whose gradient has a forecast")
    broken: bool = Field(description="whether a parameter holds NaN, so that none can have a forecast, which a finding says")


class SpreadModel(Model):
    """A measured size over all runs (log10); null for exactly zero and for what is not finite."""

    middle: float | None = Field(description="the median run")
    low: float | None = Field(description="the least")
    high: float | None = Field(description="the largest")


class GainModel(Model):
    """Measured gains of a call for one operand (log10): of random cotangents, and the largest that was found, a lower bound."""

    typical: float | None = Field(description="||J' u|| / ||u|| for random cotangents u: ||J||_F / sqrt(outputs)")
    error: float | None = Field(description="relative standard error of typical; null where that is not finite")
    largest: float | None = Field(description="a lower bound of ||J||_2 where the model was run; null where it was not sought")
    pairs: int = Field(description="products with the Jacobian and its transpose that this took")
    converged: bool = Field(description="whether the largest gain had stopped to grow")


class NodeMeasuredModel(Model):
    """What a probe measured of a call."""

    rms: SpreadModel = Field(description="root mean square of the value")
    largest: float | None = Field(description="log10 of the largest entry's size")
    zeros: float = Field(description="share of entries that are exactly zero")
    gradient_rms: SpreadModel | None = Field(description="root mean square of the gradient at the value; null where none arrives")
    gains: dict[str, GainModel] = Field(description="by operand")


class ParamMeasuredModel(Model):
    """What a probe measured of a parameter."""

    gradient_rms: SpreadModel = Field(description="root mean square of the gradient")
    sensitivity: SpreadModel = Field(description="S = ||W||_F ||G||_F")


class CalibrationModel(Model):
    """How good the forecast was: share within a factor of two, median error in decades, rank correlation."""

    count: int = Field(description="sizes that were compared")
    within: float = Field(description="share of them within a factor of two")
    error: float = Field(description="median |log10(measured / forecast)|")
    correlation: float = Field(description="rank correlation")


class StudyModel(Model):
    """A measurement of the model as a whole, as a table."""

    name: str = Field(description="its name on the command line")
    title: str = Field(description="what was measured")
    columns: list[str] = Field(description="heads of the table")
    rows: list[list[str | float | None]] = Field(
        description="cells of text or numbers; null is an empty cell; what is no number is a word: 'not finite', 'infinite', "
        "'-infinite', or 'zero' where a log10 is asked for"
    )
    says: str = Field(description="what follows from it")


class ProbeModel(Model):
    """A probe: where it ran, and how the analysis compares with it."""

    device: str = Field(description="where it ran")
    dtype: str = Field(description="in which precision")
    seeds: list[int] = Field(description="of initialisations and inputs")
    inputs: str = Field(description="what went in")
    bounds: int = Field(description="how many proved bounds were held against a measurement")
    violations: list[str] = Field(description="proved bounds that did not hold: mistakes of netaudit's")
    values: CalibrationModel | None = Field(description="how good the forecast of values was; null where nothing was compared")
    gradients: CalibrationModel | None = Field(description="how good the forecast of gradients was")
    studies: list[StudyModel] = Field(description="measurements of the model as a whole")
    notes: list[str] = Field(description="what was not measured, and why")
    partial: bool = Field(description="whether the probe was interrupted")


class NodeModel(Model):
    """A call of the model."""

    id: str = Field(description="its name in the graph")
    op: str = Field(description="aten.linear, netaudit.rms_norm, ...")
    module: str = Field(description="path of the module whose forward makes the call; empty for the model itself")
    shape: list[int] = Field(description="of its value")
    dtype: str = Field(description="of its value")
    defined_at: Location | None = Field(description="the line that builds the module")
    called_at: Location | None = Field(description="the line that makes the call")
    lipschitz: Size = Field(description="proved bound on the spectral norm of the Jacobian with respect to the first operand that has one")
    jacobian: list[str] = Field(description="proved properties of the Jacobian with respect to the first operand")
    rms: Size = Field(description="forecast root mean square of the value")
    gradient_norm: Size = Field(description="proved bound on the l2 norm of the gradient")
    gradient_rms: Size = Field(description="forecast root mean square of the gradient at the value")
    via: str = Field(description="id of the user that carries most of the gradient back; from one to the next they are the dominating path")
    share: float | None = Field(
        description="the share of the gradient's energy that via carries (forecast); null when unknown or there is none"
    )
    operands: list[str] = Field(description="ids of the calls whose values it takes; inputs and parameters are not among them")
    measured: NodeMeasuredModel | None = Field(default=None, description="what a probe saw; null without one")


class ParamModel(Model):
    """A parameter of the model."""

    name: str = Field(description="as in named_parameters()")
    shape: list[int] = Field(description="sizes of its axes")
    trainable: bool = Field(description="whether it asks for a gradient")
    gradient_norm: Size = Field(description="proved bound on the l2 norm of the gradient")
    gradient_rms: Size = Field(description="forecast root mean square of the gradient")
    sensitivity: Size = Field(description="S = ||W||_F ||G||_F")
    measured: ParamMeasuredModel | None = Field(default=None, description="what a probe saw; null without one")


class StepModel(Model):
    """A block of a path and the share of the gradient that reaches it (log10)."""

    label: str = Field(description="the block")
    module: str = Field(description="its module")
    proved: float | None = Field(description="at most this share, for every input")
    forecast: float | None = Field(description="the forecast share")
    measured: float | None = Field(description="the share seen by a probe")
    zero: list[Literal["proved", "forecast", "measured"]] = Field(description="which of these are exactly zero, and null for that")


class EvidenceModel(Model):
    """What is known of the quantity that a finding is about (log10)."""

    quantity: str = Field(description="what the numbers are of")
    threshold: float | None = Field(description="the limit of the rule")
    proved: float | None = Field(description="an upper bound, for every input")
    forecast: float | None = Field(description="holds under the assumptions")
    measured: float | None = Field(description="seen by a probe")
    zero: list[Literal["proved", "forecast", "measured"]] = Field(description="which of these are exactly zero, and null for that")
    assumptions: str = Field(description="what the forecast assumes")


class HelpModel(Model):
    """Something to change; ``outcome`` says what the analysis gives with it, ``resolves`` whether the finding disappears.

    ``resolves`` is null for untested advice: a change that was not re-analysed, or that has no forecast.
    """

    text: str = Field(description="what to change")
    outcome: str = Field(description="what the analysis gives once it is changed")
    resolves: bool | None = Field(description="whether the finding disappears and no other takes its place")


class ClaimModel(Model):
    """What a measurement must show if a finding is right, and what it showed, as log10; null where that is 0, infinite or unknown."""

    quantity: str = Field(description="what is read of the model")
    subjects: list[str] = Field(description="parameters or calls that it is read of, the first one that of the message")
    over: list[str] = Field(description="whose sizes are taken off")
    side: Literal["above", "below"] = Field(description="on which side of the limit it is claimed to be")
    limit: float | None = Field(description="the limit")
    measured: float | None = Field(description="what a probe read; null without one")


class FindingModel(Model):
    """One thing worth saying."""

    code: str = Field(description="NA201, ...; explained by netaudit rule CODE")
    name: str = Field(description="the rule's name")
    severity: Literal["error", "warning", "info"] = Field(description="how bad")
    fingerprint: str = Field(description="the same for the same finding in other runs: made without lines and values")
    target: str = Field(description="id of the target")
    module: str = Field(description="path of the module it is about; empty for the model")
    key: str = Field(description="tells findings of one rule about one module apart")
    message: str = Field(description="what is wrong")
    reason: str = Field(description="why it is thought so, in lines")
    defined_at: Location | None = Field(description="the line that builds the module")
    called_at: Location | None = Field(description="the line that calls it")
    evidence: EvidenceModel = Field(description="the numbers")
    path: list[StepModel] = Field(description="the way of the gradient, from the finding's place to the loss")
    help: list[HelpModel] = Field(description="what to change, the best first")
    also: list[str] = Field(description="what else has the same cause")
    verdict: Literal["confirmed", "not reproduced", "not probed"] | None = Field(
        None, description="what a probe said of it; null without one"
    )
    claim: ClaimModel | None = Field(default=None, description="what a probe can test of it; null where there is nothing")
    baseline: Literal["", "new", "unchanged", "worse"] = Field(description="against the baseline; empty when none is applied")


class SuppressedModel(Model):
    """A finding that does not count, and what says so: a comment (with its reason and place) or an override."""

    code: str = Field(description="of the rule")
    name: str = Field(description="of the rule")
    severity: Literal["error", "warning", "info"] = Field(description="how bad")
    fingerprint: str = Field(description="as of a finding")
    module: str = Field(description="path of the module")
    message: str = Field(description="what is wrong")
    defined_at: Location | None = Field(description="the line that builds the module")
    called_at: Location | None = Field(description="the line that calls it")
    by: str = Field(description="comment, or override GLOB")
    reason: str = Field(description="that of the comment")
    at: Location | None = Field(description="the comment's line")


class SpentModel(Model):
    """A comment that suppressed something: its file, and its name in it with the rule that it names."""

    file: str = Field(description="the file")
    key: str = Field(description="as that of a finding about the comment")


class OptimizerModel(Model):
    """An optimiser; ``lr`` are the largest learning rates of its groups, null where none is known."""

    kind: str = Field(description="adamw, sgd, ...")
    lr: list[float | None] = Field(description="the largest learning rate of each group over the training")
    parameters: list[int] = Field(description="how many parameters each group holds")


class TrainingModel(Model):
    """What was known of how the model will be trained; null where nothing was said."""

    given: bool = Field(description="whether anything was said")
    source: str = Field(description="who said it")
    optimizers: list[OptimizerModel] = Field(description="the optimisers")
    steps: int | None = Field(description="updates in all")
    clip: float | None = Field(description="largest norm of the gradient")
    clip_value: float | None = Field(description="largest entry of the gradient")
    accumulation: int | None = Field(description="batches an update")
    batch_size: int | None = Field(description="samples a batch")
    precision: str | None = Field(description="fp32, mixed-bf16, ...")
    scaler: bool | None = Field(description="whether the loss is scaled")
    ema: float | None = Field(description="decay of a running mean of the weights")
    notes: list[str] = Field(description="what was not understood")


class TargetHead(Model):
    """The audit of one target, without its tables."""

    id: str = Field(description="as the target was named, with the model's name where a file holds several")
    file: str = Field(description="the python file that makes the model; empty where there is none")
    tracer: str = Field(description="what made the graph")
    mode: str = Field(description="train or eval")
    cotangent: str = Field(description="where the gradient starts")
    training: TrainingModel = Field(description="how the model is trained")
    inputs: list[Input] = Field(description="what goes in")
    inputs_from: str = Field(description="where the inputs come from")
    guess: str = Field(description="what was guessed about them")
    notes: list[str] = Field(description="what was lost on the way")
    problems: list[str] = Field(description="what kept the audit from being complete")
    spent: list[SpentModel] = Field(description="the comments that suppress something in this target")
    coverage: Covered = Field(description="how much was understood")
    heads: list[str] = Field(description="ids of the calls where the gradient starts: the loss, or the outputs")
    probe: ProbeModel | None = Field(default=None, description="the probe as a whole; null without one")


class TargetModel(TargetHead):
    """The audit of one target."""

    suppressed: list[SuppressedModel] = Field(description="findings that do not count")
    nodes: list[NodeModel] = Field(description="the calls, in execution order")
    parameters: list[ParamModel] = Field(description="in the model's order")


class Summary(Model):
    """How many findings of each severity, without those that do not count: suppressed, accepted by a baseline, known before."""

    error: int = Field(description="errors that count")
    warning: int = Field(description="warnings that count")
    info: int = Field(description="infos that count")
    suppressed: int = Field(description="by comments and overrides")
    baselined: int = Field(description="accepted by a baseline")


class ReportModel(Model):
    """A whole run."""

    schema_version: Literal["1.3"] = Field(
        default="1.3", description="of this format: the first number changes when a key goes or changes its meaning"
    )
    tool: Tool = Field(description="what made it")
    run: Run = Field(description="how it ended")
    summary: Summary = Field(description="counts")
    findings: list[FindingModel] = Field(description="by target, file, line and code")
    targets: list[TargetModel] = Field(description="by id")
