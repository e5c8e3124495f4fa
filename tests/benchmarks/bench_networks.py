"""Certified Lipschitz constants of whole networks against the SDP, the best scalable peer, composition, and what is attained.

usage: python tests/benchmarks/bench_networks.py [--only global|residual|local|attention|transformer] [--seed N]

One thread, CPU seconds, float64. Peers run where they are installed (`pip install cvxpy clarabel eclipse-nn==0.1.7`):
LipSDP-neuron written from Fazlyab et al. 2019 in cvxpy (Clarabel), ECLipsE-Fast as published. auto_LiRPA 0.7.1 does not run
beside this torch: its Jacobian bounds were measured once, on the same nets, seeds and balls, and are quoted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit import Interval
from netaudit.certify import Ball, Certified, Request, certify_subject
from netaudit.intake.subject import Subject
from netaudit.pack import installed
from netaudit.testing import Case, applied, normal, search

CATALOG = installed()


def certified(model: nn.Module, x: Tensor, *, ball: Ball | None = None, seconds: float = 10.0) -> tuple[Certified, float]:
    """The certificate, and the CPU time from the trace to the bound (the local one, if there is a ball)."""
    found = certify_subject(Subject("model", model, (x,), {}, x, "here"), CATALOG, Request(ball=ball, seconds=seconds))
    stages = ("trace", "facts", "local" if ball is not None else "bound")
    return found, sum(found.seconds[stage] for stage in stages)


def chain(
    weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Sequential:
    """The network of these matrices."""
    layers: list[nn.Module] = []
    for i, weight in enumerate(weights):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=biases is not None).double()
        with torch.no_grad():
            layer.weight.copy_(weight)
            if biases is not None:
                layer.bias.copy_(biases[i])
        layers += [layer] if i == len(weights) - 1 else [layer, activation()]
    return nn.Sequential(*layers)


def eclipse_random(depth: int, width: int) -> list[Tensor]:
    """The nets of the ECLipsE paper's repository, with its seeds: 4 inputs, 1 output, norms in U(0.4, 1.8)."""
    np.random.seed(width * 7 + depth * 13)
    dims = [4] + [width] * (depth - 1) + [1]
    result = []
    for inputs, outputs in pairwise(dims):
        norm = np.random.uniform(0.4, 1.8)
        matrix = np.random.randn(outputs, inputs)
        result.append(torch.tensor(norm * matrix / np.linalg.norm(matrix, 2)))
    return result


def trained(model: nn.Module, shape: Sequence[int], classes: int) -> nn.Module:
    """A classifier of noisy class centres after 400 steps of Adam."""
    torch.manual_seed(0)
    centres = torch.randn(classes * 3, *shape)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(400):
        i = torch.randint(0, classes * 3, (128,))
        loss = F.cross_entropy(model(centres[i] + 0.7 * torch.randn(128, *shape)), i % classes)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        optimiser.step()
    return model.double()


def trained_mlp(inputs: int, width: int, depth: int) -> nn.Module:
    """An MLP with ten outputs."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    size = inputs
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return trained(nn.Sequential(*layers, nn.Linear(size, 10)), (inputs,), 10)


def trained_cnn() -> nn.Module:
    """Two strided convolutions and two linear layers on 14 x 14."""
    torch.manual_seed(2)
    convolutions = (nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Flatten())
    return trained(nn.Sequential(*convolutions, nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10)), (1, 14, 14), 10)


class Residual(nn.Module):
    """Blocks ``x + W2 relu(W1 x)`` between two linear maps, branches scaled by one over the root of their number."""

    def __init__(self, blocks: int, width: int, hidden: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def draw(rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator, dtype=torch.float64) * scale)

        self.first = draw(width, 8, 8**-0.5)
        pairs = [(draw(hidden, width, (2 / width) ** 0.5), draw(width, hidden, (hidden * blocks) ** -0.5)) for _ in range(blocks)]
        self.blocks = nn.ParameterList([w for pair in pairs for w in pair])
        self.last = draw(4, width, width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.first)
        for i in range(0, len(self.blocks), 2):
            x = x + F.linear(torch.relu(F.linear(x, self.blocks[i])), self.blocks[i + 1])
        return F.linear(x, self.last)

    def product(self) -> float:
        """``||first|| ||last|| prod (1 + ||W2|| ||W1||)``."""
        norms = [float(torch.linalg.matrix_norm(w.detach(), 2)) for w in (self.first, self.last, *self.blocks)]
        return norms[0] * norms[1] * math.prod(1 + a * b for a, b in zip(norms[2::2], norms[3::2], strict=True))


# peers ------------------------------------------------------------------------------------------------------------------


def _peer(name: str) -> Any:
    """A peer's package, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def lipsdp(weights: Sequence[Tensor]) -> tuple[float, float] | None:
    """LipSDP-neuron (Fazlyab et al. 2019, theorem 2) by an interior-point solver, and its CPU time; None without the solver."""
    cp = _peer("cvxpy")
    if cp is None:
        return None
    arrays = [w.numpy() for w in weights]
    hidden = [w.shape[0] for w in arrays[:-1]]
    inputs, total = arrays[0].shape[1], sum(hidden)
    a, row, column = np.zeros((total, inputs + total)), 0, 0
    for w in arrays[:-1]:
        a[row : row + w.shape[0], column : column + w.shape[1]] = w
        row, column = row + w.shape[0], column + w.shape[1]
    b = np.hstack([np.zeros((total, inputs)), np.eye(total)])
    last, first = np.zeros((inputs + total, inputs + total)), np.zeros((inputs + total, inputs + total))
    last[-hidden[-1] :, -hidden[-1] :] = arrays[-1].T @ arrays[-1]
    first[:inputs, :inputs] = np.eye(inputs)
    began = time.process_time()
    multipliers, rho = cp.Variable(total, nonneg=True), cp.Variable(nonneg=True)
    t = cp.diag(multipliers)
    matrix = a.T @ t @ b + b.T @ t @ a - 2 * b.T @ t @ b - rho * first + last
    cp.Problem(cp.Minimize(rho), [(matrix + matrix.T) / 2 << 0]).solve(solver="CLARABEL")
    return math.sqrt(rho.value), time.process_time() - began


