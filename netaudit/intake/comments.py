"""The ``# netaudit: ignore[...]`` comments in the files that a subject was built from."""

from __future__ import annotations

import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from netaudit.graph import Graph, Site
from netaudit.suppress import Ignore, ignores_in

from .subject import Subject
from .usercode import is_installed


def ignores_of(subject: Subject, graph: Graph) -> tuple[Ignore, ...]:
    """The comments about lines that build or call something of the model; of a file that is the target, all.

    Other comments of a file are about code that is not part of this subject.
    """
    lines: dict[str, set[int]] = {}
    for site in _sites(subject, graph):
        lines.setdefault(site.file, set()).add(site.line)
    if subject.file is not None:
        lines.setdefault(subject.file, set())
    return tuple(
        ignore
        for file in sorted(lines)
        for ignore in ignores_in(file, _text(file))
        if subject.id == file or any(ignore.covers(Site(file, line)) for line in lines[file])
    )


def _sites(subject: Subject, graph: Graph) -> Iterator[Site]:
    places = (*(node.where for node in graph.nodes), *(info.where for info in graph.params.values()))
    yield from _known(site for where in places for site in (where.called, where.created))
    yield from subject.created.values()
    yield from _known(subject.optimizer_sites)


def _known(sites: Iterable[Site | None]) -> Iterator[Site]:
    return (site for site in sites if site is not None)


def _text(file: str) -> str:
    """A file of the user's; nothing of what is installed, is no file, or is not python."""
    path = Path(file).absolute()
    if is_installed(str(path)) or path.suffix != ".py" or not path.is_file():
        return ""
    try:
        with tokenize.open(path) as stream:
            text = stream.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return ""
    return text if "netaudit:" in text else ""  # most files have none, and need not be split into tokens
