"""RolloutGate: may this send go ahead? Answers come from flags in memory and never ask Redis.

Hints and readings keep the flags new. What keeps a lost Redis from letting anybody in is neither of them:
it is the age of the flags, looked at in every answer.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Self

from adapter.gate.domains import InternalDomains, Recipient
from adapter.gate.reader import FlagReader, shared_reader
from adapter.gate.rule import BUCKETS, GateAnswer, GateReason, first_word
from controller.contract import Flags

if TYPE_CHECKING:
    from controller.features import RolloutFeature


@dataclass(frozen=True, slots=True)
class Explanation:
    """One answer with everything that it follows from."""

    feature: str
    user_id: str
    open: bool
    reason: GateReason
    bucket: int
    threshold: int
    """The user is in when the bucket is below it."""
    flags: Flags
    external_recipients: tuple[str, ...]
    """Those that are not internal, whether or not that matters now."""
    age_s: float
    """Age of the flags; infinite before the first reading."""


class RolloutGate:
    """A gate that any thread may ask. The gates of one process share their reader.

    A child process needs a gate of its own, made after the fork: the reader stays with the parent.
    """

    def __init__(self, reader: FlagReader, latency_limits_s: Mapping[str, float]) -> None:
        """Take the reader, and the features with the time above which a send of theirs is slow."""
        self._reader = reader
        self._reading = False
        self._limits_s = dict(latency_limits_s)
        self.features = tuple(latency_limits_s)

    @classmethod
    def connect(
        cls,
        redis_url: str,
        features: "Mapping[str, RolloutFeature] | None" = None,
        internal_domains: Sequence[str] | None = None,
    ) -> Self:
        """Make a gate for `async with` or `with`.

        Without `features` it serves those of ROLLOUT_CONFIG, else the built-in ones; without
        `internal_domains` it takes INTERNAL_DOMAINS, separated by commas. Raises ValueError for a URL, a
        configuration or a domain that cannot be used. A Redis out of reach raises nothing: the gate stays
        closed until the flags are read.
        """
        served = configured_features() if features is None else features
        domains = configured_domains() if internal_domains is None else internal_domains
        salts = {name: feature.bucket_salt for name, feature in served.items()}
        limits_s = {name: feature.latency_limit_s for name, feature in served.items()}
        return cls(shared_reader(redis_url, salts, InternalDomains.parse(domains)), limits_s)

    @classmethod
    def start(
        cls,
        redis_url: str,
        features: "Mapping[str, RolloutFeature] | None" = None,
        internal_domains: Sequence[str] | None = None,
    ) -> Self:
        """Make a gate that reads already, for programs without an event loop; `close` or `with` ends it."""
        return cls.connect(redis_url, features, internal_domains).__enter__()

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await _in_a_thread(self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        await _in_a_thread(self.close)

    def close(self) -> None:
        """Stop reading; once the flags are stale every answer is closed."""
        if self._reading:
            self._reading = False
            self._reader.stop()

    def _begin(self) -> None:
        if not self._reading:
            self._reading = True
            self._reader.start()

    def check(self, feature: str, user_id: str, recipients: Iterable[Recipient] = ()) -> GateAnswer:
        """Answer for one send; waits for nothing.

        Without recipients the answer is for the user alone. Whoever sends a mail gives all of them,
        to, cc and bcc.
        """
        # What the snapshot answers; the two most frequent answers are given here, a tenth faster.
        snapshot = self._reader.snapshot
        try:
            rule = snapshot.rules[feature]
            salted = rule.salted
            hashed = salted()
            hashed.update(user_id.encode())
        except (KeyError, AttributeError, UnicodeEncodeError):
            return snapshot.answer(feature, user_id, recipients, monotonic())
        bucket = first_word(hashed.digest())[0] * BUCKETS >> 32
        if monotonic() <= snapshot.fresh_until:
            if bucket < rule.open_below:
                return _made(GateAnswer, (True, _IN_ROLLOUT, bucket))
            if bucket >= rule.out_from:
                return _made(GateAnswer, (False, _NOT_IN_ROLLOUT, bucket))
        return snapshot.answer(feature, user_id, recipients, monotonic())

    async def allow(self, feature: str, user_id: str) -> bool:
        """Whether this user is in now."""
        return self.check(feature, user_id).open

    def count(self, feature: str, ok: bool, seconds: float, mailbox: str = "") -> None:
        """Count a send that was let in, so that the controller knows of it within a second or two.

        `ok` is false for a failure that speaks against the feature; `mailbox` (or account, customer) is whom
        it hit: many hit at once is an outage, one is not. Waits for nothing and raises nothing; a feature
        that this gate does not serve is not counted.
        """
        limit_s = self._limits_s.get(feature)
        if limit_s is not None:
            self._reader.counts.add(feature, ok=bool(ok), slow=seconds > limit_s, mailbox=mailbox)

    def explain(self, feature: str, user_id: str, recipients: Iterable[Recipient] = ()) -> Explanation:
        """Answer for one send, with the numbers and the flags; raises KeyError for an unknown feature."""
        listed = (recipients,) if isinstance(recipients, str) else tuple(recipients)
        snapshot = self._reader.snapshot
        rule = snapshot.rules[feature]
        now = monotonic()
        answer = snapshot.answer(feature, user_id, listed, now)
        return Explanation(
            feature=feature,
            user_id=user_id,
            open=answer.open,
            reason=answer.reason,
            bucket=answer.bucket,
            threshold=rule.threshold,
            flags=rule.flags,
            external_recipients=tuple(str(getattr(one, "address", one)) for one in rule.external(listed)),
            age_s=now - snapshot.asked_at,
        )

    @property
    def trouble(self) -> str:
        """Why the flags cannot be read now; empty while they can."""
        return self._reader.trouble

    @property
    def age_s(self) -> float:
        """Age of the flags in memory; infinite before the first reading."""
        return monotonic() - self._reader.snapshot.asked_at

    def revision(self, feature: str) -> int:
        """Return the revision that is obeyed now; 0 while the flags are stale, because then none is."""
        return self._reader.snapshot.obeyed(feature, monotonic()).revision

    def percent(self, feature: str) -> float:
        """Return the percentage that is obeyed now; 0 while the flags are stale."""
        return self._reader.snapshot.obeyed(feature, monotonic()).rollout_percent


_made = tuple.__new__
"""Makes a GateAnswer in half the time of calling it."""

_IN_ROLLOUT, _NOT_IN_ROLLOUT = GateReason.IN_ROLLOUT, GateReason.NOT_IN_ROLLOUT


async def _in_a_thread(step: Callable[[], None]) -> None:
    """Wait for a step without stopping the event loop."""
    import asyncio  # noqa: PLC0415 (slow to import; who awaits has it already)

    await asyncio.to_thread(step)


def configured_features() -> "Mapping[str, RolloutFeature]":
    """Return the features of ROLLOUT_CONFIG, else the built-in ones; raises ConfigError (a ValueError)."""
    from pathlib import Path  # noqa: PLC0415 (this and the next are slow to import, and often not needed)

    from controller.features import load_features  # noqa: PLC0415

    path = os.environ.get("ROLLOUT_CONFIG")
    return load_features(Path(path) if path else None)


def configured_domains() -> list[str]:
    """Return the entries of INTERNAL_DOMAINS."""
    return os.environ.get("INTERNAL_DOMAINS", "").split(",")
