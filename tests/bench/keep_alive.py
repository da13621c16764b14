"""Keep-alive requests: the daemon's server with its guard, beside uvicorn around a bare application."""

import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from bench.report import machine, median, quantile, say, table, write_section
from kit.servers import RedisServer, free_port
from kit.serving import serving

ROUNDS, REQUESTS = 20, 200

TEXT = """## Keep-alive requests

{machine} `make bench ARGS=keep_alive` measures this part alone: `GET /healthz` over one connection, one
request at a time, {requests} in each of {rounds} rounds, the servers in turns, each in its own process.

{figures}

With its guard, its routes and its headers the daemon takes {ratio:.2f}x of the bare application (middle half
of the rounds {low:.2f} to {high:.2f}). Without TCP_NODELAY on the listening socket it was 44 ms a request.
"""


async def bare(scope: Any, _: Any, send: Any) -> None:
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok\n"})


def serve_bare(pipe: Connection) -> None:
    port = free_port()
    config = uvicorn.Config(bare, port=port, http="h11", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    pipe.send(("127.0.0.1", port))
    server.run()


def serve_ours(pipe: Connection) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder)) as redis,
        serving(redis.url, requests_per_s=1_000_000) as served,
    ):
        pipe.send(served.settings.listen_address)
        pipe.recv()


@contextmanager
def served(serve: Callable[[Connection], None]) -> Iterator[socket.socket]:
    """Serve in another process; yield a connection to it."""
    near, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(far,))
    process.start()
    address = near.recv()
    for _ in range(100):
        try:
            connection = socket.create_connection(address, timeout=10)
            break
        except OSError:
            time.sleep(0.1)
    try:
        yield connection
    finally:
        connection.close()
        near.send(None)
        process.join(1 if serve is serve_bare else 15)
        process.kill()


def round_ms(connection: socket.socket) -> float:
    """Return the median of a round's requests."""
    took = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\nok\n"):
            answer += connection.recv(10_000)
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def main() -> None:
    with ExitStack() as stack:
        plain, ours = (stack.enter_context(served(serve)) for serve in (serve_bare, serve_ours))
        round_ms(plain), round_ms(ours)
        rounds = [(round_ms(plain), round_ms(ours)) for _ in range(ROUNDS)]
    ratios = [ours / plain for plain, ours in rounds]
    say(f"keep-alive: {median(ratios):.2f}x of a bare application")
    figures = table(
        ("", "median of a request, ms"),
        [
            ("uvicorn around a bare application", f"{median([plain for plain, _ in rounds]):.2f}"),
            ("the daemon's `/healthz`", f"{median([ours for _, ours in rounds]):.2f}"),
        ],
    )
    write_section(
        "keep_alive",
        TEXT.format(
            machine=machine(),
            requests=REQUESTS,
            rounds=ROUNDS,
            figures=figures,
            ratio=median(ratios),
            low=quantile(ratios, 0.25),
            high=quantile(ratios, 0.75),
        ),
    )


if __name__ == "__main__":
    main()
