"""The report as JSON: versioned, sorted, the same bytes for the same run, no NaN and no infinity."""

from __future__ import annotations

import json
from typing import Literal, TypeAlias

from netaudit.finding import Coverage, Evidence, Finding, NodeRow, ParamRow, Report, Since, Step, Suppressed, TargetReport
from netaudit.graph import Site
from netaudit.training import Training

from . import measured as probe
from . import schema
from .numbers import outward, size_model
from .style import Style

Kind: TypeAlias = Literal["proved", "forecast", "measured"]
KINDS: tuple[Kind, ...] = ("proved", "forecast", "measured")


def render(report: Report, style: Style) -> str:
    """The report as one JSON document."""
    del style
    return json.dumps(model(report).model_dump(mode="json"), sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def model(report: Report) -> schema.ReportModel:
    """The report as validated models."""
    status: Literal["clean", "findings", "incomplete"] = "incomplete" if report.incomplete else "findings" if report.counted else "clean"
    return schema.ReportModel(
        tool=schema.Tool(version=report.version, torch=report.torch, packs=list(report.packs)),
        run=schema.Run(
            status=status,
            seed=report.seed,
            min_coverage=report.min_coverage,
            unused_overrides=list(report.idle_overrides),
            since=_since(report.since),
        ),
        summary=schema.Summary(
            error=report.count("error"),
            warning=report.count("warning"),
            info=report.count("info"),
            suppressed=sum(len(t.suppressed) for t in report.targets),
            baselined=len(report.findings) - len(report.counted),
        ),
        findings=[_finding(f) for f in report.findings],
        targets=[_target(t) for t in sorted(report.targets, key=lambda t: t.id)],
    )


def _since(since: Since | None) -> schema.SinceModel | None:
    return None if since is None else schema.SinceModel(what=since.what, gone=since.gone, notes=list(since.notes))


def _site(site: Site | None) -> schema.Location | None:
    return None if site is None else schema.Location(file=site.file, line=site.line)


def _evidence(known: Evidence) -> schema.EvidenceModel:
    return schema.EvidenceModel(
        quantity=known.quantity,
        threshold=outward(known.threshold, "forecast"),
        proved=outward(known.proved, "proved"),
        forecast=outward(known.forecast, "forecast"),
        measured=outward(known.measured, "measured"),
        zero=_zero(known),
        assumptions=known.assumptions,
    )


def _step(step: Step) -> schema.StepModel:
    return schema.StepModel(
        label=step.label,
        module=step.module,
        proved=outward(step.proved, "proved"),
        forecast=outward(step.forecast, "forecast"),
        measured=outward(step.measured, "measured"),
        zero=_zero(step),
    )


def _zero(sizes: Evidence | Step) -> list[Kind]:
    """The kinds of a size that are exactly zero: their logarithm is no number."""
    return [kind for kind in KINDS if getattr(sizes, kind) == float("-inf")]


def _claim(finding: Finding) -> schema.ClaimModel | None:
    claim = finding.claim
    if claim is None:
        return None
    limit, seen = outward(claim.limit, "forecast"), outward(finding.seen, "measured")
    return schema.ClaimModel(
        quantity=claim.quantity, subjects=list(claim.subjects), over=list(claim.over), side=claim.side, limit=limit, measured=seen
    )


def _finding(finding: Finding) -> schema.FindingModel:
    return schema.FindingModel(
        code=finding.code,
        name=finding.name,
        severity=finding.severity,
        fingerprint=finding.fingerprint,
        target=finding.target,
        module=finding.module,
        key=finding.key,
        message=finding.message,
        reason=finding.reason,
        defined_at=_site(finding.where.created),
        called_at=_site(finding.where.called),
        evidence=_evidence(finding.evidence),
        path=[_step(s) for s in finding.path],
        help=[schema.HelpModel(text=h.text, outcome=h.outcome, resolves=h.resolves) for h in finding.help],
        also=list(finding.siblings),
        verdict=finding.verdict,
        claim=_claim(finding),
        baseline=finding.baseline,
    )


def _target(target: TargetReport) -> schema.TargetModel:
    return schema.TargetModel(
        id=target.id,
        file=target.file,
        tracer=target.tracer,
        mode=target.mode,
        cotangent=target.cotangent,
        training=_training(target.training),
        inputs=[schema.Input(name=n, dtype=d, shape=list(s)) for n, d, s in target.inputs],
        inputs_from=target.inputs_from,
        guess=target.guess,
        notes=list(target.notes),
        problems=list(target.problems),
        suppressed=[_suppressed(s) for s in target.suppressed],
        spent=[schema.SpentModel(file=file, key=key) for file, key in sorted(target.spent)],
        coverage=_coverage(target.coverage),
        heads=list(target.heads),
        nodes=[_node(n, probe.node(target.measured, n.id)) for n in target.nodes],
        parameters=[_param(p, probe.param(target.measured, p.name)) for p in target.params],
        probe=probe.summary(target.measured),
    )


def _suppressed(gone: Suppressed) -> schema.SuppressedModel:
    finding = gone.finding
    return schema.SuppressedModel(
        code=finding.code,
        name=finding.name,
        severity=finding.severity,
        fingerprint=finding.fingerprint,
        module=finding.module,
        message=finding.message,
        defined_at=_site(gone.finding.where.created),
        called_at=_site(gone.finding.where.called),
        by=gone.by,
        reason=gone.reason,
        at=_site(gone.site),
    )


def _training(training: Training) -> schema.TrainingModel:
    return schema.TrainingModel(
        given=training.is_given,
        source=training.source,
        optimizers=[
            schema.OptimizerModel(kind=o.kind, lr=[g.peak_lr for g in o.groups], parameters=[len(g.params) for g in o.groups])
            for o in training.optimizers
        ],
        steps=training.steps,
        clip=training.clip,
        clip_value=training.clip_value,
        accumulation=training.accumulation,
        batch_size=training.batch_size,
        precision=training.precision,
        scaler=training.scaler,
        ema=training.ema,
        notes=list(training.notes),
    )


def _coverage(coverage: Coverage) -> schema.Covered:
    return schema.Covered(
        calls=coverage.nodes,
        with_transfer=coverage.ruled,
        unknown=dict(coverage.unknown),
        parameters=coverage.params,
        forecast=coverage.forecast,
        broken=coverage.broken,
    )


def _node(node: NodeRow, measured: schema.NodeMeasuredModel | None) -> schema.NodeModel:
    return schema.NodeModel(
        id=node.id,
        op=node.op,
        module=node.module,
        shape=list(node.shape),
        dtype=node.dtype,
        defined_at=_site(node.where.created),
        called_at=_site(node.where.called),
        lipschitz=size_model(node.lipschitz),
        jacobian=list(node.tags),
        rms=size_model(node.rms),
        gradient_norm=size_model(node.gradient_bound),
        gradient_rms=size_model(node.gradient),
        via=node.via,
        share=None if node.share is None else round(node.share, 4),
        operands=list(node.operands),
        measured=measured,
    )


def _param(param: ParamRow, measured: schema.ParamMeasuredModel | None) -> schema.ParamModel:
    return schema.ParamModel(
        name=param.name,
        shape=list(param.shape),
        trainable=param.trainable,
        gradient_norm=size_model(param.gradient_bound),
        gradient_rms=size_model(param.gradient),
        sensitivity=size_model(param.sensitivity),
        measured=measured,
    )
