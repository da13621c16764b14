"""The faces under load: how soon a change is on the status page, and what 200 open streams cost a tick."""

import asyncio
import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
from bench.report import machine, median, quantile, say, write_section
from kit.browsing import chromium
from pages.pictures import running_demo, watch
from prometheus_client.parser import text_string_to_metric_families

from controller.contract import ROLLOUT_TICK_DURATION_SECONDS
from controller.demo.world import World

STREAMS = 200
ROUNDS, PHASE_S = 8, 4.0
LOOK_EVERY_S = 0.2

TEXT = """## Faces

{machine} `make bench ARGS=faces` measures this part alone, in the demo's world: redis-server, Prometheus,
a Graph, two senders and the controller with one tick a second, all on this machine.

From the time that stands in a decision's record (the begin of its tick) until Chromium shows it on the status
page, over the {changes} changes of a demo: median {median:.2f} s, longest {longest:.2f} s.

The length of a tick while {streams} event streams are open, beside none, in turns:

| | median of {rounds} rounds | middle half | tick, ms |
| --- | ---: | ---: | ---: |
| no stream | 1x | | {alone_ms:.1f} |
| {streams} streams, each told every decision | {ratio:.2f}x | {low:.2f} to {high:.2f} | {beside_ms:.1f} |

{told} decisions were told to each stream that stayed open; {lost} streams of {opened} were cut off.
"""


def listen(address: str, pipe: Connection) -> None:
    """Hold streams open in a process of its own; give how many events came and how many streams were cut."""
    asyncio.run(_listen(address, pipe))


async def _listen(address: str, pipe: Connection) -> None:
    host, _, port = address.partition(":")
    counts = [0] * STREAMS
    cut = 0

    async def one(number: int) -> None:
        nonlocal cut
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        with contextlib.suppress(asyncio.CancelledError):
            while data := await reader.read(65_536):
                counts[number] += data.count(b"event: decision")
            cut += 1
        writer.close()

    tasks = [asyncio.create_task(one(number)) for number in range(STREAMS)]
    await asyncio.sleep(1)
    pipe.send(None)
    await asyncio.to_thread(pipe.recv)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks)
    pipe.send((min(counts), cut))


@contextmanager
def streams(address: str, told: list[tuple[int, int]]) -> Iterator[None]:
    """Keep the streams open; `told` gets (fewest events of a stream, streams cut off)."""
    near, far = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=listen, args=(address, far), daemon=True)
    process.start()
    near.recv()
    yield
    near.send(None)
    told.append(near.recv())
    process.join(10)


def ticks(address: str) -> tuple[float, float]:
    """Return (seconds spent in ticks, how many ticks) so far, as the daemon exports them."""
    text = httpx.get(f"http://{address}/metrics", trust_env=False).text
    values = {
        sample.name.removeprefix(ROLLOUT_TICK_DURATION_SECONDS): sample.value
        for family in text_string_to_metric_families(text)
        if family.name == ROLLOUT_TICK_DURATION_SECONDS
        for sample in family.samples
    }
    return values["_sum"], values["_count"]


def median_tick_s(address: str) -> float:
    """Return the median length of the ticks of one phase; there is one a second, so each is seen alone."""
    lengths_s: list[float] = []
    until, before = time.monotonic() + PHASE_S, ticks(address)
    while time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        after = ticks(address)
        if after[1] == before[1] + 1:
            lengths_s.append(after[0] - before[0])
        before = after
    return median(lengths_s)


def beside_streams(world: World) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    """Measure rounds of (tick alone, tick beside the streams), the first of each pair in turns; seconds."""
    address, told = world.settings.listen, list[tuple[int, int]]()
    rounds = []
    for number in range(ROUNDS):
        measured = {}
        for busy in (number % 2 == 0, number % 2 == 1):
            with streams(address, told) if busy else contextlib.nullcontext():
                measured[busy] = median_tick_s(address)
        rounds.append((measured[False], measured[True]))
        say(f"round {number + 1}: {1000 * measured[False]:.1f} ms alone, {1000 * measured[True]:.1f} beside")
    return rounds, told


def main() -> None:
    say("telling the demo on its page")
    with tempfile.TemporaryDirectory() as folder, running_demo(Path(folder)) as world:
        with chromium() as browser:
            lags_s = watch(world, browser.new_page()).lags_s
        rounds, told = beside_streams(world)
    ratios = [beside / alone for alone, beside in rounds]
    write_section(
        "faces",
        TEXT.format(
            machine=machine(),
            changes=len(lags_s),
            median=median(lags_s),
            longest=max(lags_s),
            streams=STREAMS,
            rounds=ROUNDS,
            alone_ms=1000 * median([alone for alone, _ in rounds]),
            beside_ms=1000 * median([beside for _, beside in rounds]),
            ratio=median(ratios),
            low=quantile(ratios, 0.25),
            high=quantile(ratios, 0.75),
            told=min(events for events, _ in told),
            lost=sum(cut for _, cut in told),
            opened=STREAMS * len(told),
        ),
    )


if __name__ == "__main__":
    main()
