"""Fixtures all tests may use, and a JAX that forgives less than the users' one.

Every annotation of jfl and interop is checked at run time. Implicit promotion of dtypes or ranks,
a captured constant and a warning are errors. The CPU shows four devices.
"""

# The hook must be in place before anything of jfl is imported, hence statements between imports.
# ruff: noqa: E402
from jaxtyping import install_import_hook

install_import_hook(["jfl", "interop"], "beartype.beartype")

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import jax
import matplotlib
import pytest

from jfl import plugins
from jfl.errors import UsageError
from tests import fetched

matplotlib.use("agg")  # there is no display

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_default_prng_impl", "threefry2x32")  # as in jfl/mesh.py
jax.config.update("jax_threefry_partitionable", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# a warning, hence an error; the matrices of minimal filtering are constants of some KiB
jax.config.update("jax_captured_constants_warn_bytes", 1 << 15)

for scheme in ("http_proxy", "https_proxy"):  # whatever would leave this machine fails at once
    os.environ[scheme] = os.environ[scheme.upper()] = "http://127.0.0.1:9"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"

hypothesis.settings.register_profile(
    "jfl", derandomize=True, deadline=None, max_examples=25, database=None
)
hypothesis.settings.load_profile("jfl")


# what tests let jfl run is no business of who runs the tests
_state = tempfile.TemporaryDirectory(prefix="jfl-tests-state-")
os.environ["XDG_STATE_HOME"] = _state.name

SESSION = "JFL_TESTS_SESSION"  # the folder that the workers of a session share
COMPILED = "JFL_TESTS_COMPILED"  # where compiled programs are; a folder given is kept


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that tests plugins from outside."""
    parser.addoption(
        "--plugins",
        dest="outside",
        metavar="DIR",
        help="let the conformance tests look at the plugins of this folder only",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Adds the plugins from outside; lets all workers compile each program once between them."""
    if config.option.outside:
        folder = Path(config.option.outside)
        install_import_hook([folder.resolve().name], "beartype.beartype")
        try:
            plugins.add(folder)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
    if not hasattr(config, "workerinput"):
        os.environ[SESSION] = tempfile.mkdtemp(prefix="jfl-tests-session-")
        os.environ.setdefault(COMPILED, str(Path(os.environ[SESSION]) / "compiled"))
    jax.config.update("jax_compilation_cache_dir", os.environ[COMPILED])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes what the session made and compiled."""
    if not hasattr(config, "workerinput"):
        folder = os.environ.pop(SESSION)
        if Path(os.environ[COMPILED]).is_relative_to(folder):
            del os.environ[COMPILED]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def key() -> jax.Array:
    """A random key."""
    return jax.random.key(7)


@pytest.fixture
def fashion_mnist_dir() -> Path:
    """The real Fashion-MNIST; where it must be there, its absence fails instead of skipping."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        reason = f"{folder} is absent: install Debian's dataset-fashion-mnist"
        if os.environ.get("JFL_REQUIRE_FASHION_MNIST") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def _there(path: Path) -> Path:
    if not path.exists():
        reason = f"{path} is absent: bring it with `python -m tests.fetched`"
        if os.environ.get("JFL_REQUIRE_SMOLLM2") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct; where it must be there, its absence fails."""
    return _there(fetched.SMOLLM2 / fetched.FILE)


@pytest.fixture(scope="session")
def austen() -> str:
    """The folder of texts that holds Jane Austen's novels; where they must be there, likewise."""
    _there(fetched.texts("austen"))
    return str(fetched.CACHE)
