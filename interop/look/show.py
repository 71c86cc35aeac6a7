"""The tree of a file's arrays, grouped by module; modules that are alike stand once."""

from typing import Any

from rich.tree import Tree

from jfl.report.screen import PlainPage

_ALIKE = 3  # numbered modules that are alike, from which on one stands for all

_WIDEST = 2000  # characters of a line

Node = dict[str, Any]
"""Modules by name, and arrays under theirs."""


def tree(title: str, tensors: list[dict[str, Any]]) -> list[str]:
    """Returns the lines of a tree of the arrays with shapes, types and the bytes of each module.

    Lines are never folded: they are the same on a terminal and in a pipe.
    """
    root: Node = {}
    for tensor in tensors:
        *outer, leaf = tensor["path"].split(".")
        node = root
        for word in outer:
            node = node.setdefault(word, {})
            if "shape" in node:  # an array and a module of one name
                node = root.setdefault(".".join(outer), {})
                break
        node[leaf if leaf not in node else f"{leaf} (again)"] = tensor
    made = Tree(f"{title}  {size(sum(t['bytes'] for t in tensors))}")
    _grow(made, root)
    return [line.rstrip() for line in PlainPage(_WIDEST).text(made).splitlines()]


def size(count: int) -> str:
    """Returns bytes as people read them."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.2f} GiB"


def _grow(branch: Tree, node: Node) -> None:
    waiting = list(node.items())
    while waiting:
        word, inner = waiting.pop(0)
        if _is_array(inner):
            branch.add(_line(word, inner))
            continue
        alike = 0
        if word.isdigit():
            shape = _signature(inner)
            while waiting and waiting[0][0].isdigit() and _signature(waiting[0][1]) == shape:
                if alike + 1 < _ALIKE and not _run_of(waiting, shape):
                    break
                waiting.pop(0)
                alike += 1
        more = f", and {alike} more alike" if alike else ""
        _grow(branch.add(f"{word}  {size(_bytes(inner))}{more}"), inner)


def _run_of(waiting: list[tuple[str, Any]], shape: Any) -> bool:
    """Tells whether enough follow that are alike."""
    follow = waiting[: _ALIKE - 1]
    return len(follow) == _ALIKE - 1 and all(_signature(node) == shape for _, node in follow)


def _is_array(node: Any) -> bool:
    return isinstance(node.get("shape"), list) and isinstance(node.get("path"), str)


def _signature(node: Any) -> Any:
    if _is_array(node):
        return (tuple(node["shape"]), node["dtype"])
    return tuple((word, _signature(inner)) for word, inner in node.items())


def _bytes(node: Any) -> int:
    return node["bytes"] if _is_array(node) else sum(map(_bytes, node.values()))


def _line(word: str, tensor: dict[str, Any]) -> str:
    shape = " x ".join(map(str, tensor["shape"])) or "one number"
    line = f"{word}  {shape}  {tensor['dtype']}"
    if "norm" in tensor:
        numbers = [f"{key} {_short(tensor[key])}" for key in ("mean", "std", "min", "max", "norm")]
        numbers += [f"{tensor[key]} {key}" for key in ("zeros", "nan", "inf") if tensor[key]]
        line += "  " + "  ".join(numbers)
    return line


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def notes(result: dict[str, Any]) -> list[str]:
    """Returns what flags asked for, as lines."""
    lines = []
    for paths in result["ties"][:10]:
        shown = " = ".join(paths[:4]) + (" = ..." if len(paths) > 4 else "")
        lines.append(f"tied: {shown}")
    lines += [f"a save that was killed has left {name}" for name in result.get("unfinished", ())]
    for row in result.get("client_stats", ()):
        far = "  far from the others" if row["outlier"] else ""
        bad = f"  {row['not_finite']} not finite" if row["not_finite"] else ""
        values = f"norm {_short(row['norm'])}  to the mean {_short(row['distance'])}"
        lines.append(f"client {row['id']}  {values}{bad}{far}")
    if result.get("heat"):
        lines += ["affinity, darker helps more (rows: who is helped):", *result["heat"]]
    for row in result.get("lora", ()):
        lines.append(
            f"{row['target']}  rank {row['rank']}  scale {row['scale']:g}  norm "
            f"{_short(row['norm'])}  effective rank {row['effective_rank']:.2f}  dead {row['dead']}"
        )
    return lines + _differences(result.get("diff"))


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
            relative = _short(row["relative"])
            cosine = _short(row["cosine"])
            lines.append(
                f"{row['path']}  largest {row['largest']:.3g}  relative {relative}  cosine {cosine}"
            )
    return [*lines, f"{found['equal']} arrays are equal bit by bit"]
