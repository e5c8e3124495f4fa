"""What findings claim of a measurement: it tells their models from the clean ones, and the documentation says what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netaudit.pack import installed
from netaudit.testing.claiming import indifferent, probed
from netaudit.testing.examples import examples

CHECKS = installed().checks
ALIKE = {
    "NA106": "the op behind the operand is another one, the operand is not",
    "NA202": "a shrinking by 4 is within a factor of two of the 2.6 that the other initialisation and the default head make",
    "NA203": "the clean stack shrinks the gradient by its initialisation, which is NA202's",
    "NA303": "the ReLU stands inside of the branch, not at its end",
    "NA404": "the stream is as large, and a normalisation follows",
    "NA436": "the input is as large, and a normalisation follows",
    "NA503": "the sum is as large, in single precision",
    "NA504": "the step is as small, on parameters in single precision",
    "NA506": "the gradient is as small, and the loss is scaled",
    "NA605": "the gradient is as small, and so is eps",
    "NA606": "the gradient is as large, and the threshold fits it",
    "NA612": "the gradient is as small, and so is the decay",
    "NA613": "the gradient is there in both, in one the optimiser has the parameter",
}
"""Checks whose two models measure alike where they claim something, and where the difference is."""


@pytest.mark.parametrize("code", [code for code in CHECKS if code not in ALIKE])
def test_what_is_claimed_does_not_hold_of_the_clean_model(code: str) -> None:
    assert list(indifferent(CHECKS[code])) == []


@pytest.mark.parametrize("code", ALIKE)
def test_models_that_are_said_to_measure_alike_do(code: str) -> None:
    assert list(indifferent(CHECKS[code])) != []


_TEXT = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8").partition("## What rules claim")[2]
CLAIMED, NEVER = (frozenset(re.findall(r"NA\d{3}", part)) for part in _TEXT.split("## What is never"))


def test_the_documentation_says_of_every_rule_what_it_claims_or_why_not() -> None:
    assert set(CHECKS) == CLAIMED | NEVER


@pytest.mark.parametrize("code", sorted(NEVER - CLAIMED))
def test_what_is_said_to_be_never_probed_claims_nothing(code: str) -> None:
    told = [f.claim for source in examples(CHECKS[code]).get("Flagged", ()) for f in probed(source) if f.code == code]
    assert set(told) == {None}
