"""FlagReader: one thread that keeps the flags of all features in memory, as new as Redis lets it.

It subscribes first and reads then. A message is only a hint to read again, and it reads again within
RESYNC_S whatever happens, because messages get lost with their connection. After any error it starts from
new connections: a late reply on an old one would pass for a new reading.

It is a thread and not a task, so that a blocked event loop cannot stop it. All gates of a process that
follow the same flags share one. What the process counts leaves with a reading of the flags.
"""

import logging
import os
import threading
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, cast
from weakref import WeakValueDictionary

from adapter.gate.counts import REFUSED_S, LiveCounts, counts_of_process
from adapter.gate.domains import InternalDomains
from adapter.gate.snapshot import keys, renewed, unread
from controller.contract import FLAGS_CHANNEL, live_key
from controller.shared.redis_refusal import refusal

if TYPE_CHECKING:
    import redis
    from redis.client import PubSub

RESYNC_S = 0.8
"""Below a second, so that a flag set by hand is obeyed within one, the reading included."""

IO_TIMEOUT_S = 1.0
"""The longest wait for Redis to connect or to answer."""

SILENT_AFTER_S = 2.5
"""A subscription that answers no ping for so long is half-open: its hints would be lost forever."""

SLICE_S = 0.1
"""The longest wait for a hint before looking whether to stop."""

PAUSE_S = 0.2
"""Between a lost connection and the next attempt."""

HINTS_AT_ONCE = 100
"""One reading serves this many waiting hints; more of them cannot keep it from reading."""

log = logging.getLogger("rollout.gate")
log.addHandler(logging.NullHandler())


