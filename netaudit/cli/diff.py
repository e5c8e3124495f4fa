"""`netaudit diff`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from netaudit.diff import difference, load

from .app import CLEAN, FINDINGS, INCOMPLETE, app
from .common import one_of


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A JSON report (check -o json=FILE).")],
    after: Annotated[Path, typer.Argument(help="A later one.")],
    output: Annotated[str, typer.Option("--output", "-o", help="text or markdown.", metavar="FORMAT")] = "text",
) -> int:
    """Compare two JSON reports: what is worse, new, fixed, the same; exit with 1 only for new and worse."""
    from netaudit.report.difference import DIFFERENCES

    render = DIFFERENCES[one_of("--output", output, tuple(DIFFERENCES))]
    found = difference(load(before), load(after))
    sys.stdout.write(render(found))
    return FINDINGS if found.is_worse else INCOMPLETE if found.incomplete else CLEAN
