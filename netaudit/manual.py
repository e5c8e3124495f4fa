"""The manuals that are made from the code: rules and ops from their declarations, the JSON documents from their models."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from .check import Check, sections
from .pack import Catalog


def table(catalog: Catalog) -> str:
    """All rules, one a line."""
    rows = [(c.code, c.name, c.severity + (" (preview)" if c.preview else ""), c.summary) for c in catalog.checks.values()]
    return (
        tabulate(
            rows,
            headers=("code", "name", "severity", "what it says"),
            tablefmt="simple",
            maxcolwidths=(None, None, None, 70),
        )
        + "\n"
    )


def page(check: Check) -> str:
    """One rule, as text for a terminal: it is Markdown that reads well unrendered."""
    text = sections(check.doc)
    needs = ", ".join(sorted(check.needs))
    lines = [
        f"{check.name} ({check.code})",
        f"{check.severity} · needs: {needs}" + (" · preview" if check.preview else ""),
        "",
        text.summary,
    ]
    for heading, body in text.parts.items():
        lines += ["", heading, *(f"  {line}".rstrip() for line in body.splitlines())]
    return "\n".join(lines) + "\n"


def manual(catalog: Catalog) -> str:
    """``rules/README.md``: every rule with its sections, then every transfer with its source."""
    return "\n".join([*_head(), *_rules(catalog), *_transfers(catalog)]) + "\n"


def _head() -> Iterator[str]:
    yield "# The rules and the ops of netaudit"
    yield ""
    yield "Generated from docstrings by `python -m netaudit.manual`; a test keeps it current. Do not edit."
    yield ""


def _rules(catalog: Catalog) -> Iterator[str]:
    yield "## Rules"
    yield ""
    rows = [(f"[{c.code}](#{c.code.lower()}-{c.name})", c.severity, c.summary) for c in catalog.checks.values()]
    yield tabulate(rows, headers=("rule", "severity", "what it says"), tablefmt="github")
    for check in catalog.checks.values():
        text = sections(check.doc)
        yield f"\n### {check.code} {check.name}\n"
        yield f"*{check.severity}* · needs {', '.join(sorted(check.needs))}" + (" · preview" if check.preview else "")
        yield f"\n{text.summary}"
        for heading, body in text.parts.items():
            yield f"\n**{heading}**\n\n{body}"


def _transfers(catalog: Catalog) -> Iterator[str]:
    yield "\n## Ops\n"
    yield "What is proved of each op, and where the constants come from. `lip` is the supremum of the spectral norm of the Jacobian.\n"
    seen: list[tuple[str, str, str, str, str]] = []
    done: set[int] = set()
    for op in sorted(catalog.transfers):
        transfer = catalog.transfers[op]
        if id(transfer) in done:
            continue
        done.add(id(transfer))
        names = ", ".join(f"`{o}`" for o in transfer.ops)
        seen.append(
            (
                names,
                _cell(transfer.doc.partition("\n")[0]),
                _cell(transfer.source),
                _cell(transfer.kinks),
                _cell(transfer.degree),
            )
        )
    yield tabulate(seen, headers=("ops", "what", "source", "kinks", "degree"), tablefmt="github")


def _cell(text: str) -> str:
    """Text that cannot end a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write ``rules/README.md`` and ``docs/json.md`` of the checkout this is run in."""
    from pathlib import Path

    from .pack import installed
    from .report.reference import reference

    Path("rules/README.md").write_text(manual(installed()), encoding="utf-8")
    Path("docs/json.md").write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
