"""The leaves of a traced graph as nodes: inputs by the names the user knows, tied parameters as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from netaudit.graph import Node, ParamInfo, Site, Where

from .trace import Leaf


def named_inputs(leaves: Sequence[Leaf], taken: set[str]) -> dict[str, Leaf]:
    """The leaves by placeholder, inputs called as the user's code calls them where that name is free."""
    taken = taken | {leaf.node for leaf in leaves}
    placed = {}
    for leaf in leaves:
        is_free = leaf.kind == "input" and leaf.name not in taken
        placed[leaf.node] = replace(leaf, node=leaf.name) if is_free else leaf
        taken.add(placed[leaf.node].node)
    return placed


def leaf_nodes(leaves: Sequence[Leaf], created: Mapping[str, Site]) -> tuple[list[Node], dict[str, Tensor], dict[str, ParamInfo]]:
    """One node per distinct tensor: tied parameters are one parameter with several names."""
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    params: dict[str, ParamInfo] = {}
    by_tensor: dict[int, str] = {}
    for leaf in leaves:
        tensor = leaf.tensor
        if leaf.kind == "parameter" and id(tensor) in by_tensor:
            key = by_tensor[id(tensor)]
            params[key] = replace(params[key], names=(*params[key].names, leaf.name))
            continue
        place = _owner(leaf.name, created) if leaf.kind != "input" else Where()
        node = Node(leaf.node, leaf.kind, (), {}, tuple(tensor.shape), dtype_name(tensor), place)
        nodes.append(node)
        tensors[leaf.node] = tensor
        if leaf.kind == "parameter":
            by_tensor[id(tensor)] = leaf.name
            params[leaf.name] = ParamInfo(leaf.node, (leaf.name,), node.shape, node.dtype, tensor.requires_grad, place)
    return nodes, tensors, params


def stand_ins(placed: Mapping[str, Leaf], params: Mapping[str, ParamInfo]) -> dict[str, str]:
    """The node that stands for each placeholder: of tied parameters the first."""
    own = {name: info.node for info in params.values() for name in info.names}
    return {node: own.get(leaf.name, leaf.node) if leaf.kind == "parameter" else leaf.node for node, leaf in placed.items()}


def _owner(name: str, created: Mapping[str, Site]) -> Where:
    module = name.rpartition(".")[0]
    path = module
    while path and path not in created:
        path = path.rpartition(".")[0]
    return Where(module, "", None, created.get(path))


def dtype_name(value: object) -> str:
    """The dtype of a tensor as a word, "none" for anything else."""
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else "none"
