"""The trials of a pack can fail: a claim that is wrong in one way is refuted by the trial that is for it."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor

from netaudit import Audit, Effect, Jacobian, Node, Remark, Signal, Var, check, modelled, transfer
from netaudit.check import Check
from netaudit.effect import Transfer
from netaudit.errors import PackError
from netaudit.testing import Case, normal, trials, trials_of_check


@torch.library.custom_op("netaudit_test::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


twice.register_autograd(lambda ctx, g: 2 * g)

CASE = Case(op="netaudit_test.twice", function=twice, inputs=(normal(3, 4),))


def transfer_of(lip: float = 2.0, *, tag: str = "linear", model: float = 2.0, source: str = "J = 2 I") -> Transfer:
    """The transfer of ``2 x``, right unless told otherwise."""

    @transfer("netaudit_test.twice", source=source)
    def body(node: Node, x: Signal) -> Effect:
        """Twice the input."""

        def doubled(v: Var) -> Var:
            return v.scale(model)

        moments, pull = modelled(doubled, x)
        return Effect(Signal(node.shape, moments=moments), (Jacobian(lip, "exact", "it says so", frozenset({tag})),), pull)  # type: ignore[arg-type]  # a tag, or not

    return body


def pack_of(**members: object) -> ModuleType:
    module = ModuleType("made_up")
    vars(module).update(members)
    return module


def refuted(pack: ModuleType, *cases: Case) -> set[str]:
    return {str(trial) for trial in trials(pack, cases) if trial()}


@pytest.mark.parametrize(
    ("wrong", "failing"),
    [
        ({}, ()),
        ({"lip": 1.9}, ("soundness", "probe")),
        ({"lip": 2.1}, ("tightness",)),
        ({"model": 3.0}, ("samples",)),
        ({"tag": "isometry"}, ("axioms",)),
    ],
    ids=["right", "a bound that is exceeded", "an exact bound out of reach", "a model that is off", "a tag that does not hold"],
)
def test_a_wrong_claim_is_refuted_by_its_trial(wrong: dict[str, object], failing: tuple[str, ...]) -> None:
    expected = {f"netaudit_test.twice-{trial}" for trial in failing}
    assert refuted(pack_of(t=transfer_of(**wrong)), CASE) == expected  # type: ignore[arg-type]  # one of the arguments above


def test_an_op_needs_a_case_and_a_source() -> None:
    assert refuted(pack_of(t=transfer_of(source=""))) == {"made_up-cases", "made_up-texts"}
    exempt = {"netaudit_test.twice": "it has a case", "netaudit_test.thrice": "it is no op"}
    told = {str(trial): trial() for trial in trials(pack_of(t=transfer_of()), [CASE], exempt=exempt)}
    assert told["made_up-cases"] == (
        "netaudit_test.twice is exempt, and has a case",
        "netaudit_test.twice is exempt, and has no transfer".replace("twice", "thrice"),
    )


def test_a_pack_that_claims_an_op_of_another_is_refused() -> None:
    with pytest.raises(PackError, match=r"aten\.relu has two transfers"):
        trials(pack_of(t=transfer("aten.relu")(lambda node, x: Effect(x, ()))))


LINEAR = """
    import torch
    from torch import nn
    def build(): return nn.Linear(4, 4)
    def example_inputs(): return torch.randn(2, 4)
"""


def check_of(doc: str, *, says: bool = True) -> Check:
    def made_up(audit: Audit) -> Iterator[Remark]:
        if says and audit.graph.params:
            yield Remark("it has parameters")

    made_up.__doc__ = doc
    return check("ZZZ001", severity="info")(made_up)


def text_of(*headings: str) -> str:
    bodies = dict.fromkeys(("Flagged", "Clean"), f"```python{LINEAR}    ```")
    return "A summary.\n\n" + "".join(f"{name}:\n    {bodies.get(name, 'Words.')}\n\n" for name in headings)


@pytest.mark.parametrize(
    ("headings", "says", "expected"),
    [
        (("Why", "How it is found", "Flagged", "Clean"), True, {"Clean-0"}),
        (("Why", "How it is found", "Flagged", "Clean"), False, {"Flagged-0"}),
        (("Why", "Flagged", "Clean"), False, {"headings", "Flagged-0"}),
        (("How it is found", "Why", "Flagged", "Clean"), False, {"headings", "Flagged-0"}),
        (("Why", "How it is found", "Flagged"), True, {"headings"}),
    ],
)
def test_a_check_that_breaks_its_word_is_refuted(headings: tuple[str, ...], says: bool, expected: set[str]) -> None:
    from netaudit.pack import installed

    one = check_of(text_of(*headings), says=says)
    catalog = installed(beside=(pack_of(c=one),))
    assert {str(trial) for trial in trials_of_check(one, catalog) if trial()} == {f"ZZZ001-{name}" for name in expected}
