"""The tree of a file's arrays, grouped by module; modules that are alike stand once."""

from collections.abc import Hashable
from typing import Any

from jfl.files.printable import printable, short

_ALIKE = 3  # numbered modules that are alike, from which on one stands for all
_DEEPEST = 50  # modules in modules that are drawn; what is deeper keeps its dots


class _Module:
    """What stands under a name: arrays and modules, of which one of each may have the same name."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, bool], Any] = {}
        """By name and whether it is an array; those are rows of the answer."""
        self.bytes = 0
        self._signature: Hashable = None

    def add(self, words: list[str], tensor: dict[str, Any]) -> None:
        """Puts an array into the modules of its path."""
        module = self
        for word in words[:-1]:
            module.bytes += tensor["bytes"]
            module = module.parts.setdefault((word, False), _Module())
        module.bytes += tensor["bytes"]
        module.parts[words[-1], True] = tensor

    @property
    def signature(self) -> Hashable:
        """Equal for modules of arrays with the same names, shapes and types."""
        if self._signature is None:
            self._signature = tuple(
                (word, tuple(part["shape"]), part["dtype"]) if array else (word, part.signature)
                for (word, array), part in self.parts.items()
            )
        return self._signature


def tree(title: str, tensors: list[dict[str, Any]]) -> list[str]:
    """Returns the lines of a tree of the arrays with shapes, types and the bytes of each module.

    Lines are never folded: they are the same on a terminal and in a pipe.
    """
    root = _Module()
    for tensor in tensors:
        root.add(tensor["path"].split(".", _DEEPEST), tensor)
    lines = [f"{title}  {size(root.bytes)}"]
    _grow(lines, "", root)
    return lines


def size(count: int) -> str:
    """Returns bytes as people read them."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.2f} GiB"


def _grow(lines: list[str], before: str, module: _Module) -> None:
    """Draws what is in a module, modules that are alike once."""
    parts = list(module.parts.items())
    at = 0
    while at < len(parts):
        (word, array), part = parts[at]
        alike = 1 if array else _alike(parts, at)
        at += alike
        more = f", and {alike - 1} more alike" if alike > 1 else ""
        text = _line(word, part) if array else f"{word}  {size(part.bytes)}{more}"
        arm, below = ("├── ", "│   ") if at < len(parts) else ("└── ", "    ")
        lines.append(before + arm + short(printable(text)))
        if not array:
            _grow(lines, before + below, part)


def _alike(parts: list[Any], start: int) -> int:
    """Returns how many numbered modules that are alike one line stands for."""
    (word, _), first = parts[start]
    if not word.isdigit():
        return 1
    end = start + 1
    while end < len(parts) and _is_alike(parts[end], first):
        end += 1
    return end - start if end - start >= _ALIKE else 1


def _is_alike(item: tuple[tuple[str, bool], Any], first: _Module) -> bool:
    (word, array), module = item
    return not array and word.isdigit() and module.signature == first.signature


def _line(word: str, tensor: dict[str, Any]) -> str:
    shape = " x ".join(map(str, tensor["shape"])) or "one number"
    line = f"{word}  {shape}  {tensor['dtype']}"
    if "norm" in tensor:
        numbers = [f"{key} {_short(tensor[key])}" for key in ("mean", "std", "min", "max", "norm")]
        numbers += [f"{tensor[key]} {key}" for key in ("zeros", "nan", "inf") if tensor[key]]
        line += "  " + "  ".join(numbers)
    return line


def _short(value: Any) -> str:
    if isinstance(value, list):  # a complex number
        return f"{_short(value[0])}+{_short(value[1])}i".replace("+-", "-")
    if isinstance(value, int):
        return str(value)
    return "-" if value is None else f"{value:.4g}"


