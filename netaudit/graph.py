"""The model as plain values: nodes, parameters, and where each comes from in the user's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

CUSTOM_FUNCTION = "custom_backward:"
"""The region of the calls that a custom ``autograd.Function`` makes; its name follows."""
SAMPLED_BACKWARD = "sampled_backward"
"""The region of such calls when the function's backward was seen to be the derivative of its forward, at random points."""

_DRAWING = """
rand randn randint randperm random dropout bernoulli binomial multinomial normal uniform exponential cauchy geometric gumbel poisson
gamma dirichlet rrelu empty
"""
RANDOM = frozenset(_DRAWING.split())
"""Words in the names of ops that draw numbers, or leave them as they are in memory."""


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of another node, as an argument."""

    name: str


Arg: TypeAlias = "bool | int | float | str | Ref | tuple[Arg, ...] | None"
Operand: TypeAlias = str | float | None
"""What stands in a tensor slot of a call: a node's name, a number, or nothing (an optional tensor left out)."""


@dataclass(frozen=True, slots=True)
class Site:
    """A line of a file."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Where:
    """Where a node comes from: the module whose ``forward`` made the call, the line of the call, the line that built the module.

    ``called`` and ``created`` are None when they are not known: no line is ever guessed.
    """

    module: str = ""
    module_type: str = ""
    called: Site | None = None
    created: Site | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One call of the model: ``op`` is a packet name (``aten.layer_norm``), a composite (``netaudit.rms_norm``) or a leaf.

    Leaves are ``input``, ``parameter`` and ``constant``. ``operands`` stand in the order of the schema's tensor slots, lists
    flattened; ``args`` holds the whole call by name, defaults filled in. A call with several outputs is one node for each
    output that is used, told apart by ``args["output"]``. ``target`` names the overload (``aten.add.Tensor``) and ``folded``
    keeps the calls that a composite replaced, so that the graph can be run and checks can see hand-written forms.
    """

    name: str
    op: str
    operands: tuple[Operand, ...] = ()
    args: Mapping[str, Arg] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    where: Where = Where()
    target: str = ""
    regions: frozenset[str] = frozenset()
    folded: tuple[Node, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the operands that are nodes, in order, repeats kept."""
        return tuple(o for o in self.operands if isinstance(o, str))

    @property
    def is_float(self) -> bool:
        """Whether the value is a floating or complex tensor: only such tensors carry a gradient."""
        return self.dtype.startswith(("float", "bfloat", "complex"))

    @property
    def is_random(self) -> bool:
        """Whether the call draws numbers, so that its value is no function of its operands; what drops entries, in training only.

        Whole words count: ``l2_normalize`` is not ``normal``. A loss that is named after a distribution draws nothing.
        """
        if self.args.get("train", self.args.get("training", True)) is False:
            return False
        words = set(self.op.partition(".")[2].split("_"))
        dropped = self.args.get("dropout_p", self.args.get("dropout", 0.0))
        return bool(words & RANDOM and "loss" not in words) or (isinstance(dropped, (int, float)) and dropped > 0.0)

    @property
    def custom_function(self) -> str:
        """The ``autograd.Function`` whose forward made this call, if any: its backward is user code that the trace does not show."""
        marked = (region.partition(":")[2] for region in self.regions if region.startswith(CUSTOM_FUNCTION))
        return next(marked, "") if self.is_float else ""


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """A parameter: every name the model knows it by (tied weights are one parameter), and whether it is trained."""

    node: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    where: Where = Where()


@dataclass(frozen=True, slots=True)
class Unregistered:
    """A tensor that asks for a gradient but is no parameter of the model, so that no optimiser and no ``state_dict`` sees it.

    ``node`` is the constant that stands for it in the graph, ``name`` how the code reaches it and ``holder`` what holds it ("a
    list"). ``is_leaf`` is False for what was computed from a parameter once, in the constructor. ``optimised`` says that an
    optimiser of the target has it all the same.
    """

    node: str
    name: str
    shape: tuple[int, ...]
    holder: str
    where: Where = Where()
    is_leaf: bool = True
    optimised: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Graph:
    """A traced model in execution order, functional: no node changes another's value.

    ``outputs`` are the model's results; ``loss`` is the scalar that is differentiated when the target gave one.
    ``tracer`` says which front end made it, and ``notes`` what was lost on the way ("one path only"). ``clones`` are groups of
    distinct parameters with equal values.
    """

    nodes: tuple[Node, ...]
    params: Mapping[str, ParamInfo]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    loss: str | None = None
    tracer: str = "export"
    notes: tuple[str, ...] = ()
    unregistered: tuple[Unregistered, ...] = ()
    clones: tuple[tuple[str, ...], ...] = ()

    def by_name(self) -> Mapping[str, Node]:
        """The nodes, keyed by name."""
        return {node.name: node for node in self.nodes}

    @property
    def heads(self) -> tuple[str, ...]:
        """The nodes a gradient starts from: the loss if there is one, else the outputs."""
        return (self.loss,) if self.loss is not None else self.outputs
