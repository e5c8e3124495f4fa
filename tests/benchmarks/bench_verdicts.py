"""Verdicts on random small networks: does the forecast call vanishing, exploding and healthy what a backward pass calls so?

usage: python tests/benchmarks/bench_verdicts.py [--models 400] [--seed 0]

Drawn at random: family (MLP, residual MLP, CNN, transformer, RNN), activation, initialisation, normalisation, depth. The loss is a
cross-entropy against uniform labels, inputs are N(0, 1). Measured: ``S = ||W||_F ||G||_F`` of every weight matrix, RMS over three
seeds of initialisation and input. A network is vanishing when a weight has S < 1e-5, exploding when one has S > 100 (it can be both),
healthy else. It is clear when its smallest and largest S both are a factor of 10 or more from their limit. The forecast sees the
weights of the first seed and no input; a network in which a weight has no forecast gets no verdict, which is never the right one.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # run from a checkout, installed or not

from netaudit.audit import Settings, analyse
from netaudit.claims import EXPLODING, VANISHING
from netaudit.intake.heads import with_head
from netaudit.intake.subject import Subject
from netaudit.pack import Catalog, installed
from netaudit.probe import measured_gradients

CLEAR, SEEDS = 1.0, 3
WIDTH, BATCH, CLASSES = 48, 16, 10
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "leaky": nn.LeakyReLU,
}  # fmt: skip
INITS: Mapping[str, Callable[[Tensor], object]] = {
    "default": lambda w: w,
    "kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "small": lambda w: nn.init.normal_(w, std=0.02),
    "large": lambda w: nn.init.normal_(w, std=0.5),
}
NORMS = ("none", "layer", "batch")
DEPTHS = (2, 4, 8, 12, 20, 32)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a network is made of."""

    family: str
    activation: str
    init: str
    norm: str
    depth: int


class Residual(nn.Module):
    """``x + f(x)``."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        y: Tensor = self.inner(x)
        return x + y


class Attention(nn.Module):
    """Single-head self-attention, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """``softmax(q k / sqrt d) v``, projected."""
        q, k, v = self.qkv(x).chunk(3, -1)
        y: Tensor = self.out(nn.functional.scaled_dot_product_attention(q, k, v))
        return y


class Last(nn.Module):
    """The last state of a recurrent layer, or the mean over tokens of a tensor."""

    def forward(self, x: Tensor | tuple[Tensor, object]) -> Tensor:
        """The state."""
        return x.mean(1) if isinstance(x, Tensor) else x[0][:, -1]


def normalisation(recipe: Recipe, dims: int) -> list[nn.Module]:
    """The recipe's normalisation, if any, for tensors of so many spatial axes."""
    if recipe.norm == "none":
        return []
    if recipe.norm == "batch":
        return [nn.BatchNorm2d(WIDTH) if dims else nn.BatchNorm1d(WIDTH)]
    return [nn.GroupNorm(1, WIDTH) if dims else nn.LayerNorm(WIDTH)]


