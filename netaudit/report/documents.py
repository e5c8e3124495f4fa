"""What commands write as JSON besides the report, as pydantic models, and the JSON Schema of each kind of document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from .schema import SCHEMA_VERSION, FindingModel, Input, Model, ReportModel, Run, Size, Summary, SuppressedModel, TargetHead, Tool
from .sweep_schema import SWEEP_VERSION, SweepModel

# netaudit forecast ------------------------------------------------------------------------------------------------------


class Part(Model):
    """A share, with how it is known."""

    value: float | None = Field(description="from 0 to 1; null when unknown")
    status: Literal["forecast", "unknown"] = Field(description="how it is known")


class Decibels(Model):
    """What a call does to a size: 20 log10 of the factor."""

    value: float | None = Field(description="decibels; null when unknown, or when nothing is left of it")
    status: Literal["forecast", "unknown"] = Field(description="how it is known")


class BlockModel(Model):
    """Calls that follow each other on a path, siblings in one."""

    block: str = Field(description="what stands there")
    place: str = Field(description="its module; body.* for siblings")
    modules: list[str] = Field(description="the modules that are put together")
    gradient_db: list[Decibels] = Field(description="change of the gradient on its way back, module by module")
    activations_db: list[Decibels] = Field(description="change of the activations on their way forward, module by module")


class PathModel(Model):
    """The path that carries most of the gradient of a parameter."""

    which: Literal["least", "largest"] = Field(description="whether its S is the least or the largest")
    nodes: list[str] = Field(description="ids of the calls, from the one that uses the parameter to the loss")
    share: Part = Field(description="the part of the gradient's energy that the path carries")
    gains: list[BlockModel] = Field(description="the blocks on it, from the loss backward")


class ForecastParam(Model):
    """The forecast of a parameter."""

    grad_rms: Size = Field(description="root mean square of its gradient")
    sensitivity: Size = Field(description="S = ||W||_F ||G||_F, the change of the loss for a 100 % change of the parameter")
    flags: list[str] = Field(description="frozen, unknown, zero, transient-zero, vanishing, exploding, and why the error is wide")
    measured: Size | None = Field(default=None, description="grad_rms in one real pass; null without --measure")


class ForecastNode(Model):
    """The forecast of a call."""

    op: str = Field(description="aten.linear, netaudit.rms_norm, ...")
    rms: Size = Field(description="root mean square of its value")
    grad_rms: Size = Field(description="root mean square of the gradient at its value")


class ForecastModel(Model):
    """The forecast of one target."""

    id: str = Field(description="as the target was named, with the value of a sweep behind it")
    cotangent: str = Field(description="where the gradient starts")
    params: dict[str, ForecastParam] = Field(description="by name")
    paths: dict[str, PathModel] = Field(description="the path of the least S, and of the largest where it explodes, by parameter")
    nodes: dict[str, ForecastNode] = Field(description="the calls, by id")
    unmodelled: list[str] = Field(description="ops of which nothing is known")
    notes: list[str] = Field(description="what the forecast assumes or leaves out")
    seconds: dict[str, float] = Field(description="by stage; empty without --verbose")


class Forecasts(Model):
    """The forecasts of several targets, or of the values of a sweep."""

    targets: list[ForecastModel] = Field(description="one for each")


# netaudit certify -------------------------------------------------------------------------------------------------------


class SegmentModel(Model):
    """A stretch of calls whose Lipschitz constant was bounded at once."""

    first: str = Field(description="id of its first call")
    last: str = Field(description="id of its last call")
    calls: int = Field(description="how many there are")
    method: Literal["certificate", "composition"] = Field(description="a certificate matrix, or the product of norms")


class BoundModel(Model):
    """A Lipschitz constant of the network."""

    bound: Size = Field(description="proved: a change of the input changes the output by at most this factor")
    lower: Size = Field(description="measured: a factor that was attained; unknown where none was found")
    composition: Size = Field(description="proved, by composition of norms alone")
    segments: list[SegmentModel] = Field(description="how it was put together")


class CertifiedNode(Model):
    """What a certificate knows of a call."""

    id: str = Field(description="its name in the graph")
    op: str = Field(description="aten.linear, ...")
    module: str = Field(description="path of the module whose forward makes the call")
    kind: str = Field(description="how its change moves: move, linear, slope (a function of entries), norm (known by it alone) or jump")
    lipschitz: Size = Field(description="its own constant")
    through: Size = Field(description="that of the map from the input to it")
    by: str = Field(description="what bounded the map from the input: a certificate or a composition")


class CertifiedModel(Model):
    """The certificate of one target."""

    id: str = Field(description="as the target was named")
    mode: str = Field(description="train or eval")
    norm: Literal["l2"] = Field(description="of inputs and outputs")
    seed: int = Field(description="the seed of everything random")
    inputs: list[Input] = Field(description="what goes in")
    sources: list[str] = Field(description="the inputs that vary")
    outputs: list[str] = Field(description="ids of the calls that are the result")
    notes: list[str] = Field(description="what the bound does not cover")
    whole: BoundModel = Field(alias="global", description="for every input")
    local: BoundModel | None = Field(default=None, description="in the ball; null without --ball")
    nodes: list[CertifiedNode] = Field(description="the calls on the way from the inputs to the outputs, in execution order")


class Certificates(Model):
    """The certificates of several targets."""

    targets: list[CertifiedModel] = Field(description="one for each")


# netaudit baseline ------------------------------------------------------------------------------------------------------


class Accepted(Model):
    """A finding that was accepted."""

    target: str = Field(description="id of the target")
    code: str = Field(description="of the rule")
    name: str = Field(description="of the rule")
    module: str = Field(description="path of the module")
    severity: Literal["error", "warning", "info"] = Field(description="how bad it was")
    decades: dict[str, float | None] = Field(description="how far beyond the limit, by kind of evidence; null is without end")
    fingerprint: str = Field(description="by which it is known again")


class BaselineModel(Model):
    """The file of accepted findings."""

    version: Literal[1] = Field(alias="netaudit-baseline", description="of this format")
    findings: list[Accepted] = Field(description="by target, code and module")


# -o jsonl ---------------------------------------------------------------------------------------------------------------


class FindingLine(FindingModel):
    """A line: a finding."""

    type: Literal["finding"] = Field(default="finding", description="what the line is")


class SuppressedLine(SuppressedModel):
    """A line: a finding that does not count."""

    type: Literal["suppressed"] = Field(default="suppressed", description="what the line is")
    target: str = Field(description="id of the target")


class TargetLine(TargetHead):
    """A line: a target, without its tables."""

    type: Literal["target"] = Field(default="target", description="what the line is")


class RunLine(Model):
    """The last line: the run."""

    type: Literal["run"] = Field(default="run", description="what the line is")
    schema_version: Literal["1.3"] = Field(default=SCHEMA_VERSION, description="as in the report")
    tool: Tool = Field(description="what made it")
    run: Run = Field(description="how it ended")
    summary: Summary = Field(description="counts")


Line = Annotated[FindingLine | SuppressedLine | TargetLine | RunLine, Field(discriminator="type")]


# all kinds --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document: what writes it, its version, its model."""

    written_by: str
    version: str
    model: Any


KINDS: Mapping[str, Kind] = {
    "report": Kind("`netaudit check -o json`, `netaudit probe -o json`, and inside the HTML page", SCHEMA_VERSION, ReportModel),
    "jsonl": Kind("`netaudit check -o jsonl`: of each line", SCHEMA_VERSION, Line),
    "forecast": Kind("`netaudit forecast -o json`", "1.0", ForecastModel | Forecasts),
    "certificate": Kind("`netaudit certify -o json`", "1.0", CertifiedModel | Certificates),
    "sweep": Kind("`netaudit probe --sweep -o json`", SWEEP_VERSION, SweepModel),
    "baseline": Kind("`netaudit baseline create`", "1", BaselineModel),
}


def json_schema(kind: str = "report") -> str:
    """The JSON Schema of a kind of document: of what is written, so that a key with a default is required, too."""
    known = KINDS[kind]
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"netaudit-{kind}-{known.version}",
        **TypeAdapter(known.model).json_schema(mode="serialization", by_alias=True),
    }
    return json.dumps(document, sort_keys=True, indent=2) + "\n"
