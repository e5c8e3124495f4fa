"""The report as one HTML page: no network, readable without scripts, light and dark. And as a fragment for notebooks."""

from __future__ import annotations

import linecache
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from netaudit.finding import Report
from netaudit.graph import Site
from netaudit.report.numbers import magnitude
from netaudit.report.style import Style
from netaudit.report.svg import CSS, shade

from . import embed, lanes
from .figure import figure
from .view import view

if TYPE_CHECKING:  # imported where a page is made: no other command waits for it
    from jinja2 import Environment

__all__ = ["figure", "notebook", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report, style: Style) -> str:
    """The whole report as one page."""
    css, script = _css(), _file("page.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            targets=view(report, _line, timings=style.timings),
            css=css,
            script=script,
            policy=embed.policy(css, script),
            json=embed.embedded(report),
        )
    )


def notebook(report: Report) -> str:
    """The report as a fragment for the output of a cell: its style holds within it, and it has no scripts.

    The tables of calls and parameters are left out; ``render`` has them.
    """
    return _environment().get_template("notebook.html").render(targets=view(report, _line), css=_css())


def _line(site: Site) -> str:
    return linecache.getline(site.file, site.line)


def _css() -> str:
    return CSS + _file("page.css") + lanes.style()


@cache
def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(prose=_prose, magnitude=magnitude, shade=shade, count=_count)
    return made


def _prose(text: str) -> str:
    """Words with `names` in them, as markup: escaped first, then every other piece between backticks is code."""
    from markupsafe import Markup, escape

    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # a stray backtick: nothing is code
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(piece) if i % 2 else escape(piece) for i, piece in enumerate(pieces))


def _count(number: int) -> str:
    """``1.2 M``: a count in three digits."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