def eclipse_fast(weights: Sequence[Tensor]) -> float | None:
    """ECLipsE-Fast as published; None where it is not installed."""
    peer = _peer("eclipse_nn")
    if peer is None:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        found = peer.ECLipsE_Fast(list(weights), [0.0] * (len(weights) - 1), [1.0] * (len(weights) - 1))
    return float(found[0] if isinstance(found, tuple) else found)


# sections ---------------------------------------------------------------------------------------------------------------


def _ratio(a: float | None, b: float) -> float | None:
    return None if a is None else a / b


def global_l2() -> Iterator[str]:
    """Chains: against the SDP's optimum where it can be solved, against ECLipsE-Fast everywhere."""
    rows = []
    nets: list[tuple[str, list[Tensor], float]] = [
        (f"ECLipsE random {d} x {w}", eclipse_random(d, w), 10.0) for d, w in ((2, 20), (5, 20), (10, 20), (20, 20), (5, 60))
    ]
    for width in (32, 64):
        model = trained_mlp(16, width, 3)
        nets.append((f"trained MLP 16-{width}x3-10", [m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear)], 10.0))
    nets.append(
        ("trained MLP 32-128x10-10", [m.weight.detach() for m in trained_mlp(32, 128, 10).modules() if isinstance(m, nn.Linear)], 10.0)
    )
    nets.append(("ECLipsE random 100 x 100", eclipse_random(100, 100), 8.0))
    nets.append(("ECLipsE random 5 x 1000", eclipse_random(5, 1000), 40.0))
    for name, weights, seconds in nets:
        found, spent = certified(chain(weights), torch.zeros(1, weights[0].shape[1], dtype=torch.float64), seconds=seconds)
        ours = 10.0**found.bound.log10
        small = sum(w.shape[0] for w in weights[:-1]) <= 100
        sdp = lipsdp(weights) if small else None
        peer = eclipse_fast(weights)
        rows.append(
            (
                name, ours, spent, _ratio(ours, sdp[0]) if sdp else None, sdp[1] / spent if sdp else None,
                _ratio(peer, ours), 10.0**found.bound.composition / ours, 10.0 ** (found.bound.log10 - found.measured),
            )
        )  # fmt: skip
    yield "## Global, l2\n"
    yield tabulate(
        rows,
        headers=("net", "proved", "CPU s", "/ SDP optimum", "SDP time / ours", "ECLipsE-Fast / ours", "product / ours", "/ attained"),
        tablefmt="github",
        floatfmt=".4g",
    )
    cnn, spent = certified(trained_cnn(), torch.zeros(1, 1, 14, 14, dtype=torch.float64))
    gaps = (10 ** (cnn.bound.composition - cnn.bound.log10), 10 ** (cnn.bound.log10 - cnn.measured))
    yield f"\ntrained CNN 14 x 14: {10**cnn.bound.log10:.4g} in {spent:.1f} s, product / ours {gaps[0]:.3g}, / attained {gaps[1]:.3g}"


