"""A folder is a registry: its files are the names.

`algorithms/fedfomo.py` is reached by the word `fedfomo` in a yaml file. Nothing is registered by
hand, so a new file is known to the config, to `jfl list` and to the conformance tests at once.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from jfl.errors import UsageError

# config section -> folder of jfl/ that holds its plugins
FOLDERS = {
    "algorithm": "algorithms",
    "data": "datasets",
    "model": "models",
    "partition": "partition",
}
_NOT_PLUGINS = {"base", "layers"}  # what the plugins of a folder share


def names(section: str) -> list[str]:
    """Returns the plugin names of a config section, sorted."""
    folder = Path(__file__).parent / FOLDERS[section]
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return sorted(name for name in found if name not in _NOT_PLUGINS)


def load(section: str, name: str) -> ModuleType:
    """Imports one plugin.

    Raises:
        UsageError: no such name; the message lists the known ones and the nearest.
    """
    known = names(section)
    if name not in known:
        raise UsageError(
            f"{section}.name={name} is not known{nearest(name, known)}; "
            f"there are: {', '.join(known)}"
        )
    return importlib.import_module(f"jfl.{FOLDERS[section]}.{name}")


def summary(module: ModuleType) -> str:
    """Returns the first line of a plugin's docstring."""
    return (module.__doc__ or "").strip().split("\n")[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ", did you mean X?" in a form that fits inside a sentence, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
