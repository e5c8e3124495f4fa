"""The generated manual is current, and what `netaudit rule` prints."""

from __future__ import annotations

from pathlib import Path

from netaudit.check import HEADINGS, sections
from netaudit.manual import manual, page, table
from netaudit.pack import installed

ROOT = Path(__file__).parent.parent


def test_the_manual_is_current() -> None:
    assert (ROOT / "rules" / "README.md").read_text(encoding="utf-8") == manual(installed()), "run: python -m netaudit.manual"


def test_every_rule_has_its_sections_in_order() -> None:
    for check in installed(checks_only=True).checks.values():
        assert tuple(sections(check.doc).parts) == HEADINGS, check.code


def test_a_page_and_the_table_name_every_rule() -> None:
    catalog = installed(checks_only=True)
    listed = table(catalog)
    for code, check in catalog.checks.items():
        assert code in listed
        assert check.name in page(check)
        assert check.summary in page(check)