def notes(result: dict[str, Any]) -> list[str]:
    """Returns what flags asked for, as lines."""
    lines = []
    for paths in result["ties"][:10]:
        shown = " = ".join(paths[:4]) + (" = ..." if len(paths) > 4 else "")
        lines.append(f"tied: {shown}")
    lines += [f"a save that was killed has left {name}" for name in result.get("unfinished", ())]
    lines += [result[key] for key in ("heads", "network") if key in result]
    for row in result.get("client_stats", ()):
        far = "  far from the others" if row["outlier"] else ""
        bad = f"  {row['not_finite']} not finite" if row["not_finite"] else ""
        values = f"norm {_short(row['norm'])}  to the mean {_short(row['distance'])}"
        lines.append(f"client {row['id']}  {values}{bad}{far}")
    if result.get("heat"):
        lines += ["affinity, darker helps more (rows: who is helped):", *result["heat"]]
    for row in result.get("lora", ()):
        lines.append(_adapter(row))
    if whole := result.get("lora_whole"):
        more = f" and {len(whole) - 8} more" if len(whole) > 8 else ""
        named = result.get("modules_to_save")
        why = f" (modules_to_save: {', '.join(map(str, named))})" if isinstance(named, list) else ""
        lines.append(f"trained whole, beside LoRA{why}: {', '.join(whole[:8])}{more}")
    lines += result.get("lora_notes", ())
    return lines + _differences(result.get("diff"))


def _adapter(row: dict[str, Any]) -> str:
    words = [row["target"] + (f" ({row['adapter']})" if row["adapter"] else "")]
    words.append(f"rank {row['rank']}" + (f" x {row['experts']} experts" if row["experts"] else ""))
    words.append("scale unknown" if row["scale"] is None else f"scale {row['scale']:g}")
    words.append(f"norm {_short(row['norm'])}")
    if row["norm"] is not None:
        words.append(f"effective rank {row['effective_rank']:.2f}  dead {row['dead']}")
    if row["bias_norm"] is not None:
        words.append(f"bias norm {_short(row['bias_norm'])}")
    return "  ".join([*words, "DoRA"] if row["dora"] else words)


def names(found: list[dict[str, Any]]) -> list[str]:
    """Returns the names of a pickle with their verdicts."""
    words = {"data": "data", "record": "read as data", "refused": "refused"}
    lines = []
    for entry in found:
        verdict = words.get(entry["verdict"], f"needs --classes {entry['verdict']}")
        nested = f", nested {entry['nested']} deep" if entry["nested"] else ""
        lines.append(f"{entry['name']}  {verdict}  (byte {entry['position']:,}{nested})")
    return [*lines, f"{len(found)} names; nothing was built"]


def _differences(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = [f"only there: {name}" for name in found["added"]]
    lines += [f"only here: {name}" for name in found["removed"]]
    for row in found["changed"]:
        if "shapes" in row:
            here, there = (" x ".join(map(str, shape)) for shape in row["shapes"])
            lines.append(f"{row['path']}  {here} here, {there} there")
        else:
            lines.append(f"{row['path']}  {_apart(row)}")
    if left := found["left_out"]:
        more = f" and {len(left) - 4} more" if len(left) > 4 else ""
        lines.append(f"not compared: {', '.join(left[:4])}{more}")
    return [*lines, f"{found['equal']} arrays are equal bit by bit"]


def _apart(row: dict[str, Any]) -> str:
    words = ["{} here, {} there".format(*row["dtypes"])] if "dtypes" in row else []
    if "unread" in row:
        return f"not compared, as {row['unread']} is only listed"
    if row["differ"] is None:
        return "  ".join([*words, "other bytes, which are no numbers jfl reads"])
    if not row["differ"]:
        return "  ".join([*words, "equal numbers, as other bytes"])
    words += [f"{key} {_short(row[key])}" for key in ("largest", "relative", "cosine")]
    words.append(f"{row['differ']} differ")
    if row["not_finite"]:
        words.append(f"{row['not_finite']} not finite on one side")
    return "  ".join(words)