def transformer_block(recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """Attention and feed-forward, each on its own branch; any normalisation is a LayerNorm in front of the branch."""
    norms = [[nn.LayerNorm(WIDTH)] if recipe.norm != "none" else [] for _ in range(2)]
    feed = (nn.Linear(WIDTH, 2 * WIDTH), ACTIVATIONS[recipe.activation](), nn.Linear(2 * WIDTH, WIDTH))
    return Residual(nn.Sequential(*norms[0], Attention())), Residual(nn.Sequential(*norms[1], *feed))


def built(recipe: Recipe) -> tuple[nn.Module, Tensor]:
    """The network and its input."""
    act = ACTIVATIONS[recipe.activation]
    body: list[nn.Module]
    match recipe.family:
        case "MLP":
            body = [m for _ in range(recipe.depth) for m in (nn.Linear(WIDTH, WIDTH), *normalisation(recipe, 0), act())]
            x = torch.randn(BATCH, WIDTH)
        case "residual MLP":
            body = [
                Residual(nn.Sequential(*normalisation(recipe, 0), nn.Linear(WIDTH, WIDTH), act(), nn.Linear(WIDTH, WIDTH)))
                for _ in range(recipe.depth)
            ]
            x = torch.randn(BATCH, WIDTH)
        case "CNN":
            layers = [(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), *normalisation(recipe, 2), act()) for _ in range(recipe.depth)]
            body = [nn.Conv2d(3, WIDTH, 3, padding=1), *(m for layer in layers for m in layer), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            x = torch.randn(BATCH, 3, 8, 8)
        case "transformer":
            body = [m for _ in range(recipe.depth) for m in transformer_block(recipe)]
            body.append(Last())
            x = torch.randn(BATCH, 12, WIDTH)
        case _:
            kind = "relu" if recipe.activation == "relu" else "tanh"
            body = [nn.RNN(WIDTH, WIDTH, num_layers=1 + recipe.depth // 8, nonlinearity=kind, batch_first=True), Last()]
            x = torch.randn(BATCH, recipe.depth, WIDTH)
    model = nn.Sequential(*body, nn.Linear(WIDTH, CLASSES))
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            with torch.no_grad():
                INITS[recipe.init](parameter)
    return model, x


def subject_of(recipe: Recipe, seed: int) -> Subject:
    """The network of one seed under its loss."""
    torch.manual_seed(seed)
    model, x = built(recipe)
    return with_head(Subject("model", model, (x,), {}, (x,), "drawn", guess="N(0, 1)"), "ce")


def measured(recipe: Recipe) -> list[float]:
    """log10 S of every weight matrix."""
    squares: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        subject = subject_of(recipe, seed)
        logs = measured_gradients(subject, seed=seed)
        for name, weight in subject.model.named_parameters():
            if weight.dim() >= 2:
                s = logs[name] + 0.5 * math.log10(weight.numel()) + math.log10(float(weight.detach().double().norm()))
                squares.setdefault(name, []).append(10.0 ** (2.0 * s))
    return [0.5 * math.log10(m) if (m := statistics.fmean(values)) > 0 else -math.inf for values in squares.values()]


def forecast(recipe: Recipe, catalog: Catalog) -> list[float | None]:
    """The same, forecast."""
    found = analyse(subject_of(recipe, 0), catalog, Settings())
    return [found.flow.sensitivity(name) for name, info in found.graph.params.items() if len(info.shape) >= 2]


def verdict(logs: Iterable[float | None]) -> str:
    """What the sensitivities of the weights say together."""
    known = list(logs)
    if any(s is None or math.isnan(s) for s in known):
        return "unknown"
    values = [s for s in known if s is not None]
    words = [*(["vanishing"] if min(values) < VANISHING else []), *(["exploding"] if max(values) > EXPLODING else [])]
    return " and ".join(words) or "healthy"


def is_clear(logs: Iterable[float]) -> bool:
    """Whether the smallest and the largest are both far from their limits."""
    values = list(logs)
    return abs(min(values) - VANISHING) >= CLEAR and abs(max(values) - EXPLODING) >= CLEAR


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    catalog, rng = installed(), random.Random(args.seed)
    families = ("MLP", "residual MLP", "CNN", "transformer", "RNN")
    counts: dict[str, Counter[str]] = {family: Counter() for family in families}
    wrong = []
    for _ in range(args.models):
        recipe = Recipe(rng.choice(families), rng.choice(list(ACTIVATIONS)), rng.choice(list(INITS)), rng.choice(NORMS), rng.choice(DEPTHS))
        real = measured(recipe)
        if any((not math.isfinite(s) and s > 0) or math.isnan(s) for s in real):
            counts[recipe.family]["overflowed"] += 1
            continue
        truth, found = verdict(real), verdict(forecast(recipe, catalog))
        clear = is_clear(real)
        counts[recipe.family].update([truth, *(["clear", *(["agree"] if truth == found else [])] if clear else [])])
        if clear and found != truth:
            counts[recipe.family].update(["no verdict"] if found == "unknown" else ["wrong"])
            if found != "unknown":
                wrong.append((*(getattr(recipe, f) for f in recipe.__slots__), truth, found, min(real), max(real)))
    keys = ("healthy", "vanishing", "exploding", "vanishing and exploding", "overflowed", "clear", "agree", "wrong", "no verdict")
    total = sum(counts.values(), Counter())
    rows = [(name, *(c[k] for k in keys), 100 * c["agree"] / max(c["clear"], 1)) for name, c in [*counts.items(), ("all", total)]]
    print(tabulate(rows, headers=("family", *keys, "agree %"), tablefmt="github", floatfmt=".1f"))
    print()
    print(
        tabulate(wrong, headers=(*Recipe.__slots__, "measured", "forecast", "least log S", "most log S"), tablefmt="github", floatfmt=".1f")
    )


if __name__ == "__main__":
    main()
