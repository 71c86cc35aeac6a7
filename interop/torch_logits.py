"""Logits of a state dict by PyTorch's own operations, to compare what was converted with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from interop import torch_names


def available() -> bool:
    """Tells whether torch can be imported."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def logits(
    state: Mapping[str, np.ndarray],
    model: str,
    layers: Mapping[str, str],
    x: Shaped[np.ndarray, "B ..."],
    *,
    groups: int = 32,
    relu: bool = False,
    epsilon: Mapping[str, float] | None = None,
) -> Float[np.ndarray, "B C"]:
    """Returns what torch computes for samples as jfl has them.

    Args:
        state: arrays by torch's names, without a wrapper's prefix.
        model: cnn, lstm, mlp or resnet18.
        layers: jfl's layers to torch's modules.
        x: samples [B, H, W, C] or [B, d].
        groups: of GroupNorm layers.
        relu: whether an LSTM has one before its head.
        epsilon: of normalisation layers, by torch's module name.
    """
    import torch

    tensors = {name: torch.tensor(np.ascontiguousarray(a)) for name, a in state.items()}
    first = np.moveaxis(x, -1, 1) if x.ndim == 4 else x
    network = _Network(torch, tensors, layers, groups, relu, epsilon or {})
    with torch.no_grad():
        made = getattr(network, model)(torch.tensor(np.ascontiguousarray(first)))
    return made.numpy()


class _Network:
    def __init__(
        self, torch: Any, state: Any, layers: Mapping[str, str], groups: int, relu: bool,
        epsilon: Any,
    ) -> None:  # fmt: skip
        self.torch, self.functional = torch, torch.nn.functional
        self.state, self.layers, self.groups = state, layers, groups
        self.relu, self.epsilon = relu, epsilon

    def _of(self, layer: str, word: str) -> Any:
        return self.state.get(torch_names.array(self.layers.get(layer, ""), word))

    def _dense(self, layer: str, x: Any) -> Any:
        return self.functional.linear(x, self._of(layer, "weight"), self._of(layer, "bias"))

    def _conv(self, layer: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
        weight, bias = self._of(layer, "weight"), self._of(layer, "bias")
        return self.functional.conv2d(x, weight, bias, stride, padding)

    def mlp(self, x: Any) -> Any:
        x = self.torch.flatten(x, 1)
        for number in range(1, len(self.layers)):
            x = self.torch.relu(self._dense(f"fc{number}", x))
        return self._dense("head", x)

    def cnn(self, x: Any) -> Any:
        for layer in ("conv1", "conv2"):
            x = self.functional.max_pool2d(self.torch.relu(self._conv(layer, x)), 2)
        return self._dense("head", self.torch.relu(self._dense("fc", self.torch.flatten(x, 1))))

    def lstm(self, x: Any) -> Any:
        lengths = (x != 0).mul(self.torch.arange(1, x.shape[1] + 1)).amax(1)
        embedded = self._of("embedding", "weight")[x.long()]
        hidden, names = self._of("lstm.l0.state", "weight").shape[1], list(self.layers)
        both = "lstm.l0_reverse.state" in names
        count = sum(name.endswith(".state") for name in names) // (1 + both)
        width = embedded.shape[-1]
        net = self.torch.nn.LSTM(width, hidden, count, batch_first=True, bidirectional=both)
        net.load_state_dict({
            name: self.state[array]
            for name in net.state_dict()
            for array in self.state
            if array.rpartition(".")[2] == name
        })  # fmt: skip
        packed = self.torch.nn.utils.rnn.pack_padded_sequence(
            embedded, lengths.clamp(min=1), batch_first=True, enforce_sorted=False
        )
        last = net(packed)[1][0][-1 - both :]
        z = self.torch.cat(list(last), 1) * (lengths > 0)[:, None]  # of no words nothing is read
        return self._dense("head", self.torch.relu(z) if self.relu else z)

    def _conv_norm(self, layer: str, x: Any, stride: int) -> Any:
        size = self._of(f"{layer}.conv", "weight").shape[-1]
        x = self._conv(f"{layer}.conv", x, stride, size // 2)
        norm = f"{layer}.norm"
        weight, bias = self._of(norm, "weight"), self._of(norm, "bias")
        mean, variance = self._of(norm, "running_mean"), self._of(norm, "running_var")
        eps = self.epsilon.get(self.layers.get(norm, ""), 1e-5)
        if mean is not None:
            return self.functional.batch_norm(x, mean, variance, weight, bias, eps=eps)
        if weight is not None:
            return self.functional.group_norm(x, self.groups, weight, bias, eps)
        return x

    def resnet18(self, x: Any) -> Any:
        large = self._of("stem.conv", "weight").shape[-1] == 7
        x = self.torch.relu(self._conv_norm("stem", x, 2 if large else 1))
        x = self.functional.max_pool2d(x, 3, 2, 1) if large else x
        for stage in range(1, 5):
            for number in range(2):
                block, stride = f"layer{stage}_{number}", 2 if stage > 1 and number == 0 else 1
                y = self.torch.relu(self._conv_norm(f"{block}.first", x, stride))
                y = self._conv_norm(f"{block}.second", y, 1)
                if f"{block}.shortcut.conv" in self.layers:
                    there = self._of(f"{block}.shortcut.conv", "weight") is not None
                    x = self._conv_norm(f"{block}.shortcut", x, stride) if there else x
                x = self.torch.relu(y + x)
        return self._dense("head", x.mean((2, 3)))


def layers_of(model: str, scheme: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Returns jfl's layers to torch's modules of a scheme; an mlp keeps its own names."""
    if model in torch_names.SCHEMES:
        there = {path.rpartition(".")[0] for path in params}
        return dict(torch_names.filled(torch_names.SCHEMES[model][scheme], there))
    return {layer: layer for layer in dict.fromkeys(p.rpartition(".")[0] for p in params)}
