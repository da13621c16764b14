"""A request's body whose size is known before it is made, and which is made in blocks while it is sent.

A mail of megabytes never lies in memory as base64, and its first bytes leave at once. Pure.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pybase64 import b64encode

from adapter.message import Content

BLOCK_BYTES = 192 * 1024
"""Of a file, encoded at a time; a multiple of three, so that the blocks join without padding."""
LEAST_BYTES = 64 * 1024
"""Smaller pieces are joined: each one sent costs as much as copying many kilobytes."""


@dataclass(frozen=True, slots=True)
class Body:
    """`size` bytes, made again by each iteration, so that a request can be sent again."""

    size: int
    make: Callable[[], Iterator[bytes]]

    @classmethod
    def of(cls, whole: bytes) -> "Body":
        """Return a body that is in memory as a whole."""
        return cls(len(whole), lambda: iter((whole,)))

    def from_byte(self, start: int) -> "Body":
        """Return what follows a number of bytes; those are made again and dropped."""
        return Body(self.size - start, lambda: without_first(start, self.make())) if start else self

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        return self.make()

    def __bytes__(self) -> bytes:
        return b"".join(self)


def base64_length(count: int) -> int:
    """Return how many characters `count` bytes take as base64."""
    return (count + 2) // 3 * 4


def blocks_of(content: Content, size: int = BLOCK_BYTES) -> Iterator[bytes | memoryview]:
    """Yield a file in blocks; what lies in memory is not copied."""
    view = memoryview(content) if isinstance(content, bytes) else content
    for start in range(0, len(content), size):
        yield view[start : start + size]


def base64_blocks(content: Content) -> Iterator[bytes]:
    """Yield the base64 of a file, block by block."""
    return map(b64encode, blocks_of(content))


def base64_of_pieces(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Yield the base64 of all pieces together; what does not fill three bytes is carried on."""
    carried = b""
    for piece in pieces:
        gathered = b"".join((carried, piece))
        whole = len(gathered) // 3 * 3
        yield b64encode(gathered[:whole])
        carried = gathered[whole:]
    yield b64encode(carried)


def joined(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Join small pieces into blocks of at least LEAST_BYTES, the last one excepted."""
    held: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= LEAST_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def spliced(skeleton: bytes, places: Iterable[tuple[bytes, Iterator[bytes]]]) -> Iterator[bytes | memoryview]:
    """Put blocks in the places of marks; the places come in the order of the skeleton."""
    whole, start = memoryview(skeleton), 0
    for mark, blocks in places:
        found = skeleton.index(mark, start)
        yield whole[start:found]
        yield from blocks
        start = found + len(mark)
    yield whole[start:]


def without_first(count: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces without so many bytes at their begin."""
    for piece in pieces:
        dropped = min(count, len(piece))
        count -= dropped
        if dropped < len(piece):
            yield piece[dropped:]
