"""A sweep for a violation: random layers against the singular values of their explicit matrix, random networks against gains.

usage: python tests/benchmarks/bench_soundness.py [--layers 8000] [--networks 2500] [--seed 0]

Layers: dense, convolution in one to three dimensions, transposed, grouped and depthwise, with strides, dilations, paddings, even
kernels, maps that are not square, scales from 1e-30 to 1e30, zero and constant weights, four dtypes. The truth is LAPACK's largest
singular value in float64 of the matrix of the map. Networks: chains, residual blocks, joined branches, normalisation, attention,
recurrences; the truth is a lower bound, the largest gain over random points of many scales by autograd. A violation is a bound
below it by more than LAPACK's own error.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit import norms
from netaudit.certify import Ball, Request, certify_subject
from netaudit.intake.subject import Subject
from netaudit.pack import installed

CATALOG = installed()
LAPACK = 1e-10
"""Relative error allowed to the reference: singular values of matrices of some hundred rows, backward stable to 1e-13."""
CONVOLUTIONS = ((F.conv1d, F.conv_transpose1d), (F.conv2d, F.conv_transpose2d), (F.conv3d, F.conv_transpose3d))
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def explicit(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The matrix of a linear map, by its values on unit vectors."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([function(unit[None])[0].reshape(-1) for unit in units], dim=1)


def weight_of(rng: random.Random, *shape: int) -> Tensor:
    """A random weight: normal, constant, sparse, low-rank or zero, of any scale and dtype."""
    weight = torch.randn(*shape, dtype=torch.float64)
    kind = rng.choice(("normal", "normal", "constant", "sparse", "positive", "zero"))
    if kind == "constant":
        weight = torch.full(shape, rng.choice((1.0, -0.3)), dtype=torch.float64)
    elif kind == "sparse":
        weight *= torch.rand(*shape) < 0.2
    elif kind == "positive":
        weight = weight.abs()
    elif kind == "zero":
        weight.zero_()
    dtype = rng.choice(DTYPES)
    exponent = rng.uniform(-30, 30) if dtype not in (torch.float16,) else rng.uniform(-3, 3)
    scaled: Tensor = (weight * 10.0**exponent).to(dtype)
    return scaled


def layer(rng: random.Random) -> tuple[str, float, float]:
    """A random layer: its kind, its certified bound, the truth."""
    kind = rng.choice(("dense", "conv", "conv", "transposed", "depthwise"))
    effort = rng.choice(("tight", "quick"))
    if kind == "dense":
        weight = weight_of(rng, rng.randint(1, 40), rng.randint(1, 40))
        return kind, norms.dense(weight, effort=effort).upper, float(torch.linalg.matrix_norm(weight.double(), 2))  # type: ignore[arg-type]  # one of two words
    dims = rng.choice((1, 1, 2, 2, 2, 3))
    groups = rng.choice((1, 1, 2, 3))
    inputs, outputs = (
        (groups, groups * rng.choice((1, 2))) if kind == "depthwise" else (groups * rng.randint(1, 2), groups * rng.randint(1, 2))
    )
    kernel = tuple(rng.randint(1, 4 if dims < 3 else 2) for _ in range(dims))
    stride = tuple(rng.randint(1, 3) for _ in range(dims))
    dilation = tuple(rng.randint(1, 2) for _ in range(dims))
    padding = tuple(rng.randint(0, min(2, dilation[a] * (kernel[a] - 1))) for a in range(dims))
    size = tuple(dilation[a] * (kernel[a] - 1) + rng.randint(1, (12, 6, 3)[dims - 1]) for a in range(dims))
    if kind == "transposed":
        weight = weight_of(rng, inputs, outputs // groups, *kernel)
        forward = CONVOLUTIONS[dims - 1][1]
        found = norms.conv_transpose(weight, size, stride=stride, padding=padding, dilation=dilation, groups=groups, effort=effort)  # type: ignore[arg-type]  # one of two words
        matrix = explicit(lambda x: forward(x, weight.double(), None, stride, padding, 0, groups, dilation), (inputs, *size))
    else:
        weight = weight_of(rng, outputs, inputs // groups, *kernel)
        plain = CONVOLUTIONS[dims - 1][0]
        found = norms.conv(weight, size, stride=stride, padding=padding, dilation=dilation, groups=groups, effort=effort)  # type: ignore[arg-type]  # one of two words
        matrix = explicit(lambda x: plain(x, weight.double(), None, stride, padding, dilation, groups), (inputs, *size))
    return kind, found.upper, float(torch.linalg.matrix_norm(matrix, 2)) if matrix.numel() else 0.0


# networks ---------------------------------------------------------------------------------------------------------------

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.Softplus, nn.ELU, nn.Hardswish, nn.Softsign, nn.Mish)
WIDTH = 4


class Residual(nn.Module):
    """``a x + f(x)``."""

    def __init__(self, body: nn.Module, scale: float) -> None:
        super().__init__()
        self.body, self.scale = body, scale

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scale * x + self.body(x)
        return y


class Joined(nn.Module):
    """Two branches side by side."""

    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x)], -1)


class Attention(nn.Module):
    """Attention after a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH, eps=1e-2), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        y: Tensor = x + self.out(F.scaled_dot_product_attention(q, k, v))
        return y


