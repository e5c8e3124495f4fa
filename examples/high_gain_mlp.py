"""Weights four times too large: every layer multiplies the gradient, and the first step of SGD destroys the model.

netaudit check examples/high_gain_mlp.py
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


def build(depth: int = 16, width: int = 128) -> nn.Module:
    sizes = [32, *[width] * depth]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.normal_(linear.weight, std=4 * (2 / fan_in) ** 0.5)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def example_inputs() -> Tensor:
    return torch.randn(64, 32)


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), torch.arange(len(inputs)) % 10)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = build()
    value = loss(model, example_inputs())
    value.backward()
    print(f"loss {value:.1e}, gradient RMS of the first layer {model[0].weight.grad.pow(2).mean().sqrt():.1e}")
