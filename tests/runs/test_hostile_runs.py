"""Run folders from strangers, through every command: none of their code runs, nothing is told."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.command_line import CALL, CHECKOUT, ENVIRONMENT, Warm, copied

PULL = (CHECKOUT / "docs/my_methods/algorithms/pull.py").read_text()
SECRET = "hush-hush-7731"
COMMANDS = (
    "inspect RUN", "inspect RUN --verify", "runs PLACE", "logs RUN", "stop RUN",
    "report RUN", "table RUN --which last", "table PLACE --by algorithm", "plot RUN --out p.png",
    "eval RUN", "eval RUN --ood noise", "heads RUN --method aph members=2 epochs=1",
    "convert RUN out.safetensors", "convert RUN out.pt", "train --resume RUN",
    "train --resume RUN rounds=13", "train RUN/config.yaml --dry-run", "sweep --resume RUN",
    "sweep RUN/config.yaml --dry-run", "data digits", "list", "doctor",
)  # fmt: skip

WATCHED = (
    CALL
    + """
import json, os, sys
from jfl import mesh
mesh.start("cpu", 4)
seen, place = [], None
BAD = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.", "socket.connect",
       "pickle.find_class")

def watch(event, arguments):
    if place is None:
        return
    if event == "exec":
        if str(getattr(arguments[0], "co_filename", "")).startswith(place):
            seen.append(event)
    elif event == "compile":
        if str(arguments[1]).startswith(place):
            seen.append(event)
    elif event == "subprocess.Popen":
        if os.path.basename(str(arguments[0])) != "git":
            seen.append(f"{event} {arguments[1]}")
    elif event.startswith(BAD):
        seen.append(event)

sys.addaudithook(watch)
for line in sys.stdin:
    words, cwd = json.loads(line)
    os.chdir(cwd)
    place, seen[:] = cwd, []
    code, out, err = call(words)
    place = None
    err += "".join(f"SEEN {event}" + chr(10) for event in seen)
    print(json.dumps([code, out, err]), flush=True)
"""
)


class Watched(Warm):
    _PROGRAM = WATCHED


@pytest.fixture(scope="module")
def watched() -> Watched:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRONMENT, "JFL_SECRET", SECRET)
        return Watched()


def evil(ran: Path) -> str:
    """Code that leaves a file behind."""
    return f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"


class Bomb:
    """What a pickle runs when it is loaded."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.ran}",)


def change(run: Path, **settings: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | settings))


def plugins(run: Path, ran: Path) -> None:
    for kind in ("algorithms", "models", "datasets", "partition"):
        (run / "mine" / kind).mkdir(parents=True)
        (run / "mine" / kind / "pull.py").write_text(PULL + evil(ran))
    (run / "mine" / "__init__.py").write_text(evil(ran))
    for place in (run, run / "jfl", run / ".local" / "state" / "jfl"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "plugins.json").write_text(json.dumps({"0" * 64: {"folder": str(run / "mine")}}))


def by_name(run: Path, ran: Path) -> None:
    plugins(run, ran)
    change(run, plugins=["mine"], algorithm={"name": "pull"})


def by_path(run: Path, ran: Path) -> None:
    plugins(run, ran)
    change(run, plugins=[str(run / "mine")])


def by_link(run: Path, ran: Path) -> None:
    plugins(run, ran)
    (run / "linked").symlink_to(run / "mine")
    change(run, plugins=[str(run / "linked")], model={"name": "pull"})


def by_words(name: str) -> Callable[[Path, Path], None]:
    def make(run: Path, ran: Path) -> None:
        plugins(run, ran)
        change(run, **{section: {"name": name} for section in ("algorithm", "model", "partition")})

    return make


def tagged(run: Path, ran: Path) -> None:
    with (run / "config.yaml").open("a") as file:
        file.write(f"x: !!python/object/apply:os.system ['touch {ran}']\n")


def secret(run: Path, ran: Path) -> None:
    change(run, name="${oc.env:JFL_SECRET}")


def included(run: Path, ran: Path) -> None:
    by_name(run, ran)
    (run / "config.yaml").rename(run / "other.yaml")
    (run / "config.yaml").write_text("include: [other.yaml]\n")


def modules(run: Path, ran: Path) -> None:
    for name in ("sitecustomize", "jfl", "numpy", "json", "yaml", "rich", "conftest"):
        for place in (run, run.parent):
            (place / f"{name}.py").write_text(evil(ran))


