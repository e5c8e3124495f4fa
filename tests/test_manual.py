"""The generated manuals are current, and what `netaudit rule` prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

from netaudit.check import HEADINGS, sections
from netaudit.manual import manual, page, table
from netaudit.pack import installed
from netaudit.report.documents import KINDS, json_schema
from netaudit.report.reference import reference

ROOT = Path(__file__).parent.parent


def test_the_manual_is_current() -> None:
    assert (ROOT / "rules" / "README.md").read_text(encoding="utf-8") == manual(installed()), "run: python -m netaudit.manual"


def test_the_reference_of_the_json_documents_is_current() -> None:
    assert (ROOT / "docs" / "json.md").read_text(encoding="utf-8") == reference(), "run: python -m netaudit.manual"


def test_the_reference_tells_every_key_of_every_kind() -> None:
    text = reference()
    for kind in KINDS:
        schema = json.loads(json_schema(kind))
        for one in (schema, *schema.get("$defs", {}).values()):
            assert all(f"`{name}`" in text for name in one.get("properties", {})), one["title"]
    anchors = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert {name for name, _ in re.findall(r"\[(\w+)\]\(#(\w+)\)", text)} <= anchors


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
