"""What holds for every transfer, on every case: structure, tags, the pull-back, the model against samples, bounds true and tight."""

from collections.abc import Mapping

import netaudit_rules

from netaudit.testing import Case, Trial, trials

BY_HAND = {
    "aten.cudnn_batch_norm": "runs on CUDA only; shares the transfer of aten.batch_norm",
    "aten.data": "cannot be traced: export sees the tensor itself",
    "aten.lift_fresh": "export writes aten.lift_fresh_copy",
    "aten.nonzero": "its shape depends on values; an integer output",
    "aten.zeros": "without operands it is a constant, and evaluated",
    "aten.ones": "without operands it is a constant, and evaluated",
    "aten.full": "without operands it is a constant, and evaluated",
    "aten.bernoulli_": "in-place calls are written without the underscore",
}
"""Ops that no case can reach, with the reason."""


def test_every_op_has_a_case_a_text_and_a_source(cases: Mapping[str, Case]) -> None:
    told = {str(trial): trial for trial in trials(netaudit_rules, cases.values(), exempt=BY_HAND)}
    assert told["netaudit_rules-cases"]() == ()
    assert told["netaudit_rules-texts"]() == ()


def test_a_transfer_keeps_its_word(op_trial: Trial) -> None:
    assert op_trial() == ()
