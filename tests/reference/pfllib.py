"""Networks, clients and servers shaped as PFLlib's users have them, for files that torch writes."""

from typing import Any

import torch
from torch import nn


class FedAvgCNN(nn.Module):
    """The 4-layer network under PFLlib's attribute names."""

    def __init__(self, channels: int = 1, num_classes: int = 10, dim: int = 1024):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(channels, 32, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.conv2 = nn.Sequential(nn.Conv2d(32, 64, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.fc1 = nn.Sequential(nn.Linear(dim, 512), nn.ReLU())
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(self.conv2(self.conv1(x)), 1)
        return self.fc(self.fc1(x))


class BaseHeadSplit(nn.Module):
    """A network cut into all but its last layer, and that."""

    def __init__(self, base: nn.Module):
        super().__init__()
        head, base.fc = base.fc, nn.Identity()
        self.base, self.head = base, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.base(x))


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, as torchvision names them."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Any, bias: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)
        self.bn1 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=bias)
        self.bn2 = norm(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=bias)
            self.downsample = nn.Sequential(shortcut, norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """ResNet-18 under torchvision's attribute names."""

    def __init__(self, num_classes: int, norm: Any = nn.BatchNorm2d, *, cifar: bool = False):
        super().__init__()
        bias = norm is nn.Identity
        size, stride = (3, 1) if cifar else (7, 2)
        self.conv1 = nn.Conv2d(3, 64, size, stride, size // 2, bias=bias)
        self.bn1 = norm(64)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            blocks = []
            for number in range(2):
                stride = 2 if stage > 1 and number == 0 else 1
                blocks.append(BasicBlock(inputs, width, stride, norm, bias))
                inputs = width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


def group_norm(channels: int) -> nn.Module:
    """32 groups, as jfl's default."""
    return nn.GroupNorm(32, channels)