def residual() -> Iterator[str]:
    """Residual networks: against the product of ``1 + ||W2|| ||W1||``."""
    rows = []
    for blocks, width, hidden in ((2, 16, 32), (8, 32, 64), (24, 32, 64)):
        model = Residual(blocks, width, hidden)
        found, spent = certified(model, torch.zeros(1, 8, dtype=torch.float64), seconds=20.0)
        rows.append(
            (blocks, 10**found.bound.log10, 10**found.bound.log10 / model.product(), 10 ** (found.bound.log10 - found.measured), spent)
        )
    yield "## Residual networks\n"
    yield tabulate(rows, headers=("blocks", "proved", "/ product", "/ attained", "CPU s"), tablefmt="github", floatfmt=".4g")


# norm of the interval matrix of JacobianOP, by net and radius, on an Intel Xeon 2.6 GHz
AUTO_LIRPA = {
    ("MLP 16-64x3", 0.01): 9.498, ("MLP 16-64x3", 0.05): 13.292, ("MLP 16-64x3", 0.2): 57.159,
    ("MLP 32-128x5", 0.01): 17.557, ("MLP 32-128x5", 0.05): 45.622, ("MLP 32-128x5", 0.2): 1834.6,
    ("CNN 14 x 14", 0.01): 6.286, ("CNN 14 x 14", 0.05): 8.984, ("CNN 14 x 14", 0.2): 26.640,
}  # fmt: skip


def local() -> Iterator[str]:
    """In an l_inf ball: against auto_LiRPA's Jacobian bound and against what is attained."""
    rows = []
    nets = (
        ("MLP 16-64x3", trained_mlp(16, 64, 3), (16,)),
        ("MLP 32-128x5", trained_mlp(32, 128, 5), (32,)),
        ("CNN 14 x 14", trained_cnn(), (1, 14, 14)),
    )
    for name, model, shape in nets:
        centre = torch.randn(1, math.prod(shape), generator=torch.Generator().manual_seed(5), dtype=torch.float64).reshape(1, *shape)
        for radius in (0.01, 0.05, 0.2):
            found, spent = certified(model, centre, ball=Ball(radius, "linf"), seconds=5.0)
            assert found.local is not None
            assert found.local_measured is not None
            ours = 10**found.local.log10
            rows.append(
                (
                    name,
                    radius,
                    ours,
                    10 ** (found.local.log10 - found.local_measured),
                    AUTO_LIRPA[name, radius] / ours,
                    spent,
                )
            )
    yield "## Local, l2, in an l_inf ball\n"
    yield tabulate(rows, headers=("net", "radius", "proved", "/ attained", "auto_LiRPA / ours", "CPU s"), tablefmt="github", floatfmt=".4g")


def attention() -> Iterator[str]:
    """Dot-product attention on its proved domain: the transfer's bound against the largest local gain that a search finds."""
    rows = []
    for tokens, width in ((4, 4), (8, 8), (16, 8)):
        for reach in (0.5, 1.0, 2.0):
            case = Case(
                op="aten.scaled_dot_product_attention",
                function=F.scaled_dot_product_attention,
                inputs=tuple(normal(1, 1, tokens, width, seed=i) for i in range(3)),
                ranges=dict.fromkeys(range(3), Interval(-reach, reach)),
            )
            op = applied(case, CATALOG)
            found = search(op, tries=64, climbs=40)
            for name, gain in found.gains.items():
                rows.append((f"{tokens} x {width}", reach, "qkv"[op.slots(name)[0]], op.lip(name), gain, op.lip(name) / gain))
    yield "## Attention, operand by operand, entries in [-R, R]\n"
    yield tabulate(rows, headers=("tokens x width", "R", "operand", "proved", "found", "ratio"), tablefmt="github", floatfmt=".4g")
    yield f"\nlargest ratio {max(r[-1] for r in rows):.3g} (target 5)"


def transformer() -> Iterator[str]:
    """GPT-2 small from its configuration: a finite constant from the embeddings to the output."""
    from netaudit.intake.libraries import library

    transformers = library("transformers")
    torch.manual_seed(0)
    model = transformers.GPT2Model(transformers.GPT2Config())
    ids = torch.randint(0, 50257, (1, 64))
    began = time.process_time()
    found = certify_subject(Subject("gpt2", model, (), {"input_ids": ids}, {"input_ids": ids}, "here"), CATALOG, Request(seconds=5.0))
    spent = time.process_time() - began
    yield "## GPT-2 small, 64 tokens\n"
    yield f"proved 10^{found.bound.log10:.1f} from {', '.join(found.bound.sources)}; attained 10^{found.measured:.1f}; {spent:.0f} CPU s"


SECTIONS = {"global": global_l2, "residual": residual, "local": local, "attention": attention, "transformer": transformer}


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(SECTIONS), help="one section")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name, section in SECTIONS.items():
        if args.only in (None, name):
            for line in section():
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
