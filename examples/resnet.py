"""A small residual network with batch normalisation: healthy, nothing to report.

netaudit check examples/resnet.py
"""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.skip = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.skip(x))


class ResNet(nn.Module):
    def __init__(self, depth: int = 2, classes: int = 10) -> None:
        super().__init__()
        widths = [32, 64, 128]
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        blocks: list[nn.Module] = []
        before = widths[0]
        for stage, width in enumerate(widths):
            for i in range(depth):
                blocks.append(Block(before, width, 2 if stage and not i else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def build(depth: int = 2) -> nn.Module:
    return ResNet(depth)


def example_inputs() -> Tensor:
    return torch.randn(16, 3, 32, 32)


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs), torch.arange(len(inputs)) % 10)


if __name__ == "__main__":
    model = build()
    loss(model, example_inputs()).backward()
    sizes = [p.grad.pow(2).mean().sqrt().item() for p in model.parameters() if p.ndim > 1]
    print(f"gradient RMS of the weights: {min(sizes):.1e} to {max(sizes):.1e}")
