"""The text of every installed check: its headings in order, its Flagged models found, its Clean ones not."""

import pytest

from netaudit.pack import installed
from netaudit.testing import Trial, trials_of_check


@pytest.mark.parametrize("trial", [trial for check in installed().checks.values() for trial in trials_of_check(check)], ids=str)
def test_a_check_keeps_its_word(trial: Trial) -> None:
    assert trial() == ()
