"""A folder is a registry: its files are the names.

`algorithms/fedfomo.py` is reached by the word `fedfomo` in a yaml file. Nothing is registered by
hand, so a new file is known to the config, to `jfl list` and to the conformance tests at once.
Folders of the same shape outside jfl are added with `add`; they are to plugins what `sys.path` is
to modules. Those that a saved config names are added with `recall`, if this user knows them.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from jfl.errors import SafetyError, UsageError
from jfl.files import trust
from jfl.files.plugin_code import Code, Finder

# config section -> package of jfl that holds its plugins
PACKAGES = {
    "algorithm": "jfl.federated.algorithms",
    "data": "jfl.datasets",
    "heads": "jfl.federated.heads.methods",
    "job": "jfl",
    "language": "jfl.models.language",
    "model": "jfl.models",
    "partition": "jfl.federated.partition",
    "text": "jfl.datasets.text",
}
# config section -> folder of plugins from outside
FOLDERS = {
    "algorithm": "algorithms",
    "data": "datasets",
    "heads": "adapters",
    "job": "jobs",
    "language": "language",
    "model": "models",
    "partition": "partition",
    "text": "texts",
}
# config section -> what a plugin must define
DEFINES = {
    "algorithm": ("Config", "build"),
    "data": ("Config", "TITLE", "SHAPE", "find", "load"),
    "heads": ("Config", "build"),
    "job": ("Config", "build"),
    "language": ("Config", "build"),
    "model": ("Config", "build"),
    "partition": ("Config",),
    "text": ("Config", "TITLE", "find", "load"),
}
KEYS = {"heads": "method", "job": "kind"}
"""The setting that names a section's plugin, where it is not `name`."""
JOBS = ("federated", "lm.base", "split", "split.audit", "split.server")
"""jfl's own jobs are rooms, not files: each is the module `job` in a folder of this name."""
_NOT_PLUGINS = {
    "attention",
    "averaging",
    "base",
    "block",
    "convolution",
    "cross_entropy",
    "decoder",
    "feed_forward",
    "files",
    "hf_config",
    "language",
    "layers",
    "llama_hf",
    "maker",
    "next_token",
    "opened",
    "places",
    "recurrence",
    "rotary",
    "survey",
    "text",
    "turned",
    "winograd",
}  # what the plugins of a folder share
_ELSEWHERE = {"dnn": "mlp", "mlr": "mlp", "dir": "dirichlet", "pat": "pathological"}
"""What other programs call some plugins, where the letters do not tell."""
_outside: list[Code] = []
_given: list[Path] = []
_finder = Finder(lambda: _outside)


def add(folder: Path) -> Path:
    """Adds the plugins of a folder that holds algorithms/, datasets/, models/ or partition/.

    The user has named it: from now on saved configs may name it too, until it changes.

    Returns:
        The whole path of the folder.

    Raises:
        UsageError: it holds none, or one whose name is taken.
    """
    folder = folder.expanduser().resolve()
    if (code := _added(folder)) is None:
        code = _read(folder)
        _add(code)
    trust.remember(code.sha256, folder)
    return folder


def give(folders: Iterable[Path]) -> list[Path]:
    """Adds folders of a command; they stand in for those that saved configs name."""
    _given.extend(add(folder) for folder in folders)
    return list(_given)


def take_back() -> None:
    """Ends what `give` began, at the end of a command."""
    _given.clear()


def recall(folders: Sequence[Path], config: Path) -> list[Path]:
    """Adds the plugins that a saved config names, if this user let jfl run them before.

    Returns:
        The folders, or those that the command has given instead of them.

    Raises:
        SafetyError: they are unknown, or have changed.
        UsageError: as `add`.
    """
    if _given:
        return list(_given)
    for folder in folders:
        if _added(folder) is not None:
            continue
        code = _read(folder)
        if not trust.known(code.sha256):
            raise SafetyError(
                f"{config} names plugins, and you have not trained with {folder} as it is now: "
                f"read its code and, if you trust it, let it run with --plugins {folder}"
            )
        _add(code)
    return list(folders)


def _added(folder: Path) -> Code | None:
    return next((code for code in _outside if code.path == folder), None)


def _read(folder: Path) -> Code:
    """Returns the files of a folder of plugins.

    Raises:
        UsageError: it is none.
    """
    if not folder.is_dir():
        raise UsageError(f"plugins: {folder} is not a folder; say where it is with --plugins")
    if not any(_in(folder / kind) for kind in FOLDERS.values()):
        kinds = ", ".join(f"{kind}/" for kind in FOLDERS.values())
        raise UsageError(f"plugins: {folder} holds no python file in any of {kinds}")
    if not folder.name.isidentifier():
        raise UsageError(f"plugins: {folder.name} cannot be imported; name it like a variable")
    return Code(folder)


def _add(code: Code) -> None:
    for section, kind in FOLDERS.items():
        for name in sorted(_plugins(code.modules(kind)) & set(names(section))):
            taken = code.path / kind / f"{name}.py"
            raise UsageError(f"plugins: {taken} has the name of another {section}; rename it")
    _outside.append(code)
    _finder.install()


def key(section: str) -> str:
    """Returns the setting that names a section's plugin."""
    return KEYS.get(section, "name")


def setting(section: str) -> str:
    """Returns that setting's whole name; that of a job stands in no section."""
    return key(section) if section == "job" else f"{section}.{key(section)}"


def names(section: str) -> list[str]:
    """Returns the plugin names of a config section, sorted."""
    if section == "job":
        own = set(JOBS)
    else:
        own = _in(Path(__file__).parents[1].joinpath(*PACKAGES[section].split(".")))
    return sorted(own | outside(section).keys())


def outside(section: str) -> dict[str, Path]:
    """Returns the plugins of a config section that are not jfl's own, with their files."""
    kind = FOLDERS[section]
    return {
        name: code.path / kind / f"{name}.py"
        for code in _outside
        for name in _plugins(code.modules(kind))
    }


def fingerprint() -> dict[str, str]:
    """Returns the SHA-256 of every python file in the folders from outside."""
    return {name: digest for code in _outside for name, digest in code.fingerprint.items()}


def _in(folder: Path) -> set[str]:
    return _plugins({module.name for module in pkgutil.iter_modules([str(folder)])})


def _plugins(modules: set[str]) -> set[str]:
    return {name for name in modules - _NOT_PLUGINS if not name.startswith("_")}


def load(section: str, name: str) -> ModuleType:
    """Imports one plugin.

    Raises:
        UsageError: no such name, with the known ones and the nearest; or it is no such plugin.
    """
    known = names(section)
    if name not in known:
        raise UsageError(
            f"{setting(section)}={name} is not known{nearest(name, known)}; "
            f"there are: {', '.join(known)}"
        )
    file = outside(section).get(name)
    if file is None:
        module = f"{name}.job" if section == "job" else name
        return importlib.import_module(f"{PACKAGES[section]}.{module}")
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