class Recurrent(nn.Module):
    """The sequence of a recurrence."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.body = kind(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)[0]
        return y


class Gated(nn.Module):
    """A product of two activations of proved range."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.a(x)) * torch.sigmoid(self.b(x))


class Sorted(nn.Module):
    """Entries in order."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sort(-1).values


def block(rng: random.Random) -> nn.Module:
    """One random block from width to width."""
    activation = rng.choice(ACTIVATIONS)()
    linear = nn.Linear(WIDTH, WIDTH)
    with torch.no_grad():
        linear.weight.mul_(10.0 ** rng.uniform(-2, 1))
    return rng.choice(
        (
            lambda: nn.Sequential(linear, activation),
            lambda: Residual(nn.Sequential(nn.Linear(WIDTH, 6), activation, nn.Linear(6, WIDTH)), rng.choice((1.0, 0.1, -2.0))),
            lambda: nn.Sequential(Joined(nn.Sequential(linear, activation), nn.Linear(WIDTH, 2)), nn.Linear(WIDTH + 2, WIDTH)),
            lambda: nn.Sequential(nn.LayerNorm(WIDTH, eps=10.0 ** rng.uniform(-5, 0)), activation),
            lambda: nn.Sequential(nn.RMSNorm(WIDTH, eps=10.0 ** rng.uniform(-5, 0)), linear),
            Attention,
            lambda: Recurrent(rng.choice((nn.RNN, nn.GRU, nn.LSTM))),
            Gated,
            lambda: nn.Sequential(nn.Softmax(-1), linear),
            lambda: nn.Sequential(linear, rng.choice((nn.MaxPool1d(3, 1, 1), Sorted(), nn.AvgPool1d(3, 1, 1)))),
        )
    )()


def network(rng: random.Random) -> tuple[str, float, float]:
    """A random network: its kind, its certified bound, the largest gain found."""
    model = nn.Sequential(*(block(rng) for _ in range(rng.randint(1, 4)))).double().eval()
    x = torch.randn(1, 3, WIDTH, dtype=torch.float64)
    ball = Ball(rng.choice((0.01, 0.3)), rng.choice(("l2", "linf"))) if rng.random() < 0.5 else None
    found = certify_subject(Subject("net", model, (x,), {}, x, "here"), CATALOG, Request(ball=ball, seconds=rng.choice((0.0, 0.05))))
    if found.local is not None and ball is not None:
        steps = torch.randn(4, 1, 3, WIDTH, dtype=torch.float64)
        scale = steps.abs().amax((1, 2, 3), keepdim=True) if ball.norm == "linf" else steps.square().sum((1, 2, 3), keepdim=True).sqrt()
        points, bound = list(x + ball.radius * steps / scale), found.local.log10
    else:
        points, bound = [s * torch.randn(1, 3, WIDTH, dtype=torch.float64) for s in (0.0, 0.1, 1.0, 10.0)], found.bound.log10
    gains = [torch.func.jacrev(model)(p).reshape(x.numel(), x.numel()) for p in points]
    return "local" if ball else "global", 10.0 ** min(bound, 300.0), max(float(torch.linalg.matrix_norm(g.detach(), 2)) for g in gains)


def main() -> None:
    """Run the sweep and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=8000)
    parser.add_argument("--networks", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    tried: Counter[str] = Counter()
    violations: list[str] = []
    began = time.perf_counter()
    for make, count in ((layer, args.layers), (network, args.networks)):
        for i in range(count):
            torch.manual_seed(args.seed * 1_000_003 + i)
            kind, bound, truth = make(rng)
            tried[kind] += 1
            if truth > bound * (1.0 + LAPACK) and not (math.isinf(truth) and math.isinf(bound)):
                violations.append(f"{kind} {i}: bound {bound!r} below {truth!r}")
    print(", ".join(f"{n} {kind}" for kind, n in sorted(tried.items())), f"in {time.perf_counter() - began:.0f} s, seed {args.seed}")
    print(f"violations: {len(violations)} of {sum(tried.values())}")
    print("\n".join(violations[:20]))


if __name__ == "__main__":
    main()
