"""What a Debian package installs: a tar file inside its archive.

Source: the manual pages deb(5) and ar(5).
"""

import io
from io import BufferedIOBase

from jfl.errors import DataError

_MARK = b"!<arch>\n"
_HEAD = 60
_MOST = 8  # members; a package has three
_LARGEST = 1 << 30


def data(file: BufferedIOBase) -> BufferedIOBase:
    """Returns the tar file, still compressed, of a package; any other file as it is.

    Raises:
        DataError: the package holds none, or one that is compressed with zstd.
        ValueError: it is damaged.
    """
    mark = file.read(len(_MARK))
    file.seek(0)
    if mark != _MARK:
        return file
    file.seek(len(_MARK))
    for _ in range(_MOST):
        head = file.read(_HEAD)
        if len(head) < _HEAD:
            break
        name, size = head[:16].decode("ascii", "replace").strip(" /"), int(head[48:58])
        if not 0 <= size <= _LARGEST or head[58:] != b"`\n":
            raise ValueError("a member that is none")
        if name == "data.tar.zst":
            raise DataError(
                "it is compressed with zstd; unpack it with `dpkg-deb -x FILE FOLDER` and give "
                "the folder"
            )
        if name.startswith("data.tar"):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("it holds no data.tar")
