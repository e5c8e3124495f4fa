"""An encoder whose output is detached: it looks trained, and never learns.

netaudit check examples/detached_encoder.py
"""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x).detach()
        return self.head(features)


def build() -> nn.Module:
    return Model()


def example_inputs() -> Tensor:
    return torch.randn(64, 32)


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), torch.arange(len(inputs)) % 10)


if __name__ == "__main__":
    model = build()
    loss(model, example_inputs()).backward()
    print(f"gradient of the encoder: {model.encoder[0].weight.grad}")
