"""The pack keeps its word: its transfer against autograd and samples, its check on its own models."""

import acme
import acme_rules
import pytest

from netaudit import Interval
from netaudit.testing import Case, Trial, normal, trials

CASES = (
    Case(op="acme.squareplus", function=lambda x: acme.squareplus(x, 4.0), inputs=(normal(3, 4),), tight={0: 0.999}),
    Case(op="acme.squareplus", name="narrow", function=lambda x: acme.squareplus(x, 1e-3), inputs=(normal(3, 4),)),
    Case(
        op="acme.squareplus",
        name="bounded",
        function=lambda x: acme.squareplus(x, 1.0),
        inputs=(0.1 * normal(3, 4),),
        ranges={0: Interval(-0.5, 0.5)},
        factor=None,  # inputs are drawn by their law, not from the range
        tight={0: 0.999},
    ),
)


@pytest.mark.parametrize("trial", trials(acme_rules, CASES), ids=str)
def test_the_pack_keeps_its_word(trial: Trial) -> None:
    assert trial() == ()
