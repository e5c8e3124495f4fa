"""The keys of the catalogue are ops that torch has, or composites that netaudit makes."""

from importlib import import_module
from importlib.util import find_spec

import pytest
import torch

from netaudit.intake.composites import TABLE
from netaudit.intake.libraries import library
from netaudit.pack import installed

CATALOG = installed()
REGISTERED_BY = {"transformers": "transformers.integrations.moe"}
"""The module of a library that registers its operators."""
NOT_YET_RECOGNISED = {
    "netaudit.rotary": "no pattern makes it; a pack may fold its own",
}


@pytest.mark.parametrize("op", sorted(op for op in CATALOG.transfers if not op.startswith("netaudit.")))
def test_torch_has_the_op(op: str) -> None:
    namespace, _, name = op.partition(".")
    if namespace in REGISTERED_BY:
        if find_spec(namespace) is None:
            pytest.skip(f"{namespace} is not installed")
        library(namespace)
        import_module(REGISTERED_BY[namespace])
    assert hasattr(getattr(torch.ops, namespace), name), f"torch {torch.__version__} has no {op}"


def test_every_composite_that_is_recognised_has_a_transfer() -> None:
    assert {composite.op for composite in TABLE} <= set(CATALOG.transfers)


def test_every_composite_with_a_transfer_is_recognised() -> None:
    composites = {op for op in CATALOG.transfers if op.startswith("netaudit.")}
    assert composites - {composite.op for composite in TABLE} == set(NOT_YET_RECOGNISED)
