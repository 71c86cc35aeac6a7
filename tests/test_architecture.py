"""The house rules a machine can check."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jfl

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("jfl/**/*.py"), *ROOT.glob("interop/**/*.py")])

# library -> where it may be imported
HOMES = {
    "flax": ("jfl/models/", "jfl/adapters/", "jfl/federated/heads/methods/"),
    "optax": ("jfl/optimize/",),
    "orbax": ("jfl/runs/checkpoint.py",),
    "tensorstore": ("jfl/runs/checkpoint.py", "interop/formats/orbax.py"),
    "matplotlib": ("jfl/report/",),
    "tensorboardX": ("jfl/report/",),
    "click": ("jfl/cli.py", "jfl/commands/"),
    "omegaconf": ("jfl/config.py",),
    "PIL": ("jfl/sources/pictures.py",),
    "torch": ("interop/",),
    "h5py": ("interop/result_files.py",),
    "gguf": ("interop/gguf/",),
    "cryptography": ("jfl/split/",),
    "google": ("jfl/split/",),
    "grpc": ("jfl/split/",),
    "jinja2": ("jfl/text/",),
    "lm_eval": ("jfl/scoring/",),
    "rustbpe": ("jfl/lm/",),
    "tiktoken": ("jfl/text/",),
    "tokenizers": ("jfl/text/",),
}


def imported(path: Path) -> set[str]:
    """The top-level names a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_library_has_one_home(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for library in imported(path) & HOMES.keys():
        assert place.startswith(HOMES[library]), f"{library} has no business in {place}"


# settings as words of a command line, keys that stay in memory, and headers of other formats
NO_OUTPUT = (
    "jfl/api.py", "jfl/config.py", "jfl/commands/bench.py", "jfl/commands/sweep.py",
    "jfl/commands/split.py",
    "jfl/commands/train.py", "jfl/sweep/cells.py", "jfl/report/compare/",
    "jfl/federated/following.py",
    "interop/experiments.py", "interop/inspect/patterns.py", "interop/formats/safetensors.py",
    "jfl/files/strict_json.py", "jfl/runs/manifest.py", "jfl/files/documents.py",
    "jfl/files/plugin_code.py", "jfl/text/sandbox.py",
)  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_json_is_written_by_one_function(path: Path) -> None:
    if path.relative_to(ROOT).as_posix().startswith(NO_OUTPUT):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps"):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            assert owner != "json", f"{path}:{node.lineno} may print NaN; use jfl.strict_json"


def test_jfl_names_interop_at_its_doors_only() -> None:
    doors = "jfl/models/files.py", "jfl/commands/"
    for path in ROOT.glob("jfl/**/*.py"):
        if path.relative_to(ROOT).as_posix().startswith(doors):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text())))
        documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and id(node) not in documentation:
                named = isinstance(node.value, str) and "interop" in node.value
                assert not named, f"{path}:{node.lineno}: go through jfl/models/files.py"


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in [*SOURCES, ROOT / "bin/jfl"]}
    too_long = {path.name: lines for path, lines in lengths.items() if lines > 400}
    assert not too_long
    assert sorted(lengths.values())[len(lengths) // 2] < 150


def test_layers_hold() -> None:
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, jfl.cli\n"
        "try: jfl.cli.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'jax', 'numpy', 'pydantic', 'flax', 'matplotlib', 'yaml', 'rich'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_the_version_stands_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == jfl.__version__


def test_the_readmes_tree_is_true() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme.split("## The tree")[1].split("```")[1]
    folder = ""
    for line in tree.strip().splitlines():
        name = line.split()[0]
        if line.startswith("   "):
            continue  # more words on the line before
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
        path = name if not line.startswith(" ") else folder + name
        assert (ROOT / path).exists(), path
    listed = set(re.findall(r"^  (\S+)", tree, re.MULTILINE))
    here = {p.name + "/" * p.is_dir() for p in (ROOT / "jfl").iterdir()}
    here -= {"__init__.py", "__main__.py", "__pycache__/"}
    assert here == listed


def test_readme_and_changelog_links_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
            assert target.startswith("http") or (ROOT / target).exists(), f"{name}: {target}"
