"""The table of nodes of one target."""

from __future__ import annotations

from tabulate import tabulate

from netaudit.finding import NodeRow, ParamRow, TargetReport

from .numbers import dimensions, magnitude

_SHORT = {"rank-deficient": "singular", "scale-invariant": "scale-inv"}


def render(target: TargetReport) -> str:
    """Calls in execution order, then parameters. Sizes are root mean squares; gradients are those of the loss."""
    calls = tabulate(
        [_node(node) for node in target.nodes],
        headers=("module", "op", "shape", "lipschitz <=", "jacobian", "rms", "|grad| <=", "grad rms"),
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "left", "left", "right", "left", "right", "right", "right"),
    ) if target.nodes else "no calls"  # fmt: skip
    params = tabulate(
        [_param(param) for param in target.params],
        headers=("parameter", "shape", "|grad| <=", "grad rms", "S"),
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "left", "right", "right", "right"),
    ) if target.params else "no parameters"  # fmt: skip
    problems = "".join(f"incomplete: {problem}\n" for problem in target.problems)
    return f"{target.id}\n\n{calls}\n\n{params}\n\nlipschitz and |grad| are proved; rms, grad rms and S are forecast\n{problems}"


def _node(node: NodeRow) -> tuple[str, ...]:
    tags = " ".join(_SHORT.get(tag, tag) for tag in node.tags)
    return (
        node.module,
        node.op.removeprefix("aten."),
        dimensions(node.shape),
        magnitude(node.lipschitz),
        tags,
        magnitude(node.rms),
        magnitude(node.gradient_bound),
        magnitude(node.gradient),
    )


def _param(param: ParamRow) -> tuple[str, ...]:
    frozen = "" if param.trainable else " (frozen)"
    return (
        param.name + frozen,
        dimensions(param.shape),
        magnitude(param.gradient_bound),
        magnitude(param.gradient),
        magnitude(param.sensitivity),
    )
