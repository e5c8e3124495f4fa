"""The lowered graph is the model: run node by node it gives the model's own outputs and gradients."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netaudit.facts import derive
from netaudit.flow import flow
from netaudit.graph import Graph
from netaudit.intake.interpret import call
from netaudit.intake.lower import Lowered, lower
from netaudit.intake.subject import Subject
from netaudit.intake.trace import trace
from netaudit.intake.weights import Assumed, leaves
from netaudit.pack import installed

HERE = inspect.getsourcefile(lambda: None) or ""


def subject_of(model: nn.Module, *inputs: Tensor, loss: Callable[..., Tensor] | None = None) -> Subject:
    given = inputs if len(inputs) != 1 else inputs[0]
    return Subject("test", model, inputs, {}, given, "test", loss=loss)


def lowered(model: nn.Module, *inputs: Tensor, mode: str = "eval", loss: Callable[..., Tensor] | None = None) -> Lowered:
    subject = subject_of(model, *inputs, loss=loss)
    return lower(trace(subject, mode=mode), subject)


def run(found: Lowered) -> Sequence[Tensor]:
    values = dict(found.tensors)
    for node in found.graph.nodes:
        if node.name not in values:
            values[node.name] = call(node, values)
    return [values[name] for name in found.graph.heads]


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes if node.op not in ("input", "parameter", "constant")]


class Calls(nn.Module):
    """A model made of one function and one linear layer in front of it."""

    def __init__(self, function: Callable[[Tensor], Tensor | tuple[Tensor, ...]], width: int = 6) -> None:
        super().__init__()
        self.front = nn.Linear(width, width)
        self.function = function

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(self.front(x))


def in_place_relu(x: Tensor) -> Tensor:
    y = x * 2
    torch.relu_(y)
    return y + x


def write_to_a_slice(x: Tensor) -> Tensor:
    y = torch.zeros(4, 6)
    y[:, 1:4] = x[:, :3]
    y[0] += 1
    return y * 2


def write_through_views(x: Tensor) -> Tensor:
    y = x * 1
    row = y.view(2, 2, 6).transpose(0, 1)
    row[1].mul_(3)
    return y + row.reshape(4, 6)


def read_a_view_after_a_write(x: Tensor) -> Tensor:
    y = x * 1
    left = y[:, :3]
    y.add_(1)
    return left


def write_twice(x: Tensor) -> Tensor:
    y = x.clone()
    a, b = y[:2], y[2:]
    a.mul_(2)
    b.copy_(a)
    y.sub_(1)
    return a + b


def masked_write(x: Tensor) -> Tensor:
    y = x * 1
    y[y > 0] = 0.5
    return y.masked_fill_(x < -1, 3.0)


def fill_and_zero(x: Tensor) -> Tensor:
    y = x * 1
    y[1].fill_(2.0)
    y[2].zero_()
    return y


def pieces(x: Tensor) -> tuple[Tensor, ...]:
    a, b = x.chunk(2, dim=1)
    c, d, e = torch.split(x, [1, 2, 3], dim=1)
    f, *_ = x.unbind(0)
    return a * b, c + e[:, :1], d, f


def pieces_of_pieces(x: Tensor) -> tuple[Tensor, ...]:
    _, b = x.reshape(4, 2, 3).unbind(1)
    head, rest = torch.tensor_split(b, [1], dim=0)
    return head, rest.chunk(2, dim=1)[1]


def several_outputs(x: Tensor) -> tuple[Tensor, ...]:
    values, _ = x.max(dim=1)
    var, mean = torch.var_mean(x, dim=0)
    top, _ = x.topk(2, dim=1)
    return values, var, mean, top


def without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        scale = x.abs().mean()
    return x / scale


def constants(x: Tensor) -> Tensor:
    mask = torch.tril(torch.ones(4, 4)) > 0
    position = torch.arange(6).float().sin()
    return torch.where(mask, x @ x.T, torch.tensor(0.0)) @ x + position


def quotient_into_a_buffer(x: Tensor) -> Tensor:
    """As spectral_norm keeps its power iteration: ``aten.div.out``, whose counterpart is not the ``div`` of two numbers."""
    held = torch.empty(4, 6)
    return x * torch.div(torch.arange(24.0).reshape(4, 6), torch.full((4, 6), 3.0), out=held) + held


FUNCTIONS = [
    in_place_relu, write_to_a_slice, write_through_views, read_a_view_after_a_write, write_twice, masked_write, fill_and_zero, pieces,
    pieces_of_pieces, several_outputs, without_gradient, constants, quotient_into_a_buffer,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("front_end", ["export", "make_fx"])
def test_the_graph_computes_what_the_model_does(
    function: Callable[[Tensor], Tensor], front_end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, x = Calls(function), torch.randn(4, 6)
    if front_end == "make_fx":
        monkeypatch.setattr(torch.export, "export", _refuses)
    found = lowered(model, x)
    assert found.graph.tracer == ("make_fx" if front_end == "make_fx" else "torch.export")
    expected = model(x)
    for own, other in zip(run(found), expected if isinstance(expected, tuple) else (expected,), strict=True):
        torch.testing.assert_close(own, other)


def _refuses(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("refused")


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_graph_has_the_models_gradient(function: Callable[[Tensor], Tensor]) -> None:
    if function is without_gradient:
        pytest.skip("a no_grad region is a matter of the facts, not of the values")
    torch.manual_seed(0)
    model, x = Calls(function), torch.randn(4, 6)
    found = lowered(model, x)
    outputs = run(found)
    own = torch.autograd.grad([o.sum() for o in outputs], model.front.weight)[0]
    result = model(x)
    expected = torch.autograd.grad([o.sum() for o in (result if isinstance(result, tuple) else (result,))], model.front.weight)[0]
    torch.testing.assert_close(own, expected)


def test_no_node_is_in_place() -> None:
    for function in FUNCTIONS:
        graph = lowered(Calls(function), torch.randn(4, 6)).graph  # type: ignore[arg-type]  # the functions differ in what they return
        assert not [op for op in ops(graph) if op.endswith("_") and not op.endswith("__")], function.__name__


def test_regions_are_marked() -> None:
    graph = lowered(Calls(without_gradient), torch.randn(4, 6)).graph
    assert {"aten.abs", "aten.mean"} == {n.op for n in graph.nodes if "no_grad" in n.regions}


def test_autocast_is_marked_and_dtypes_follow() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                y: Tensor = self.a(x)
            return y

    graph = lowered(Half(), torch.randn(2, 4)).graph
    (node,) = (n for n in graph.nodes if n.op == "aten.linear")
    assert node.dtype == "bfloat16"
    assert "autocast:bfloat16" in node.regions


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: object, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(_ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


def test_a_custom_function_is_marked() -> None:
    graph = lowered(Calls(lambda x: Straight.apply(x) * 2), torch.randn(4, 6)).graph  # type: ignore[no-untyped-call]  # torch's own signature
    marked = [n for n in graph.nodes if any(r.startswith("custom_backward:") for r in n.regions)]
    assert [n.op for n in marked] == ["aten.round"]
    assert Straight.apply(torch.ones(1)).item() == 1.0  # type: ignore[no-untyped-call]  # torch's own signature


class Gelu(torch.autograd.Function):
    """Its backward is the derivative of its forward, constants written with few digits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y: Tensor = 0.5 * x * (1 + torch.erf(x / 1.41421356))
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = 0.5 * (1 + torch.erf(x / 1.41421356)) + 0.39894 * x * torch.exp(-0.5 * x * x)
        return grads[0] * slope


