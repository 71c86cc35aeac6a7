"""nanochat's first recipe, slowly, written from a description: network and optimizer.

Weights are [out, in]. Heads, rows and matrices are handled one at a time; nothing is shared with
jfl.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


def norm(x: Tensor) -> Tensor:
    """Divides vectors by the root of their mean square."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps)


def turned(x: Tensor) -> Tensor:
    """Turns one head [T, h] by minus its position; feature i goes with feature i + h / 2."""
    size = x.shape[-1]
    speeds = torch.tensor([10000.0 ** (-2 * i / size) for i in range(size // 2)])
    rows = []
    for position, row in enumerate(x):
        one, other, angle = row[: size // 2], row[size // 2 :], -position * speeds
        turns = one * angle.cos() - other * angle.sin(), one * angle.sin() + other * angle.cos()
        rows.append(torch.cat(turns))
    return torch.stack(rows)


class Layer(nn.Module):
    """Attention and MLP."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        of_kv = kv_heads * self.size
        shapes = {
            "q": (width, width), "k": (of_kv, width), "v": (of_kv, width), "out": (width, width),
            "up": (4 * width, width), "down": (width, 4 * width),
        }  # fmt: skip
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))

    def attend(self, x: Tensor) -> Tensor:
        """Of one text [T, d]."""
        heads = []
        for head in range(self.heads):
            group = head // (self.heads // self.kv_heads)
            mine, shared = (slice(n * self.size, (n + 1) * self.size) for n in (head, group))
            q, k = norm(turned(x @ self.q[mine].T)), norm(turned(x @ self.k[shared].T))
            scores = q @ k.T / math.sqrt(self.size)
            later = torch.ones(len(x), len(x)).triu(1).bool()
            shares = scores.masked_fill(later, -math.inf).softmax(-1)
            heads.append(shares @ (x @ self.v[shared].T))
        return torch.cat(heads, -1) @ self.out.T

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(norm(x))
        return x + (norm(x) @ self.up.T).relu() ** 2 @ self.down.T


class NanoChat(nn.Module):
    """The network; depth gives all sizes."""

    def __init__(self, depth: int, vocabulary: int, kv_heads: int | None = None) -> None:
        super().__init__()
        width = 64 * depth
        heads = math.ceil(width / 128)
        self.embedding = nn.Parameter(torch.zeros(vocabulary, width))
        self.layers = nn.ModuleList(Layer(width, heads, kv_heads or heads) for _ in range(depth))
        self.head = nn.Parameter(torch.zeros(vocabulary, width))

    def logits(self, text: Tensor) -> Tensor:
        """Of one text [T]."""
        x = norm(self.embedding[text])
        for layer in self.layers:
            x = layer(x)
        return 15 * torch.tanh(norm(x) @ self.head.T / 15)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The mean over targets that are not -1, of texts [B, T]."""
        losses = []
        for text, wanted in zip(tokens, targets, strict=True):
            chances = self.logits(text).log_softmax(-1)
            losses += [-chances[n, t] for n, t in enumerate(wanted.tolist()) if t != -1]
        return torch.stack(losses).mean()


def orthogonal(matrix: Tensor) -> Tensor:
    """Five steps of Newton and Schulz on one matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Optimizer:
    """Muon for the matrices of layers, AdamW for the embedding and the head."""

    def __init__(
        self, model: NanoChat, embedding_lr: float, unembedding_lr: float, matrix_lr: float,
        weight_decay: float,
    ) -> None:  # fmt: skip
        scale = (model.embedding.shape[1] / 768) ** -0.5
        self.model, self.matrix_lr, self.weight_decay = model, matrix_lr, weight_decay
        self.tables: list[tuple[Any, float]] = [
            (model.embedding, embedding_lr * scale), (model.head, unembedding_lr * scale)
        ]  # fmt: skip
        self.matrices = [parameter for layer in model.layers for parameter in layer.parameters()]
        self.first = [torch.zeros_like(table) for table, _ in self.tables]
        self.second = [torch.zeros_like(table) for table, _ in self.tables]
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]

    @torch.no_grad()
    def step(self, number: int, multiplier: float) -> None:
        """Takes step `number`, from 0, at so much of the full rates."""
        for n, (table, rate) in enumerate(self.tables):
            grad = table.grad
            self.first[n] = 0.8 * self.first[n] + 0.2 * grad
            self.second[n] = 0.95 * self.second[n] + 0.05 * grad**2
            first = self.first[n] / (1 - 0.8 ** (number + 1))
            second = self.second[n] / (1 - 0.95 ** (number + 1))
            table.mul_(1 - multiplier * rate * self.weight_decay)
            table.sub_(multiplier * rate * first / (second.sqrt() + 1e-10))
        share = min(number / 300, 1.0)
        momentum = 0.85 * (1 - share) + 0.95 * share
        for n, matrix in enumerate(self.matrices):
            self.momenta[n] = momentum * self.momenta[n] + (1 - momentum) * matrix.grad
            ahead = momentum * self.momenta[n] + (1 - momentum) * matrix.grad
            stretch = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            matrix.sub_(multiplier * self.matrix_lr * stretch * orthogonal(ahead))


def multiplier(step: int, steps: int, warmup: float = 0.0, warmdown: float = 0.2) -> float:
    """Returns the share of the full rates in step number `step`, from 0, of so many."""
    rising, falling = round(warmup * steps), round(warmdown * steps)
    if step < rising:
        return (step + 1) / rising
    return min(1.0, (steps - step) / falling) if falling else 1.0
