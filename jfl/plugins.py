"""A folder is a registry: its files are the names.

`algorithms/fedfomo.py` is reached by the word `fedfomo` in a yaml file. Nothing is registered by
hand, so a new file is known to the config, to `jfl list` and to the conformance tests at once.
Folders of the same shape outside jfl are added with `add`; they are to plugins what `sys.path` is
to modules.
"""

import difflib
import hashlib
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from jfl.errors import UsageError

# config section -> folder of jfl/ that holds its plugins
FOLDERS = {
    "algorithm": "algorithms",
    "data": "datasets",
    "heads": "adapters",
    "model": "models",
    "partition": "partition",
}
# config section -> what a plugin must define
DEFINES = {
    "algorithm": ("Config", "build"),
    "data": ("Config", "TITLE", "SHAPE", "find", "load"),
    "heads": ("Config", "build"),
    "model": ("Config", "build", "image_size"),
    "partition": ("Config",),
}
KEYS = {"heads": "method"}
"""The setting that names a section's plugin, where it is not `name`."""
_NOT_PLUGINS = {"base", "layers", "convolution", "winograd"}  # what the plugins of a folder share
_ELSEWHERE = {"dnn": "mlp", "mlr": "mlp", "dir": "dirichlet", "pat": "pathological"}
"""What other programs call some plugins, where the letters do not tell."""
_outside: list[Path] = []


def add(folder: Path) -> None:
    """Adds the plugins of a folder that holds algorithms/, datasets/, models/ or partition/.

    Raises:
        UsageError: it holds none, or one whose name is taken.
    """
    folder = folder.expanduser().resolve()
    if folder in _outside:
        return
    if not folder.is_dir():
        raise UsageError(f"plugins: {folder} is not a folder")
    found = {section: _in(folder / kind) for section, kind in FOLDERS.items()}
    if not any(found.values()):
        kinds = ", ".join(f"{kind}/" for kind in FOLDERS.values())
        raise UsageError(f"plugins: {folder} holds no python file in any of {kinds}")
    if not folder.name.isidentifier():
        raise UsageError(f"plugins: {folder.name} cannot be imported; name it like a variable")
    for section, its in found.items():
        for name in its & set(names(section)):
            taken = folder / FOLDERS[section] / f"{name}.py"
            raise UsageError(f"plugins: {taken} has the name of another {section}; rename it")
    # last, so that nothing beside the folder shadows what is installed
    sys.path.append(str(folder.parent))
    _outside.append(folder)


def key(section: str) -> str:
    """Returns the setting that names a section's plugin."""
    return KEYS.get(section, "name")


def names(section: str) -> list[str]:
    """Returns the plugin names of a config section, sorted."""
    own = _in(Path(__file__).parent / FOLDERS[section])
    return sorted(own | outside(section).keys())


def outside(section: str) -> dict[str, Path]:
    """Returns the plugins of a config section that are not jfl's own, with their files."""
    return {
        name: folder / FOLDERS[section] / f"{name}.py"
        for folder in _outside
        for name in _in(folder / FOLDERS[section])
    }


def fingerprint() -> dict[str, str]:
    """Returns the SHA-256 of every python file in the folders from outside."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in _outside
        for path in sorted(folder.rglob("*.py"))
    }


def _in(folder: Path) -> set[str]:
    found = {module.name for module in pkgutil.iter_modules([str(folder)])}
    return {name for name in found - _NOT_PLUGINS if not name.startswith("_")}


def load(section: str, name: str) -> ModuleType:
    """Imports one plugin.

    Raises:
        UsageError: no such name, with the known ones and the nearest; or it is no such plugin.
    """
    known = names(section)
    if name not in known:
        raise UsageError(
            f"{section}.{key(section)}={name} is not known{nearest(name, known)}; "
            f"there are: {', '.join(known)}"
        )
    file = outside(section).get(name)
    if file is None:
        return importlib.import_module(f"jfl.{FOLDERS[section]}.{name}")
    return _load_outside(section, file)


def _load_outside(section: str, file: Path) -> ModuleType:
    *_, package, kind, name = file.with_suffix("").parts
    try:
        module = importlib.import_module(f"{package}.{kind}.{name}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"plugins: {file} cannot be imported: {reason}") from error
    if Path(module.__file__ or "").resolve() != file:
        there = Path(module.__file__ or "")
        raise UsageError(f"plugins: {file} is hidden by {there}; rename the folder {package}")
    missing = [word for word in DEFINES[section] if not hasattr(module, word)]
    if missing:
        raise UsageError(f"plugins: {file} does not define {missing[0]}, as each {section} must")
    fields, word = getattr(module.Config, "model_fields", {}), key(section)
    if word not in fields or fields[word].default != name:
        wanted = f'{word}: Literal["{name}"] = "{name}"'
        raise UsageError(f"plugins: {file}: its Config needs `{wanted}`")
    return module


def summary(module: ModuleType) -> str:
    """Returns the first line of a plugin's docstring."""
    return (module.__doc__ or "").strip().split("\n")[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns " (did you mean X?)" for the end of a sentence, or nothing.

    Capitals and what stands between words do not count: FashionMNIST is near fashion_mnist.
    """
    plain = {_plain(name): name for name in reversed(list(known))}
    name = _plain(word)
    name = _ELSEWHERE[name] if _ELSEWHERE.get(name) in plain else name
    close = difflib.get_close_matches(name, plain, n=1, cutoff=0.5)
    return f" (did you mean {plain[close[0]]}?)" if close else ""


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == ".")
