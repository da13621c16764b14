"""Files on disk as attachments: read in parts while they are sent, never as a whole."""

import mimetypes
import os
import stat
from pathlib import Path

from adapter.errors import MessageRefusedError
from adapter.message import Attachment, StoredContent

PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class FileContent(StoredContent):
    """What a file holds at the time of the call; a file that changes afterwards is not sent."""

    __slots__ = ("_path", "_state")

    def __init__(self, path: Path) -> None:
        self._path = path
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _refused(f"{path} is no regular file; read it, and attach its bytes")
        self._state = _state(found)

    def __len__(self) -> int:
        return self._state[0]

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(len(self))
        try:
            read = self._read(start, end - start)
        except OSError as error:
            raise _refused(f"{self._path} cannot be read any more ({type(error).__name__})") from error
        if len(read) != end - start:
            raise _refused(f"{self._path} changed while it was sent")
        return read

    def _read(self, start: int, size: int) -> bytes:
        """Return bytes of the file; empty where it is another one. A pipe in its place is not waited for."""
        with open(self._path, "rb", buffering=0, opener=_without_waiting) as file:
            if _state(os.fstat(file.fileno())) != self._state:
                return b""
            file.seek(start)
            return file.read(size)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _refused(problem: str) -> MessageRefusedError:
    return MessageRefusedError("INVALID_REQUEST", problem, "attachments")


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def attach_file(path: str | Path, name: str = "", content_type: str = "") -> Attachment:
    """Return a file on disk as an attachment; its name and type follow from the path unless given.

    It is read in parts while it is sent, so its size costs no memory. Raises OSError, and
    MessageRefusedError for what is no regular file: a pipe has no size, and can be read but once.
    """
    path = Path(path)
    return Attachment(name or path.name, content_type or type_of(path), FileContent(path))


def type_of(path: Path) -> str:
    """Guess by the name; of `data.csv.gz` the type is that of the packed file."""
    kind, packed = mimetypes.guess_type(path.name)
    return PACKED.get(packed, "application/octet-stream") if packed else kind or ""
