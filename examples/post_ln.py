"""An encoder with normalisation after each residual addition: trainable with care, and a lesson in where gradients go.

netaudit check examples/post_ln.py
"""

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    def __init__(self, depth: int = 12, width: int = 64) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=False)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


def build(depth: int = 12) -> nn.Module:
    return Encoder(depth)


def example_inputs() -> Tensor:
    return torch.randn(16, 32, 64)


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), torch.arange(len(inputs)) % 10)


if __name__ == "__main__":
    model = build()
    loss(model, example_inputs()).backward()
    for i in (0, 6, 11):
        weight = model.encoder.layers[i].linear1.weight
        print(f"layer {i}: gradient RMS {weight.grad.pow(2).mean().sqrt():.1e}")
