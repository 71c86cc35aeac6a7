"""What other programs call the settings, and their config files in Python, which are never run.

Such a file holds plain assignments and comments. It is read by its syntax tree.
"""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jfl.config import packaged_configs
from jfl.errors import UsageError
from jfl.files import texts
from jfl.files.strict_json import dumps
from jfl.plugins import nearest

NAMES = {
    "run": "name",
    "depth": "depth",
    "max_seq_len": "context",
    "num_iterations": "steps",
    "target_flops": "train.target_flops",
    "target_param_data_ratio": "train.tokens_per_parameter",
    "device_batch_size": "train.device_batch_size",
    "total_batch_size": "train.total_batch_size",
    "embedding_lr": "optimizer.embedding_lr",
    "unembedding_lr": "optimizer.unembedding_lr",
    "matrix_lr": "optimizer.matrix_lr",
    "weight_decay": "optimizer.weight_decay",
    "grad_clip": "optimizer.grad_clip",
    "warmup_ratio": "optimizer.warmup",
    "warmdown_ratio": "optimizer.warmdown",
    "final_lr_frac": "optimizer.final",
    "eval_every": "evaluate.every",
    "eval_tokens": "evaluate.tokens",
    "sample_every": "sample.every",
    "save_every": "checkpoint.every",
    "model_tag": "name",
    "seed": "seed",
    "data_dir": "data.dir",
    "vocab_size": "tokenizer.vocab_size",
}
"""jfl's settings by the names of nanochat and its forks."""
UNUSED = {
    "use_dummy_wandb": "jfl sends nothing anywhere",
    "device_type": "give --device",
    "core_metric_every": "CORE is no part of jfl lm base-train",
    "core_metric_max_per_task": "CORE is no part of jfl lm base-train",
}
"""Names that are read and change nothing, and why."""
_NONE = {"num_iterations": -1, "target_flops": -1, "target_param_data_ratio": -1}
"""What in nanochat stands for none."""
_LARGEST = 1 << 20  # bytes


def translated(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Returns configs, changes and notes for people, of words such as d12, depth=4, --run=a.

    A config that ends with .py becomes changes, which come before those of the words.

    Raises:
        UsageError: a Python file is none of plain assignments.
    """
    names, before, after, notes = [], [], [], []
    left = iter(words)
    for word in left:
        plain = word.removeprefix("--")
        if plain != word and "=" not in word and (value := next(left, None)) is not None:
            plain = f"{plain}={value}"
        key, sign, value = plain.partition("=")
        if not sign and word.endswith(".py"):
            for line, (name, found) in assigned(Path(word)).items():
                before += _change(name, dumps(found), found, notes, f"{word}, line {line}")
        elif not sign and word.startswith("-"):
            raise UsageError(f"{word} must have a value, as in {word}=1")
        elif not sign:
            names.append(word)
        elif key in NAMES or key in UNUSED:
            after += _change(key, value, _number(value), notes, None)
        else:
            after.append(plain)
    return names, before + after, notes


def packaged(name: str) -> str:
    """Returns a config's name; those of configs/lm need no folder."""
    inner = f"lm/{name}"
    known = {path.relative_to(packaged_configs()).with_suffix("") for path in
             (packaged_configs() / "lm").glob("*.yaml")}  # fmt: skip
    return inner if Path(inner) in known and not Path(name).exists() else name


def _change(name: str, text: str, value: Any, notes: list[str], where: str | None) -> list[str]:
    if name in UNUSED:
        notes.append(f"{name}: {UNUSED[name]}")
        return []
    if name not in NAMES:
        known = [*NAMES, *UNUSED]
        raise UsageError(f"{where}: {name} is not known{nearest(name, known)}")
    if name in _NONE and value == _NONE[name]:
        return []
    return [f"{NAMES[name]}={text}"]


def _number(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def assigned(path: Path) -> dict[int, tuple[str, Any]]:
    """Returns the names and values that a Python file assigns, by line; nothing of it is run.

    Raises:
        UsageError: it holds anything but assignments of plain values; says the line.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} has more than {_LARGEST:,} bytes, so it is no config")
        tree = ast.parse(texts.read(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}," if isinstance(error, SyntaxError) and error.lineno else ""
        raise UsageError(f"{path}{line} is no Python of plain assignments") from error
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case ast.Expr(value=ast.Constant(value=str())):  # a comment in quotes
                continue
            case _:
                raise UsageError(
                    f"{path}, line {node.lineno}, is no plain assignment; such files are not run, "
                    "so write each value out, as in depth = 16"
                )
        try:
            plain = ast.literal_eval(value)
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            raise UsageError(
                f"{path}, line {node.lineno}: {name} is no plain value; such files are not run, so "
                f"write it out, as in {name} = 16"
            ) from error
        if not isinstance(plain, str | int | float | bool):
            raise UsageError(f"{path}, line {node.lineno}: {name} must be a number or a text")
        found[node.lineno] = name, plain
    return found
