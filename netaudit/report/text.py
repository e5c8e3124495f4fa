"""The report for a terminal: what, where, why, the path as small bars, help, and a line that says what was checked."""

from __future__ import annotations

import io
import linecache
from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite

from rich.console import Console
from rich.text import Text

from netaudit.finding import Finding, Report, Severity, Step, TargetReport

from .agreement import agreement
from .claimed import verdict as probed
from .common import accepted, compared, fill, unchecked, verdict
from .numbers import at_most, evidence, short
from .style import Style

COLORS: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
SHOWN_STEPS = 8
BAR = 20


def render(report: Report, style: Style) -> str:
    """All findings of all targets, then a summary line for each target."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=style.width,
        force_terminal=style.color,
        color_system="standard" if style.color else None,
        highlight=False,
        soft_wrap=True,
    )
    for finding in report.counted:
        for line in _finding(finding, style):
            console.print(line)
        console.print()
    for target in report.targets:
        for line in _quietly(target, report, style) if style.quiet else _summary(target, report, style):
            console.print(line)
    for place, said in enumerate(compared(report)):
        if place or not style.quiet:
            console.print(Text("\n".join(fill(said, style.width, indent=2)), style="yellow" if place else ""))
    for override in () if style.quiet else report.idle_overrides:
        console.print(Text(f"unused override {override}", style="yellow"))
    return out.getvalue()


def _finding(finding: Finding, style: Style) -> Iterator[Text]:
    color = COLORS[finding.severity]
    yield _wrapped(style, (f"{finding.severity}[{finding.code}]", color), (" ", ""), (finding.name, "bold"), (f": {finding.message}", ""))
    yield from _place(finding, style)
    known = evidence(finding.evidence)
    if known:
        assumed = f" ({finding.evidence.assumptions})" if finding.evidence.assumptions else ""
        yield _note("why", known + assumed, style)
    if finding.reason:
        yield _note("why" if not known else "", finding.reason, style)
    if finding.baseline == "worse":
        yield _note("was", "known before, and ten times worse now, or more severe", style)
    if finding.verdict is not None:
        yield _note("probe", probed(finding), style)
    yield from _path(finding.path, style)
    for remedy in finding.help:
        yield _note("help", f"{remedy.text}\n-> {remedy.outcome or 'untested advice'}", style)
    if finding.siblings:
        yield _note("also", _listed(finding.siblings, style), style)
    yield _note("note", f"netaudit rule {finding.code}", style)


def _note(label: str, text: str, style: Style) -> Text:
    head = f"  = {label:<5}" if label else " " * 9
    lines = [part for line in text.split("\n") for part in fill(line, style.width - 10, indent=3 if line.startswith("-> ") else 0)]
    return Text.assemble((head, "blue"), " ", ("\n" + " " * 10).join(lines))


def _wrapped(style: Style, *parts: tuple[str, str]) -> Text:
    """Words in their styles, on as many lines as it takes; all but the last part are short."""
    text = Text("\n".join(fill("".join(words for words, _ in parts), style.width, indent=2)).replace("\xa0", " "))
    start = 0
    for words, style_name in parts[:-1]:
        text.stylize(style_name, start, start + len(words))
        start += len(words)
    return text


def _listed(names: Sequence[str], style: Style) -> str:
    shown = names if style.full else names[:4]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _place(finding: Finding, style: Style) -> Iterator[Text]:
    where = finding.where
    site = where.created or where.called
    module = ".".join(part for part in (finding.module,) if part)
    label = f"{module} ({where.module_type})" if module and where.module_type else module
    if site is None:
        yield Text.assemble((" --> ", "blue"), f"{finding.target}   {label}".rstrip())
        return
    called = ""
    if where.called is not None and where.called != site:
        same = where.called.file == site.file
        called = f"   (called at {'' if same else where.called.file}:{where.called.line})"
    yield Text.assemble((" --> ", "blue"), f"{site.file}:{site.line}", f"   {label}" if label else "", called)
    code = linecache.getline(site.file, site.line).rstrip()
    if code.strip():
        gutter = f"{site.line:>4} | "
        yield Text("     |", style="blue")
        yield Text.assemble((gutter, "blue"), code.strip() if len(code) + len(gutter) > style.width else code)
        yield Text("     |", style="blue")


def _path(path: Sequence[Step], style: Style) -> Iterator[Text]:
    if not path:
        return
    values = [v for step in path for v in (step.proved, step.forecast) if v is not None and isfinite(v)]
    lowest = min([v for v in values if v < 0], default=-1.0)
    highest = max([v for v in values if v > 0], default=0.0)
    yield _note("path", "share of the gradient at the end of the path that reaches each block", style)
    labels = {step.label: " ".join(step.label.split()) for step in path}
    width = max(map(len, labels.values()))
    bar = min(max(style.width - 10 - width - 24, BAR // 2), BAR)
    ends = f"{short(lowest)}{'log':^{max(bar - len(short(lowest)) - len(short(highest)), 5)}}{short(highest)}"
    yield Text(f"          {'block':<{width}}  {'proved <=':>9}  {'forecast':>9}  {ends}", style="dim")
    shown, skipped = _thinned(path, style)
    for position, step in enumerate(shown):
        if position == skipped[0]:
            yield Text(f"            ... {skipped[1]} more (--full)", style="dim")
        proved = at_most(step.proved) if step.proved is not None else "inf"
        forecast = short(step.forecast) if step.forecast is not None else "?"
        yield Text(f"          {labels[step.label]:<{width}}  {proved:>9}  {forecast:>9}  {_bar(step.forecast, lowest, highest, bar)}")


def _thinned(path: Sequence[Step], style: Style) -> tuple[Sequence[Step], tuple[int, int]]:
    if style.full or len(path) <= SHOWN_STEPS:
        return path, (-1, 0)
    half = SHOWN_STEPS // 2
    return (*path[:half], *path[-half:]), (half, len(path) - SHOWN_STEPS)


def _bar(value: float | None, lowest: float, highest: float, length: int) -> str:
    if value is None:
        return "·" * length
    share = (value - lowest) / max(highest - lowest, 1e-9)
    filled = round(length * min(max(share, 0.0), 1.0))
    return "█" * filled + "·" * (length - filled)


def _quietly(target: TargetReport, report: Report, style: Style) -> Iterator[Text]:
    """Nothing of what was wholly checked."""
    if target in report.incomplete:
        yield Text.assemble((f"{target.id}: ", "bold"), (verdict(target, report), "bold red"))
        yield from _unchecked(target, report, style)


def _summary(target: TargetReport, report: Report, style: Style) -> Iterator[Text]:
    incomplete = target in report.incomplete
    severe = {finding.severity for finding in target.findings if finding.counts}
    style_name = "bold red" if "error" in severe or incomplete else "bold yellow" if "warning" in severe else "bold green"
    c = target.coverage
    parts = []
    if c.nodes:
        parts.append(f"{c.nodes} calls, {c.ruled} with a transfer, {c.nodes - c.ruled} unknown")
        parts.append(f"{c.forecast} of {c.params} parameters forecast")
        parts.append(f"{target.tracer}, {target.mode} mode, {target.cotangent}")
        parts.append(target.training.title or ("no optimiser given" if target.training.is_given else "training not given"))
    if known := accepted(target, report):
        parts.append(known)
    if target.suppressed:
        gone = Counter(s.finding.code for s in target.suppressed)
        parts.append(f"{gone.total()} suppressed ({', '.join(f'{code} {n}' if n > 1 else code for code, n in sorted(gone.items()))})")
    if style.timings:
        parts.append(", ".join(f"{k} {v:.2f} s" for k, v in target.seconds.items()))
    whole = (p.replace(" ", "\xa0") if len(p) < style.width // 2 else p for p in parts)  # lines break between parts
    said = "".join(f" ·\xa0{p}" for p in whole)
    yield _wrapped(style, (f"{target.id}: ", "bold"), (verdict(target, report), style_name), (said, ""))
    traced = (note for note in target.notes if not any(note in finding.message for finding in target.findings))  # or it is a finding
    for note in (target.guess, *target.training.notes, *traced):
        if note:
            yield Text("\n".join(fill(f"  {note}", style.width, indent=4)), style="yellow")
    for line in agreement(target, target.measured) if target.measured is not None else ():
        yield Text("\n".join(fill(f"  {line}", style.width, indent=4)))
    yield from _unchecked(target, report, style)


def _unchecked(target: TargetReport, report: Report, style: Style) -> Iterator[Text]:
    for sentence in unchecked(target, report):
        yield _wrapped(style, ("  ", ""), ("incomplete: ", "bold red"), (sentence, ""))
