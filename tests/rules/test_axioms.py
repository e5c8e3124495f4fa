"""What holds for every transfer, on every case: structure, ranges, row norms, tags, the pull-back, and the model against samples."""

from collections.abc import Mapping

from netaudit.pack import Catalog
from netaudit.testing import Applied, Case, broken_axioms, misjudged


def test_every_op_of_the_catalog_has_a_case(catalog: Catalog, cases: Mapping[str, Case]) -> None:
    assert sorted(set(catalog.transfers) - {case.op for case in cases.values()} - set(BY_HAND)) == []


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


def test_every_exception_is_still_in_the_catalog(catalog: Catalog, cases: Mapping[str, Case]) -> None:
    assert set(BY_HAND) <= set(catalog.transfers) - {case.op for case in cases.values()}


def test_no_axiom_is_broken(op: Applied) -> None:
    assert list(broken_axioms(op)) == []


def test_modelled_mean_squares_are_those_of_samples(op: Applied) -> None:
    assert list(misjudged(op)) == []
