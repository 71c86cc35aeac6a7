import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from interop.pickles import files, listing
from jfl.errors import SafetyError
from jfl.sources.pickles.values import Record, Tensor
from tests.interop import hostile

CHECKOUT = Path(__file__).parents[2]

WATCHED = """
import json, sys
from pathlib import Path
from interop.pickles import files, listing
from jfl.errors import CheckpointError, SafetyError

paths = sorted(Path(sys.argv[1]).iterdir())
files.read(Path(sys.argv[2]))  # whatever is imported late is imported now
seen, current = [], None
BAD = ("import", "exec", "compile", "os.", "subprocess.", "pty.", "ctypes.", "socket.", "shutil.",
       "pickle.find_class", "marshal.", "sys.addaudithook", "code.__new__")

def watch(event, arguments):
    if current is None:
        return
    if event == "open":
        path, mode, flags = arguments
        import_free = isinstance(flags, int) and flags & 3 == 0
        if not import_free or Path(str(path)).parent != Path(sys.argv[1]):
            seen.append([current, event, repr(arguments)])
    elif event.startswith(BAD) and not event.startswith(("os.listdir", "os.scandir")):
        seen.append([current, event, repr(arguments)[:200]])

sys.addaudithook(watch)
codes = {}
for path in paths:
    for name, action in (("read", files.read), ("list", listing.listed)):
        current = f"{path.name} {name}"
        try:
            action(path, ("mini_fl",))
            code, message = 0, ""
        except (CheckpointError, SafetyError) as error:
            code, message = error.code, str(error)
        finally:
            current = None
        codes[f"{path.name} {name}"] = [code, message]
print(json.dumps({"codes": codes, "seen": seen}))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """What reading every hostile file came to, in a process whose every step is watched."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in hostile.FILES.items():
        (folder / name).write_bytes(content)
    tame = folder.parent / "tame.pt"
    tame.write_bytes(hostile.strided(b"K\x00", b"K\x04\x85", b"K\x01\x85"))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(folder), str(tame)],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_corpus_is_large():
    assert len(hostile.FILES) > 200
    assert len(hostile.GADGETS) > 70
    assert hostile.FILES.keys() >= hostile.UNSAFE


@pytest.mark.parametrize("name", hostile.FILES)
def test_every_hostile_file_is_refused_in_one_sentence(corpus, name):
    code, message = corpus["codes"][f"{name} read"]

    assert code in ({5} if name in hostile.UNSAFE else {4, 5}), message
    assert "\n" not in message
    assert len(message) < 600


def test_nothing_was_imported_executed_or_written(corpus):
    assert corpus["seen"] == []


def test_the_watch_sees_what_it_must(tmp_path):
    code = WATCHED.replace("action(path, (", "(__import__('this'), open(path, 'w'))  # ((")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"")
    (tmp_path / "tame").write_bytes(hostile.strided(b"K\x00", b"K\x04\x85", b"K\x01\x85"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "files"), str(tmp_path / "tame")],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    events = {event for _, event, _ in json.loads(done.stdout.splitlines()[-1])["seen"]}
    assert {"import", "open"} <= events


@pytest.mark.parametrize(
    "prefix", ["os", "os.path", "builtins", "torch", "numpy", "pip", "a.system", "importlib", "jfl"]
)
def test_prefixes_known_for_attacks_are_refused(tmp_path, prefix):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02N.")
    with pytest.raises(SafetyError, match=f"--classes {prefix} names"):
        files.read(path, (prefix,))


def test_a_plain_class_is_refused_with_its_remedy(tmp_path):
    path = tmp_path / "a.pkl"
    other = b"\x80\x02(csrc.models.cnn\nNet\n)Rcmini_fl.server\nFomo\n)R}"
    path.write_bytes(other + hostile.text("round") + b"K\x07sbt.")

    with pytest.raises(SafetyError, match=r"names src\.models\.cnn\.Net at byte 3;.*mini_fl,src "):
        files.read(path)
    _, fomo = files.read(path, ("mini_fl", "src"))
    assert isinstance(fomo, Record)
    assert (fomo.name, fomo.state) == ("mini_fl.server.Fomo", {"round": 7})


def test_names_are_listed_with_place_and_verdict(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(hostile.FILES["nested"])
    (inner, outer) = listing.listed(path)

    assert (inner["name"], inner["verdict"], inner["nested"]) == ("os.system", "refused", 1)
    assert (outer["name"], outer["position"]) == ("torch.storage._load_from_bytes", 2)


def test_a_tensor_larger_than_its_file_is_not_read(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(hostile.strided(b"K\x00", b"J\x00\x00\x00\x10\x85", b"K\x00\x85"))
    with pytest.raises(SafetyError, match="more than itself"):
        files.read(path).read()


TAME = {
    "zip": hostile.strided(b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86"),
    "legacy": hostile.legacy(
        hostile.tensor(b"K\x00", b"K\x04\x85", b"K\x01\x85").replace(b"K\x04tQ", b"K\x04NtQ"),
        b"\x80\x02]" + hostile.text("0") + b"a.",
        b"\x04" + bytes(7) + np.arange(4, dtype="<f4").tobytes(),
    ),
}
TAME["pickle"] = (
    b"\x80\x04" + hostile.LOAD + hostile.pickle.dumps(
        hostile.legacy(
            b"\x80\x02(" + hostile.text("storage") + b"ctorch\nFloatStorage\n" + hostile.text("0")
            + hostile.text("cuda:3") + b"K\x04NtQ.",
            b"\x80\x02]" + hostile.text("0") + b"a.",
            b"\x04" + bytes(7) + np.arange(4, dtype="<f4").tobytes(),
        ), 4,
    )[2:-1] + b"\x85R."
)  # fmt: skip


def drained(value):
    """Reads whatever tensors a value holds at its top."""
    if isinstance(value, Tensor):
        value.read()


def test_depth_alone_breaks_nothing(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02" + b"]" * 5_000 + b"a" * 4_999 + b".")
    assert len(files.read(path)) == 1


@pytest.mark.parametrize("kind", TAME)
def test_undamaged_they_are_read(tmp_path, kind):
    path = tmp_path / "a.pt"
    path.write_bytes(TAME[kind])
    drained(files.read(path))
