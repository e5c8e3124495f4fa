"""What Python asks of netaudit: audit, certify and forecast a model in hand, with its present weights, which stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import nn

from netaudit.audit import Settings, analyse, audit_subject
from netaudit.certify import Ball, Request, certify_subject
from netaudit.choose import agreed, selected, unused_overrides
from netaudit.config import said
from netaudit.errors import ConfigError
from netaudit.given import one_of, share, words
from netaudit.intake.heads import with_head
from netaudit.intake.live import Live, Optimizers, Schedulers, subject_of
from netaudit.intake.subject import Loss, Subject
from netaudit.intake.training import Said
from netaudit.intake.usercode import contained, user_code
from netaudit.pack import Catalog, installed
from netaudit.probe import measured_gradients
from netaudit.report.forecast import Forecast as Forecasted
from netaudit.results import Certified, Forecast, Report
from netaudit.signal import Interval
from netaudit.suppress import Override

Ranges = Mapping[str, tuple[float, float]] | tuple[float, float] | None


def audit(  # noqa: PLR0913  # an audit's options are its parameters, by their own names
    model: nn.Module,
    inputs: object = None,
    *,
    loss: Loss | None = None,
    optimizer: Optimizers = None,
    scheduler: Schedulers = None,
    training: Mapping[str, object] | None = None,
    name: str = "",
    mode: Literal["train", "eval"] = "train",
    select: Sequence[str] | str = (),
    extend_select: Sequence[str] | str = (),
    ignore: Sequence[str] | str = (),
    overrides: Mapping[str, Sequence[str] | str] | None = None,
    preview: bool = False,
    ranges: Ranges = None,
    stats: tuple[float, float] | None = None,
    min_coverage: float = 1.0,
    seed: int = 0,
    apart: tuple[object, ...] = (),
) -> Report:
    """Audit a model with its present weights, as ``netaudit check`` audits a target.

    A copy is analysed, on the CPU: parameters, buffers, gradients, modes and random generators of the model are bit for bit
    what they were. No configuration is read.

    Args:
        model: any module; what ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` wrap is unwrapped.
        inputs: a tensor, a tuple of arguments or a dict of named ones; a specification like ``x=f32[8,32]``; None for what the
            model itself offers (``example_input_array``, ``dummy_inputs``), or a guess.
        loss: ``loss(model, inputs)``, a scalar. ``inputs`` may then hold more than ``forward`` takes, such as labels.
        optimizer: a torch optimiser, a list of them, or a function of the model that makes it.
        scheduler: a torch scheduler that was not stepped yet, a list of them, or a function of the optimiser that makes it.
        training: what else is known of the training, by the keys of ``[tool.netaudit.training]``: ``{"steps": 10_000, "clip": 1.0}``.
        name: what the report calls the model; its class by default.
        mode: train or eval, whatever mode the model is in.
        select: rules to run: codes, prefixes (``NA2``) or names. Likewise ``extend_select`` and ``ignore``.
        extend_select: rules to run beside those.
        ignore: rules not to run.
        overrides: rules that do not count for modules whose path matches a glob: ``{"backbone.*": ["NA201"]}``.
        preview: run rules that are not settled yet.
        ranges: a range you vouch for, of every float input or by name: ``{"x": (-1, 1)}``.
        stats: mean and standard deviation of float inputs, instead of the example's own.
        min_coverage: the share of calls and parameters that must be understood for the audit to count as complete.
        seed: for guessed inputs, and for models that can only be traced by running them.
        apart: objects that the model refers to without owning them, such as its trainer; the copy has None in their place.

    Raises:
        NetauditError: an argument does not fit. A model that cannot be traced is a finding, not an error.
    """
    settings = replace(
        _settings(mode, ranges, stats),
        select=words(select),
        extend_select=words(extend_select),
        ignore=words(ignore),
        overrides=tuple(Override(module, words(codes)) for module, codes in (overrides or {}).items()),
        preview=preview,
        said=Said(said(training or {}, "training: ")),
    )
    selected(_catalog(), settings)  # an unknown rule is said before anything is copied
    live = Live(model, inputs, loss, optimizer, scheduler, name, seed, apart)
    with _ours(live) as subject:
        found = agreed([audit_subject(subject, _catalog(), settings)])
    return _report(found, settings, seed, share("min_coverage", min_coverage))


def certify(
    model: nn.Module,
    inputs: object = None,
    *,
    mode: Literal["train", "eval"] = "eval",
    ball: float | None = None,
    norm: Literal["l2", "linf"] = "l2",
    ranges: Ranges = None,
    budget: float = 10.0,
    name: str = "",
    seed: int = 0,
) -> Certified:
    """Prove a Lipschitz constant (l2, inputs to outputs) of a model with its present weights, as ``netaudit certify`` does.

    ``ball``: also in a ball of this radius (in ``norm``) around the inputs. ``budget``: seconds to search for each bound. For the rest
    see ``audit``.

    Raises:
        NetauditError: an argument does not fit, or the model cannot be traced.
    """
    if ball is not None and not 0.0 < ball < float("inf"):
        raise ConfigError(f"ball={ball:g} is not a radius", "give a positive number")
    if not budget >= 0.0:
        raise ConfigError(f"budget={budget:g} is not a time", "give seconds, 0 for no search")
    around = None if ball is None else Ball(ball, one_of("norm", norm, ("l2", "linf")))  # type: ignore[arg-type]  # one of two words
    request = Request(one_of("mode", mode, ("train", "eval")), _ranges(ranges), around, budget, seed)  # type: ignore[arg-type]  # likewise
    with _ours(Live(model, inputs, name=name, seed=seed)) as subject:
        return Certified(subject.id, certify_subject(subject, _catalog(), request), around)


def forecast(
    model: nn.Module,
    inputs: object = None,
    *,
    loss: Loss | None = None,
    mode: Literal["train", "eval"] = "train",
    ranges: Ranges = None,
    stats: tuple[float, float] | None = None,
    cotangent: Literal["loss", "unit", "ce"] = "loss",
    measure: bool = False,
    name: str = "",
    seed: int = 0,
) -> Forecast:
    """Forecast the size of every activation and gradient of a model with its present weights, as ``netaudit forecast`` does.

    ``cotangent``: where the gradient starts: ``loss`` (the loss, if there is one, else unit RMS at the outputs), ``unit``, ``ce``
    (cross-entropy). ``measure``: run one real pass on the copy and give its gradients beside. For the rest see ``audit``.

    Raises:
        NetauditError: an argument does not fit, the model cannot be traced, or fails when it is run.
    """
    head = one_of("cotangent", cotangent, ("loss", "unit", "ce"))
    settings = replace(_settings(mode, ranges, stats), head=head)  # type: ignore[arg-type]  # one of three words
    with _ours(Live(model, inputs, loss, name=name, seed=seed)) as subject:
        found = analyse(subject, _catalog(), settings)
        real = _measured(subject, settings, seed) if measure else None
        known = (found.facts, found.flow, found.later, found.cotangent, found.seconds)
        return Forecast(Forecasted(subject.id, *known, real, seed, notes=found.graph.notes))


@contextmanager
def _ours(live: Live) -> Iterator[Subject]:
    """The subject, and a place where nothing that is done with it is left behind: generators, gradient mode, default device."""
    device = torch.get_default_device()
    with contained(live.seed), torch.inference_mode(mode=False), torch.enable_grad():
        if device.type == "cpu":
            yield subject_of(live)
            return
        with torch.device("cpu"):  # the copy is there, whatever new tensors are made on otherwise
            yield subject_of(live)


@cache
def _catalog() -> Catalog:
    return installed()


def _measured(subject: Subject, settings: Settings, seed: int) -> Mapping[str, float]:
    with user_code(f"running {subject.id}"):
        return measured_gradients(with_head(subject, settings.head), mode=settings.mode, seed=seed)


def _report(found: Sequence[Any], settings: Settings, seed: int, min_coverage: float) -> Report:
    from netaudit import __version__

    idle = unused_overrides(found, _catalog(), settings)
    return Report(tuple(found), __version__, torch.__version__, _catalog().packs, seed, min_coverage, idle)


# arguments --------------------------------------------------------------------------------------------------------------


def _settings(mode: str, ranges: Ranges, stats: tuple[float, float] | None) -> Settings:
    if stats is not None and not (len(stats) == 2 and stats[1] >= 0.0):
        raise ConfigError(f"stats={stats!r} are not a mean and a standard deviation", "give stats=(0.0, 1.0)")
    return Settings(mode=one_of("mode", mode, ("train", "eval")), ranges=_ranges(ranges), stats=stats)


def _ranges(given: Ranges) -> dict[str, Interval]:
    by_name = given if isinstance(given, Mapping) else {} if given is None else {"": given}
    found = {}
    for name, (low, high) in by_name.items():
        if not low <= high:
            raise ConfigError(f"the range {low:g}:{high:g} of {name or 'the inputs'} is empty", "give the lower end first")
        found[name] = Interval(float(low), float(high))
    return found
