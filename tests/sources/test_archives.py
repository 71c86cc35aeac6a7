import io
import tarfile
import zipfile

import pytest

from jfl.errors import DataError
from jfl.sources import archives


def test_a_member_without_a_name_is_passed_over(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", b"nameless")
        archive.writestr("a/data.bin", b"content")
    path = tmp_path / "a.zip"
    directory = file.getvalue().rindex(b"PK\1\2", 0, file.getvalue().rindex(b"PK\1\2"))
    content = bytearray(file.getvalue())
    for place in (26, directory + 28):  # the length of the first name, which becomes a field more
        content[place : place + 4] = b"\0\0\1\0"
    path.write_bytes(content)

    assert archives.read(path, [["data.bin"]], 100) == {"data.bin": b"content"}


def test_a_member_of_a_negative_size_is_damage(tmp_path):
    member = tarfile.TarInfo("data.bin")
    member.size = -(1 << 40)
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))

    with pytest.raises(DataError, match="cannot be read"):
        archives.read(tmp_path / "a.tar", [["data.bin"]], 100)
