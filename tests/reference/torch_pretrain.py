"""A step of pre-training a nanochat in PyTorch, to be timed; see torch_round.py for how.

Lean: attention is PyTorch's own, matrices of one shape go through Newton and Schulz's steps as one
batch, AdamW is fused. With every line of seconds it says how fast its matrix products are.
"""

import json
import math
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 2048


def norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],))


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    one, other = x.chunk(2, -1)
    return torch.cat([one * cos + other * sin, other * cos - one * sin], -1)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        bound = math.sqrt(3 / width)
        for name, out, inside in (
            ("q", width, width), ("k", width, width), ("v", width, width), ("out", width, width),
            ("up", 4 * width, width), ("down", width, 4 * width),
        ):  # fmt: skip
            layer = nn.Linear(inside, out, bias=False)
            nn.init.uniform_(layer.weight, -bound, bound)
            if name in ("out", "down"):
                nn.init.zeros_(layer.weight)
            setattr(self, name, layer)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = norm(x)
        wide = (*y.shape[:2], self.heads, -1)
        q, k, v = (getattr(self, name)(y).view(wide).transpose(1, 2) for name in "qkv")
        q, k = norm(turned(q, cos, sin)), norm(turned(k, cos, sin))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.down(self.up(norm(x)).relu().square())


class Network(nn.Module):
    def __init__(self, depth: int, vocabulary: int, length: int) -> None:
        super().__init__()
        width = 64 * depth
        heads = math.ceil(width / 128)
        size = width // heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.head.weight, std=0.001)
        speeds = 10000.0 ** (-torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(length), speeds)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = norm(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        logits = 15 * torch.tanh(self.head(norm(x)).float() / 15)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Muon:
    def __init__(self, matrices: list[Tensor], half: bool) -> None:
        self.groups: dict[tuple[int, ...], list[Tensor]] = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.momenta = {s: torch.zeros(len(g), *s, device=g[0].device)
                        for s, g in self.groups.items()}  # fmt: skip
        self.dtype = torch.bfloat16 if half else torch.float32

    @torch.no_grad()
    def step(self, momentum: float, rate: float) -> None:
        for shape, group in self.groups.items():
            grads = torch.stack([matrix.grad for matrix in group])
            average = self.momenta[shape].lerp_(grads, 1 - momentum)
            x = grads.lerp_(average, momentum).to(self.dtype)
            tall = shape[0] > shape[1]
            x = x.mT if tall else x
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                square = x @ x.mT
                x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
            x = (x.mT if tall else x).float()
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_add_(group, list(x.unbind()), alpha=-rate * stretch)


def peak(device: str) -> float:
    """FLOP/s of the fastest of three matrix products."""
    matrix, times = torch.ones(SIDE, SIDE, device=device), []
    for _ in range(3):
        started = time.perf_counter()
        matrix @ matrix
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(times)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        spec: dict[str, Any] = json.load(file)
    torch.manual_seed(0)
    device = "cuda" if spec["cuda"] and torch.cuda.is_available() else "cpu"
    half = spec["half"]
    network = Network(spec["depth"], spec["vocabulary"], spec["length"]).to(device)
    scale = (64 * spec["depth"] / 768) ** -0.5
    tables = [
        {"params": [network.embedding.weight], "lr": 0.2 * scale},
        {"params": [network.head.weight], "lr": 0.004 * scale},
    ]
    adamw = torch.optim.AdamW(tables, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0, fused=True)
    matrices = [p for layer in network.layers for p in layer.parameters()]
    muon = Muon(matrices, half)
    loss = torch.compile(network.loss) if device == "cuda" else network.loss
    texts = torch.randint(0, spec["vocabulary"], (spec["batch"], spec["length"] + 1), device=device)

    def step() -> None:
        for parameter in network.parameters():
            parameter.grad = None
        with torch.autocast(device, torch.bfloat16, enabled=half):
            value = loss(texts[:, :-1], texts[:, 1:])
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adamw.step()
        muon.step(0.95, 0.02)
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        told = {"seconds": seconds, "peak_flops": peak(device)}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
