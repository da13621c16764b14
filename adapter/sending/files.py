"""Files on disk as attachments: read in parts while they are sent, never as a whole."""

import mimetypes
import os
from pathlib import Path

from adapter.errors import MessageRefusedError
from adapter.message import Attachment, StoredContent

PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class FileContent(StoredContent):
    """What a file holds at the time of the call; a file that changes afterwards is not sent."""

    __slots__ = ("_path", "_state")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path.stat())

    def __len__(self) -> int:
        return self._state[0]

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(len(self))
        with self._path.open("rb", buffering=0) as file:
            if _state(os.fstat(file.fileno())) != self._state:
                raise self._changed()
            file.seek(start)
            read = file.read(end - start)
        if len(read) != end - start:
            raise self._changed()
        return read

    def _changed(self) -> MessageRefusedError:
        return MessageRefusedError(
            "INVALID_REQUEST", f"{self._path} changed while it was sent", "attachments"
        )


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def attach_file(path: str | Path, name: str = "", content_type: str = "") -> Attachment:
    """Return a file on disk as an attachment; its name and type follow from the path unless given.

    It is read in parts while it is sent, so its size costs no memory. Raises OSError.
    """
    path = Path(path)
    return Attachment(name or path.name, content_type or type_of(path), FileContent(path))


def type_of(path: Path) -> str:
    """Guess by the name; of `data.csv.gz` the type is that of the packed file."""
    kind, packed = mimetypes.guess_type(path.name)
    return PACKED.get(packed, "application/octet-stream") if packed else kind or ""