class FlagReader:
    """Keeps `snapshot`; whoever uses it looks at its age."""

    def __init__(
        self, client: "redis.Redis", salts: Mapping[str, str], internal: InternalDomains, counts: LiveCounts
    ) -> None:
        if not salts:
            raise ValueError("no feature is configured; give at least one")
        from controller.shared.redis_pool import key_prefix  # noqa: PLC0415 (slow to import; who has a client has it)

        self._client = client
        self._salts = salts
        self._internal = internal
        self._prefix = key_prefix(client)
        self._keys = [self._prefix + key for key in keys(salts)]
        self.counts = counts
        self._counts_refused = False
        self.snapshot = unread(salts, internal)
        self.trouble = ""
        """Why the flags cannot be read now; empty while they can."""
        self._lost_at: float | None = None
        self._tried = threading.Event()
        self._lock = threading.Lock()
        self._users = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read for one more user, and wait until the first attempt went well or failed."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._tried.clear()
                self._stopping = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stopping,), name="rollout-gate", daemon=True
                )
                self._thread.start()
        self._tried.wait(3 * IO_TIMEOUT_S)

    def stop(self) -> None:
        """Read for one user less; after the last one the thread and its connections end."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._thread is not None:
                self._stopping.set()
                self._thread.join(3 * IO_TIMEOUT_S)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self._follow(stopping)
            except Exception as error:  # noqa: BLE001 (a reader that ended would close the gate forever)
                if not stopping.is_set():
                    self._lose(error)
            self._client.connection_pool.disconnect()
            stopping.wait(PAUSE_S)

    def _follow(self, stopping: threading.Event) -> None:
        """Read at each hint and at least every RESYNC_S, until told to stop or an error is raised."""
        with self._client.pubsub() as hints:  # type: ignore[no-untyped-call]
            hints.subscribe(FLAGS_CHANNEL)
            if hints.get_message(timeout=IO_TIMEOUT_S) is None:
                raise TimeoutError("no answer to SUBSCRIBE")
            self._read()
            read_at = heard_at = monotonic()
            while not stopping.is_set():
                now = monotonic()
                due_s = min(read_at + RESYNC_S - now, self.counts.due_in_s(now))
                heard, hinted = _listen(hints, min(max(due_s, 0), SLICE_S))
                now = monotonic()
                if heard:
                    heard_at = now
                elif now - heard_at > SILENT_AFTER_S:
                    raise TimeoutError("the subscription answers no ping")
                resync = now >= read_at + RESYNC_S
                if hinted or resync or self.counts.due_in_s(now) <= 0:
                    read_at = now
                    self._read()
                if resync and not hinted:
                    hints.ping()
            if self.counts.due_in_s(now) < float("inf"):
                self._read(publish=True)

    def _read(self, *, publish: bool = False) -> None:
        """Read all flags in one request, and publish counts that are due; raises what redis-py raises."""
        asked_at = monotonic()
        publish = publish or self.counts.due_in_s(asked_at) <= 0
        values = self._read_and_publish() if publish else self._client.mget(self._keys)
        texts = [_text(value) for value in values]
        self.snapshot = renewed(self.snapshot, asked_at, texts, self._salts, self._internal)
        if self._lost_at is not None:
            log.info("the flags are read again after %.1f s", monotonic() - self._lost_at)
            self._lost_at, self.trouble = None, ""
        self._tried.set()

    def _read_and_publish(self) -> "list[bytes | None]":
        """Read the flags, and write in the same round trip what changed in the counts."""
        taken = self.counts.take(monotonic())
        try:
            with self._client.pipeline(transaction=False) as together:
                together.mget(self._keys)
                for feature, text in taken.items():
                    together.hset(self._prefix + live_key(feature), self.counts.field, text)
                flags, *answers = together.execute(raise_on_error=False)
        except Exception:
            self.counts.put_back(taken)
            raise
        self._note_refusal(taken, next((one for one in answers if isinstance(one, Exception)), None))
        if isinstance(flags, Exception):
            raise flags
        return cast("list[bytes | None]", flags)

    def _note_refusal(self, taken: Mapping[str, str], error: Exception | None) -> None:
        """Try refused counts again later, and log the first refusal; the flags are read all the same."""
        if error is not None:
            self.counts.put_back(taken, REFUSED_S)
            if not self._counts_refused:
                log.warning("the live counts cannot be published: %s", error)
        self._counts_refused = error is not None

    def _lose(self, error: Exception) -> None:
        """Note why the flags cannot be read; only the first of several errors in a row is logged."""
        self.trouble = refusal(error) or f"{type(error).__name__}: {error}"
        if self._lost_at is None:
            self._lost_at = monotonic()
            log.warning("the flags cannot be read, trying again: %s", self.trouble)
        self._tried.set()


def _client(url: str) -> "redis.Redis":
    """Open a client for bytes, because one flag that is not UTF-8 must not hide all others."""
    from controller.shared.redis_pool import open_redis  # noqa: PLC0415 (slow to import, and not needed to answer)

    return open_redis(url, IO_TIMEOUT_S, decode=False)


_shared: WeakValueDictionary[object, FlagReader] = WeakValueDictionary()
_sharing = threading.Lock()


def shared_reader(url: str, salts: Mapping[str, str], internal: InternalDomains) -> FlagReader:
    """Return this process's reader of these flags, or make it; raises ValueError for an unusable URL."""
    key = (os.getpid(), url, tuple(salts.items()), internal)
    with _sharing:
        return _shared.get(key) or _shared.setdefault(key, _reader(url, salts, internal))


def _reader(url: str, salts: Mapping[str, str], internal: InternalDomains) -> FlagReader:
    return FlagReader(_client(url), salts, internal, counts_of_process(url))


def _listen(hints: "PubSub", timeout_s: float) -> tuple[bool, bool]:
    """Wait for a message and take those that wait behind it; say if anything came, and if a hint did."""
    heard = hinted = False
    for _ in range(HINTS_AT_ONCE):
        message = hints.get_message(timeout=timeout_s)
        if message is None:
            break
        timeout_s, heard = 0.0, True
        hinted = hinted or message["type"] == "message"
    return heard, hinted


def _text(value: bytes | str | None) -> str | None:
    """Return a value as text; what is not UTF-8 becomes a text that no flag can be read from."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
