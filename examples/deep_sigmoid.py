"""Twelve sigmoid layers in series: each divides the gradient by at least four, and the first one learns nothing.

netaudit check examples/deep_sigmoid.py
"""

import torch
from torch import Tensor, nn


class DeepSigmoid(nn.Module):
    def __init__(self, depth: int = 12, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Linear(32, width)
        self.body = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(width, width), nn.Sigmoid())])
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


def build(depth: int = 12) -> nn.Module:
    return DeepSigmoid(depth)


def example_inputs() -> Tensor:
    return torch.randn(64, 32)


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    labels = torch.arange(len(inputs)) % 10
    return nn.functional.cross_entropy(model(inputs), labels)


if __name__ == "__main__":
    model = build()
    loss(model, example_inputs()).backward()
    gradient = model.stem.weight.grad.pow(2).mean().sqrt()
    print(f"gradient RMS of the first layer: {gradient:.1e}")
