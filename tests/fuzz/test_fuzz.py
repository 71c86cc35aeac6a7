"""Damaged files of every format, each read by a command in a process of its own, within limits."""

import io
import struct
import tarfile
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.fuzz import endings, forms, plants, run, seeds
from tests.fuzz.endings import Ended, Limits

WELL = Ended(code=0, late=False, cpu=0.1, wall=0.1, memory=1.0, out="", err="", writes="")
REFUSED = "jfl: a.pt is damaged\n"


@pytest.fixture(scope="module")
def known():
    pytest.importorskip("torch")
    return seeds.made()


@pytest.fixture(scope="module")
def free():
    with run.servers(2) as started:
        yield started


def test_undamaged_they_are_read(known, free):
    """Else whatever is changed in them would be refused for another reason."""
    cases = {
        (kind, place if len(seed.commands) == 1 else command): run.Case(
            0, kind, seed.files, command
        )
        for kind, of_kind in known.items()
        for place, seed in enumerate(of_kind)
        for command in seed.commands
    }
    with ThreadPoolExecutor(free.qsize()) as pool:
        codes = pool.map(lambda tried: code(tried, free), cases.values())
    assert [f"{t.kind}: {t.command}" for t, c in zip(cases.values(), codes, strict=True) if c] == []


def code(tried, free):
    """The exit code of an undamaged file, or what was wrong."""
    server = free.get()
    ended = server.run(tried, Limits())
    free.put(server)
    return endings.fault(ended, Limits(), tried.makes) or ended.code


def told(failures, seed):
    """Keeps what was found; says how each is tried alone."""
    kept = [(failure, run.keep(failure, seed, run.KEPT)) for failure in failures]
    return "\n".join(f"{f}\n    python -m tests.fuzz.run --again {folder}" for f, folder in kept)


def test_damaged_they_end_as_they_should(known, free):
    assert not told(run.campaign(0, run.first(300, known), known, free), 0)


@pytest.mark.parametrize("plant", plants.PLANTS)
def test_a_planted_fault_is_found(known, free, tmp_path, plant):
    seed = known["safetensors"][0]
    tried = run.Case(0, "safetensors", seed.files, "inspect FILE/a.safetensors")
    limits = Limits(cpu=1 if plant == "hang" else 10, wall=2 if plant == "sleep" else 60)
    assert run.attempt(tried, free, limits) is None
    failure = run.attempt(tried, free, limits, plant)

    assert failure is not None
    assert failure.fault == plants.PLANTS[plant][0]
    kept = run.keep(failure, 0, tmp_path)
    assert run.kept_case(kept) == tried
    assert f"0 safetensors {failure.fault}: jfl inspect FILE/a.safetensors" in str(failure)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"code": 4, "err": REFUSED}, None),
        ({"code": 4, "err": ""}, "sentence"),
        ({"code": 4, "err": f"{REFUSED}{REFUSED}"}, "sentence"),
        ({"code": 4, "err": f"noise\n{REFUSED}"}, "sentence"),
        ({"code": 1, "err": "jfl: this is a fault of jfl: KeyError\n"}, "traceback"),
        ({"code": 0, "out": "Traceback (most recent call last)"}, "traceback"),
        ({"code": 130, "err": "jfl: interrupted\n"}, "code"),
        ({"code": -11}, "crash"),
        ({"code": -24}, "hang"),
        ({"code": -9, "late": True}, "hang"),
        ({"cpu": 10.5}, "hang"),
        ({"memory": 501.0}, "memory"),
        ({"code": 3, "err": "jfl: a cannot be read (MemoryError)\n"}, "memory"),
        ({"changed": ["given/a.pt"]}, "files"),
        ({"code": 4, "err": REFUSED, "changed": ["made.npz"]}, "files"),
        ({"writes": "/tmp/x\n"}, "files"),
    ],
)
def test_endings_are_judged(change, expected):
    ended = Ended(**vars(WELL) | change)
    assert endings.fault(ended, Limits()) == expected


def test_a_command_makes_what_it_promises():
    made = Ended(**vars(WELL) | {"changed": ["made.npz"]})
    assert endings.fault(made, Limits(), r"made\.npz") is None
    assert endings.fault(WELL, Limits(), r"made\.npz") == "files"


def test_an_input_is_made_by_its_number(known):
    first, again, other = (run.case(3, number, known) for number in (5, 5, 21))
    assert first == again
    assert first != other


def changed(form, content, passes):
    """How many of a hundred changes differ from the file and get past its first check."""
    rng = np.random.default_rng(0)
    count = 0
    for _ in range(100):
        made = forms.INSIDE[form](rng, content, content)
        count += made != content and passes(made)
    return count


def zip_is_whole(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.testzip() is None


def tar_is_whole(content):
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        return archive.next() is not None


def png_is_whole(content):
    place = 8
    while place < len(content):
        size = int.from_bytes(content[place : place + 4])
        end = place + 8 + size
        assert int.from_bytes(content[end : end + 4]) == zlib.crc32(content[place + 4 : end])
        place = end + 4
    return place == len(content)


def header_is_whole(content):
    (size,) = struct.unpack("<Q", content[:8])
    return content[8 : 8 + size].startswith(b"{") and content[7 + size : 8 + size] == b"}"


@pytest.mark.parametrize(
    ("kind", "number", "form", "passes"),
    [
        ("npz", 0, "zip", zip_is_whole),
        ("tar", 0, "tar", tar_is_whole),
        ("safetensors", 0, "safetensors", header_is_whole),
    ],
)
def test_changes_get_past_the_first_check(known, kind, number, form, passes):
    (content,) = known[kind][number].files.values()

    def sound(made):
        try:
            return passes(made)
        except (OSError, ValueError, NotImplementedError, tarfile.TarError, zipfile.BadZipFile):
            return False

    assert changed(form, content, sound) > 50


def test_changed_pictures_have_right_checksums():
    file = io.BytesIO()
    Image.fromarray(seeds.PIXELS[0]).save(file, "PNG")
    assert changed("png", file.getvalue(), png_is_whole) > 80
