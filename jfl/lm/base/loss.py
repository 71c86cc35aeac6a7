"""What `jfl lm base-loss` says of a network."""

from typing import Any

from jfl.lm import bits, ngrams
from jfl.lm.base.config import Evaluate
from jfl.lm.data import source
from jfl.lm.named import Named
from jfl.lm.opened import Opened, opened
from jfl.lm.tokenizer import special
from jfl.models.language import base
from jfl.models.language.base import Computation
from jfl.runs import backend

_AT_ONCE = 8  # rows, of others' files


def measure(
    named: Named, *, data_dir: str | None = None, tokens: int | None = None,
    tokenizer: str | None = None, device: str | None = None, baselines: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Measures a saved network on texts it trained on and on those held back.

    Args:
        named: which one.
        data_dir: other texts than those of its run.
        tokens: of each part; None = as its run.
        tokenizer: the folder of one, for others' files that have none beside them.
        device: as in `jfl train`.
        baselines: also measure what trigrams cost, counted on what it trains on.

    Raises:
        JflError: there is no such network or text, or it is of another job.
    """
    backend.start(device, 1)
    found = opened(named, tokenizer)
    config = found.config
    data = source.Config(dir=data_dir) if config is None or data_dir else config.data
    train, held = source.find(data)
    usual = Evaluate() if config is None else config.evaluate
    said = {"run": str(named.path), "title": found.title, "step": found.step}
    measurer = _measurer(found)
    rows: Any = None
    for part, texts in (("train", train), ("valid", held)):
        rows = bits.fixed(texts, found.tokenizer, found.network.context, tokens or usual.tokens)
        measured = measurer(rows)
        said |= {f"{part}_bpb": measured.bits_per_byte, f"{part}_loss": measured.loss}
    if baselines:
        lengths = special.token_bytes(found.tokenizer)
        counted = ngrams.measure(train, rows, found.tokenizer, lengths)
        said["baselines"] = {name: one.bits_per_byte for name, one in counted.items()}
    return said | {"notes": list(found.notes)}


def _measurer(found: Opened) -> Any:
    config = found.config
    model = base.build(found.network, Computation() if config is None else config.computation)
    batch = _AT_ONCE if config is None else config.train.device_batch_size
    measure = bits.measurer(model, special.token_bytes(found.tokenizer), batch)
    return lambda rows: measure(found.params, rows)