class Needy(Gelu):
    """Cannot be run alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if x.dtype == torch.float64:
            raise TypeError("single precision only")
        ctx.save_for_backward(x)
        return torch.nn.functional.gelu(x)


@pytest.mark.parametrize(("function", "sampled"), [(Straight, False), (Gelu, True), (Needy, False)])
def test_the_backward_of_a_custom_function_is_sampled(function: Any, sampled: bool) -> None:
    """One that is the derivative of its forward has a forecast, and no bound; any other is unknown, and is counted."""
    model = nn.Sequential(nn.Linear(6, 6), Calls(function.apply), nn.Linear(6, 2))
    found = lowered(model, torch.randn(4, 6))
    facts = derive(found.graph, leaves(found, Assumed(True)), installed())
    swept = flow(facts)
    assert (swept.params["0.weight"].forecast is not None) is sampled
    assert (facts.coverage == 1.0) is sampled
    assert swept.params["0.weight"].bound == math.inf


def test_tied_weights_are_one_parameter_with_two_names() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(8, 4)
            self.head = nn.Linear(4, 8, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Tensor) -> Tensor:
            y: Tensor = self.head(self.table(ids))
            return y

    graph = lowered(Tied(), torch.tensor([[1, 2]])).graph
    (info,) = graph.params.values()
    assert set(info.names) == {"table.weight", "head.weight"}
    assert sum(info.node in node.inputs for node in graph.nodes) == 2


def test_computed_weights_stay_calls_on_parameters() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    graph = lowered(model, torch.randn(2, 4)).graph
    assert "aten._weight_norm" in ops(graph)
    assert len(graph.params) == 3


def test_constants_are_folded() -> None:
    graph = lowered(Calls(constants), torch.randn(4, 6)).graph
    assert not {"aten.arange", "aten.tril", "aten.sin", "aten.ones"} & set(ops(graph))


def test_every_call_knows_its_line_and_module() -> None:
    model = nn.Sequential(Calls(in_place_relu))
    graph = lowered(model, torch.randn(4, 6)).graph
    for node in graph.nodes:
        if node.op.startswith("aten."):
            assert node.where.called is not None
            assert node.where.called.file.endswith("test_lowering.py")
    (linear,) = (n for n in graph.nodes if n.op == "aten.linear")
    assert linear.where.module == "0.front"
    assert linear.where.module_type == "Linear"


def test_the_loss_is_traced_with_the_model() -> None:
    def loss(model: nn.Module, inputs: Tensor) -> Tensor:
        labels = torch.randn(4, generator=torch.Generator().manual_seed(3)) > 0
        return F.cross_entropy(model(inputs), labels.long())

    model, x = nn.Linear(6, 2), torch.randn(4, 6)
    found = lowered(model, x, loss=loss)
    assert found.graph.loss is not None
    assert len(found.graph.outputs) == 1
    torch.testing.assert_close(run(found)[0], loss(model, x))


def test_a_loss_that_does_not_trace_leaves_the_model() -> None:
    def loss(model: nn.Module, inputs: Tensor) -> Tensor:
        raise RuntimeError("not today")

    graph = lowered(nn.Linear(6, 2), torch.randn(4, 6), loss=loss).graph
    assert graph.loss is None
    assert any("the loss did not trace" in note and "not today" in note for note in graph.notes)


def test_tracing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    torch.manual_seed(7)
    monkeypatch.setattr(torch.export, "export", _refuses)
    lowered(model, torch.randn(8, 4), mode="train")
    torch.manual_seed(7)
    torch.randn(8, 4)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, before[name])
    assert not any(module.training for module in model.modules())


def test_a_model_on_the_meta_device_traces() -> None:
    with torch.device("meta"):
        model = nn.TransformerEncoderLayer(32, 4, batch_first=True)
    graph = lowered(model, torch.randn(2, 5, 32, device="meta")).graph
    assert "aten.scaled_dot_product_attention" in ops(graph)


# composites -------------------------------------------------------------------------------------------------------------


def rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def rms_norm_in_float(x: Tensor) -> Tensor:
    wide = x.to(torch.float64)
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)


def layer_norm_by_var(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)


def attention(x: Tensor) -> Tensor:
    return torch.softmax(x @ x.transpose(-1, -2) / 2.0, dim=-1) @ x


def masked_attention(x: Tensor) -> Tensor:
    scores = (x @ x.transpose(-1, -2)) * 0.5
    mask = torch.triu(torch.full((4, 4), float("-inf")), 1)
    return F.dropout(torch.softmax(scores + mask, dim=-1), 0.0) @ x


COMPOSITES = {
    "netaudit.rms_norm": (rms_norm, rms_norm_in_float),
    "netaudit.layer_norm": (layer_norm, layer_norm_by_var),
    "netaudit.attention": (attention, masked_attention),
    "netaudit.swish": (lambda x: x * torch.sigmoid(x), lambda x: torch.sigmoid(1.702 * x) * x),
    "netaudit.gelu": (lambda x: 0.5 * x * (1.0 + torch.erf(x / 2**0.5)), lambda x: x * 0.5 * (torch.erf(x * 0.5**0.5) + 1)),
    "netaudit.gelu_tanh": (lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x.pow(3)))),),
    "netaudit.mish": (lambda x: x * torch.tanh(F.softplus(x)),),
    "netaudit.l2_normalize": (lambda x: F.normalize(x, dim=-1), lambda x: x / (x.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt()),
    "netaudit.center": (lambda x: x - x.mean(-1, keepdim=True),),
}


@pytest.mark.parametrize(("op", "function"), [(op, f) for op, fs in COMPOSITES.items() for f in fs])
def test_a_hand_written_form_becomes_one_node_and_still_runs(op: str, function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model, x = Calls(function), torch.randn(4, 6)
    found = lowered(model, x)
    (node,) = (n for n in found.graph.nodes if n.op == op)
    assert len(node.folded) >= 2
    torch.testing.assert_close(run(found)[0], model(x))


def test_a_form_whose_inside_is_used_elsewhere_is_left_alone() -> None:
    def shared(x: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(x)
        return x * gate, gate

    assert "netaudit.swish" not in ops(lowered(Calls(shared), torch.randn(4, 6)).graph)


@pytest.mark.zoo
@pytest.mark.parametrize("target", ["torchvision:resnet18", "timm:vit_tiny_patch16_224", "torchvision:shufflenet_v2_x0_5"])
def test_zoo_models_run_node_by_node(target: str) -> None:
    from netaudit.errors import TargetError
    from netaudit.intake.subject import Options
    from netaudit.intake.target import load

    try:
        (subject,) = load(target, Options())
    except TargetError as error:
        pytest.skip(str(error))
    found = lower(trace(subject, mode="eval"), subject)
    subject.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(run(found)[0], subject.model(*subject.args), rtol=1e-4, atol=1e-4)