def matplotlib(run: Path, ran: Path) -> None:
    for place in (run, run.parent):
        (place / "matplotlibrc").write_text("text.usetex: True\n")


def pickled(pattern: str) -> Callable[[Path, Path], None]:
    def make(run: Path, ran: Path) -> None:
        array = np.empty(1, object)
        array[0] = Bomb(ran)
        (run / "arrays").mkdir(exist_ok=True)
        found = [path for path in run.glob(pattern) if path.is_file()]
        for path in [*found, run / "arrays" / "3.npz"]:
            with path.open("wb") as file:
                np.savez(file, x=array, y=array, affinity=array)

    return make


def own_data(run: Path, ran: Path) -> None:
    pickled("nothing")(run, ran)
    change(run, data={"name": "npz", "dir": str(run / "arrays" / "3.npz")})


def hub(run: Path, ran: Path) -> None:
    (run / "script").mkdir()
    (run / "script" / "script.py").write_text(evil(ran))
    change(run, data={"name": "hf", "dir": str(run / "script")})


def heads(run: Path, ran: Path) -> None:
    place = run / "heads" / "aph"
    place.mkdir(parents=True)
    (place / "result.json").write_text("{}")
    (place / "heads.json").write_text(json.dumps({"settings": {"method": "../../mine/x"}}))
    plugins(run, ran)


def escaped(run: Path, ran: Path) -> None:
    for name in ("report.md", "report.html", "log.txt", "evaluations", "journal.jsonl"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(run.parents[1] / "outside" / "kept")


def locked(run: Path, ran: Path) -> None:
    (run / ".lock").write_text(str(os.getpid()))


GIFTS: dict[str, Callable[[Path, Path], None]] = {
    "by name": by_name, "by path": by_path, "by link": by_link,
    "dotted": by_words("mine.algorithms.pull"), "above": by_words("../mine/algorithms/pull"),
    "os": by_words("os"), "absolute": by_words("/mine/algorithms/pull"),
    "yaml tag": tagged, "secret": secret, "include": included, "modules": modules,
    "matplotlib": matplotlib, "arrays": pickled("arrays/*.npz"),
    "checkpoints": pickled("checkpoints/*/arrays/**/*"), "plan": pickled("plan.json"),
    "partition": pickled("partition.json"), "journal": pickled("*.jsonl"), "own data": own_data,
    "hub": hub, "heads": heads, "links": escaped, "lock": locked,
}  # fmt: skip


def check(watched: Watched, tmp_path: Path, gift: str, commands: tuple[str, ...]) -> None:
    ran, outside = tmp_path / "ran", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine\n")
    (tmp_path / "place").mkdir()
    run = copied(tmp_path / "place")
    GIFTS[gift](run, ran)
    for command in commands:
        words = command.replace("RUN", str(run)).replace("PLACE", str(tmp_path / "place")).split()
        done = watched.jfl(*words, cwd=run.parent)
        said = done.out + done.err
        assert "SEEN" not in done.err, (command, done.err)
        assert "Traceback" not in said, (command, said)
        assert "fault of jfl" not in said, (command, said)
        assert SECRET not in said, (command, said)
        assert not ran.exists(), command
    assert (outside / "kept").read_text() == "mine\n"
    assert [path.name for path in outside.iterdir()] == ["kept"]
    texts = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and not p.is_symlink()]
    assert not any(SECRET.encode() in text for text in texts)


SOME = ("inspect RUN --verify", "eval RUN", "train --resume RUN rounds=13")


@pytest.mark.parametrize("gift", GIFTS)
def test_nothing_of_a_gift_runs(watched: Watched, tmp_path: Path, gift: str) -> None:
    check(watched, tmp_path, gift, SOME)


@pytest.mark.slow
@pytest.mark.parametrize("gift", GIFTS)
def test_nothing_of_a_gift_runs_by_any_command(watched: Watched, tmp_path: Path, gift: str) -> None:
    check(watched, tmp_path, gift, COMMANDS)


def test_the_watch_sees_what_it_must(tmp_path: Path) -> None:
    class Careless(Warm):
        _PROGRAM = WATCHED.replace("main(words)", "exec(compile(words[0], cwd + '/x', 'exec'))")

    done = Careless().jfl("import os; os.system('true')", cwd=tmp_path)
    assert {"SEEN compile", "SEEN exec", "SEEN os.system"} <= set(done.err.splitlines())
