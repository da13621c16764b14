"""A server that answers badly: it drips, cuts, lies, or says nothing at all."""

import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Bad:
    """A server that says its pieces one by one, with a pause between them, to whoever connects."""

    def __init__(self, pieces: Any, pause_s: float) -> None:
        self._pieces, self._pause_s = pieces, pause_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._say, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _say(self, client: socket.socket) -> None:
        with client:
            try:
                for piece in self._pieces():
                    client.sendall(piece)
                    if self._stopping.wait(self._pause_s):
                        return
            except OSError:
                return

    def close(self) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


def headers_for_ever() -> Iterator[bytes]:
    yield _HEAD
    yield from itertools.cycle([b"X", b":", b" ", b"y", b"\r", b"\n"])


def body_for_ever() -> Iterator[bytes]:
    yield _HEAD + b"Content-Length: 100000\r\n\r\n"
    yield from itertools.cycle([b" "])


def cut_body() -> Iterator[bytes]:
    yield _HEAD + b'Content-Length: 100000\r\n\r\n{"status'


def cut_chunk() -> Iterator[bytes]:
    yield _HEAD + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n{"


def no_gzip() -> Iterator[bytes]:
    yield _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"


def no_http() -> Iterator[bytes]:
    yield b"\x00\xff" * 100


def nothing() -> Iterator[bytes]:
    yield from ()


def deep_json() -> Iterator[bytes]:
    body = b'{"status":"success","data":' + b"[" * 100_000
    yield _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
