"""The models once more, as PyTorch users write them, and weights carried over from jfl."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn


class Cnn(nn.Module):
    """PFLlib's FedAvgCNN for images [B, C, H, W]."""

    def __init__(self, pixels: int, channels: int, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 5)
        self.conv2 = nn.Conv2d(32, 64, 5)
        self.fc = nn.Linear(64 * (((pixels - 4) // 2 - 4) // 2) ** 2, 512)
        self.head = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.head(torch.relu(self.fc(torch.flatten(x, 1))))


class Mlp(nn.Module):
    """Fully connected layers for samples [B, ...], flattened as they are."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], num_classes: int):
        super().__init__()
        sizes = (inputs, *hidden)
        for i in range(len(hidden)):
            self.add_module(f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))
        self.head = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(x, 1)
        for name, layer in self.named_children():
            x = layer(x) if name == "head" else torch.relu(layer(x))
        return x


class Lstm(nn.Module):
    """Texts [B, L] of word numbers; the head bears any name, as in a framework or PFLlib."""

    def __init__(
        self, words: int, width: int, hidden: int, num_classes: int, head: str, *,
        layers: int = 1, both: bool = False, relu: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=both)
        self.add_module(head, nn.Linear(hidden * (1 + both), num_classes))
        self.head_name, self.relu = head, relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths = [int(row.nonzero().max()) + 1 for row in x]
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(x), lengths, batch_first=True, enforce_sorted=False
        )
        last = self.lstm(packed)[1][0]
        z = torch.cat([last[-2], last[-1]], 1) if self.lstm.bidirectional else last[-1]
        return getattr(self, self.head_name)(torch.relu(z) if self.relu else z)


def cnn_state(params: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns a jfl params dict of `cnn` (or its gradient, same shapes) as Cnn's state dict."""
    state = _state(params)
    # fc reads flattened pictures: jfl's are [h, w, c], torch's [c, h, w]
    outputs, inputs = state["fc.weight"].shape
    side = math.isqrt(inputs // 64)
    by_hwc = state["fc.weight"].reshape(outputs, side, side, 64)
    state["fc.weight"] = by_hwc.permute(0, 3, 1, 2).reshape(outputs, inputs)
    return state


def mlp_state(params: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns a jfl params dict of `mlp` as Mlp's state dict."""
    return _state(params)


def nchw(images: np.ndarray) -> torch.Tensor:
    """Returns images [B, H, W, C] as torch takes them."""
    return torch.tensor(np.moveaxis(images, -1, 1))


def gradient(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor
) -> tuple[float, dict[str, torch.Tensor]]:
    """Returns the mean cross-entropy of a batch and its gradient by parameter name."""
    loss = nn.functional.cross_entropy(net(x), y)
    names, values = zip(*net.named_parameters(), strict=True)
    return loss.item(), dict(zip(names, torch.autograd.grad(loss, values), strict=True))


def train(net: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], rate: float) -> None:
    """Takes one step of plain SGD per batch, in place."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


def _state(params: dict[str, Any]) -> dict[str, torch.Tensor]:
    order: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        2: lambda kernel: kernel.T,  # [in, out] -> [out, in]
        4: lambda kernel: kernel.transpose(3, 2, 0, 1),  # HWIO -> OIHW
    }
    state = {}
    for name, layer in params.items():
        kernel = np.asarray(layer["kernel"])
        state[f"{name}.weight"] = torch.tensor(order[kernel.ndim](kernel).copy())
        state[f"{name}.bias"] = torch.tensor(np.asarray(layer["bias"]).copy())
    return state
