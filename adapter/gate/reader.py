"""FlagReader: one thread that keeps the flags of all features in memory, as new as Redis lets it.

It subscribes first and reads then. A message is only a hint to read again, and it reads again within a
second whatever happens, because messages get lost with their connection. After any error it starts from a
new connection: a late reply on an old one would pass for a new reading.

It is a thread and not a task, so that a blocked event loop cannot stop it. All gates of a process that
follow the same flags share one. What the process counts leaves with a reading of the flags.
"""

import logging
import os
import threading
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from adapter.gate.counts import REFUSED_S, LiveCounts, counts_of_process
from adapter.gate.domains import InternalDomains
from adapter.gate.link import FlagLink
from adapter.gate.snapshot import keys, renewed, unread
from controller.contract import live_key
from controller.shared.redis_refusal import refusal

if TYPE_CHECKING:
    import redis

RESYNC_S = 0.9
"""Below a second, so that a flag set by hand is obeyed within one, the reading included."""

PUBLISH_S = 1.0
"""The same while there are counts to publish: with them a process asks Redis for two things a second."""

IO_TIMEOUT_S = 1.0
"""The longest wait for Redis to connect or to answer."""

SLICE_S = 0.1
"""The longest wait for a hint before looking whether to stop."""

PAUSE_S = 0.2
"""Between a lost connection and the next attempt."""

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
        self._refused: set[str] = set()
        """Features whose counts Redis refuses."""
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
            stopping.wait(PAUSE_S)

    def _follow(self, stopping: threading.Event) -> None:
        """Read at each hint and each second, until told to stop or an error is raised."""
        with FlagLink(self._client) as link:
            self._read(link, publish=True)
            beat_at = monotonic()
            while not stopping.is_set():
                now = monotonic()
                due_at = beat_at + (PUBLISH_S if self.counts.due(now) else RESYNC_S)
                if now >= due_at:
                    beat_at = now
                    self._read(link, publish=True)
                elif link.hinted(min(due_at - now, SLICE_S)):
                    self._read(link)
            if self.counts.due(monotonic()):
                self._read(link, publish=True)

    def _read(self, link: FlagLink, *, publish: bool = False) -> None:
        """Read all flags, and `publish` what was counted, in one request; raises what redis-py raises."""
        asked_at = monotonic()
        taken = self.counts.take(asked_at) if publish else {}
        texts = [_text(value) for value in self._ask(link, taken)]
        self.snapshot = renewed(self.snapshot, asked_at, texts, self._salts, self._internal)
        if self._lost_at is not None:
            log.info("the flags are read again after %.1f s", monotonic() - self._lost_at)
            self._lost_at, self.trouble = None, ""
        self._tried.set()

    def _ask(self, link: FlagLink, taken: Mapping[str, str]) -> "list[bytes | None]":
        """Read the flags and write these counts in one round trip."""
        field = self.counts.field
        writes = [("HSET", self._prefix + live_key(name), field, text) for name, text in taken.items()]
        try:
            flags, *answers = link.ask([("MGET", *self._keys), *writes])
        except Exception:
            self.counts.put_back(taken)
            raise
        if taken:
            self._note_refusals(dict(zip(taken, answers, strict=True)))
        if isinstance(flags, Exception):
            raise flags
        read: list[bytes | None] = flags
        return read

    def _note_refusals(self, answers: Mapping[str, object]) -> None:
        """Try refused counts again later, and log the first refusal; the flags are read all the same."""
        refused = {feature: one for feature, one in answers.items() if isinstance(one, Exception)}
        self.counts.put_back(refused, monotonic() + REFUSED_S)
        if refused and not self._refused:
            feature, error = next(iter(refused.items()))
            log.warning("the live counts of %s cannot be published: %s", feature, error)
        self._refused = (self._refused - answers.keys()) | refused.keys()

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


def _text(value: bytes | str | None) -> str | None:
    """Return a value as text; what is not UTF-8 becomes a text that no flag can be read from."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
