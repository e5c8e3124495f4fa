"""Output formats: each is a function of the report. One file a format, one line in FORMATS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from netaudit.finding import Report

from . import concise, github, gitlab, html, json, jsonl, junit, markdown, sarif, text
from .style import Style

__all__ = ["FORMATS", "Format", "Style"]


class Format(Protocol):
    """A report as text."""

    def __call__(self, report: Report, style: Style, /) -> str:
        """Render the report."""


FORMATS: Mapping[str, Format] = {
    "full": text.render,
    "concise": concise.render,
    "json": json.render,
    "jsonl": jsonl.render,
    "sarif": sarif.render,
    "github": github.render,
    "gitlab": gitlab.render,
    "junit": junit.render,
    "markdown": markdown.render,
    "html": html.render,
}
