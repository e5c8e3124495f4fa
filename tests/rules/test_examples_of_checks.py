"""The text of every installed check: its headings in order, its Flagged models found, its Clean ones not."""

import pytest

from netaudit.check import HEADINGS, Check, sections
from netaudit.pack import installed
from netaudit.testing import codes, examples

CHECKS = installed().checks


def _blocks(heading: str) -> list[pytest.param]:  # type: ignore[valid-type]  # pytest's own name for a case
    return [
        pytest.param(check, block, id=f"{check.code}-{i}")
        for check in CHECKS.values()
        for i, block in enumerate(examples(check).get(heading, ()))
    ]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_the_headings_stand_in_order(check: Check) -> None:
    parts = list(sections(check.doc).parts)
    assert parts == [heading for heading in HEADINGS if heading in parts]
    assert {"Why", "How it is found", "Flagged", "Clean"} <= set(parts)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_there_are_models_to_flag_and_clean_ones(check: Check) -> None:
    assert examples(check)["Flagged"]
    assert examples(check)["Clean"]


@pytest.mark.parametrize(("check", "source"), _blocks("Flagged"))
def test_a_flagged_model_is_found(check: Check, source: str) -> None:
    assert check.code in codes(source)


@pytest.mark.parametrize(("check", "source"), _blocks("Clean"))
def test_a_clean_model_is_not_found(check: Check, source: str) -> None:
    assert check.code not in codes(source)
