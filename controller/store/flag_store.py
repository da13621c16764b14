"""Where flags, state and decisions live together: the protocol, its values, and the wrapper of dry runs."""

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import Any, Protocol, TypeVar
from zlib import crc32

from controller.contract import Flags
from controller.decision.feature import RolloutFeature
from controller.decision.model import State
from controller.decision.record import state_from_dict
from controller.shared.redis_refusal import refusal
from controller.store.record_json import dump

_LARGEST = 1e36
_BLANKS = str.maketrans("01", " \t")
T = TypeVar("T")
Texts = tuple[str | None, str | None, str | None, str | None]


class StoreError(Exception):
    """The store did not answer; the message says which and why."""

    @classmethod
    def of(cls, error: Exception) -> "StoreError":
        """Say what to do, else what redis-py says, without its full stop: our sentence goes on."""
        return cls(refusal(error) or f"Redis: {type(error).__name__}: {error}".removesuffix("."))


class WrongTypeError(StoreError):
    """Somebody put another type under one key, so one feature's decisions cannot be read."""

    @classmethod
    def at(cls, key: str) -> "WrongTypeError":
        """Return the error for a key that holds no stream."""
        return cls(f"{key} in Redis is no stream of decisions; RENAME or DEL it")


class WriteOutcome(StrEnum):
    """What became of a write."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """The flags or the state were no longer as read."""
    FENCED = "fenced"
    """A later leader exists, or the right to act has run out: nothing was written."""
    FAILED = "failed"
    """The store answered that it cannot write this one; nothing was written."""
    SKIPPED = "skipped"
    """A dry run."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds of one feature, read at one instant."""

    feature: str
    texts: Texts
    flags: Flags
    state: str | None
    """The state as JSON text (`state_text`); None before the first decision."""


@dataclass(frozen=True, slots=True)
class Write:
    """One decision to be written: its record and state, and the flags where they change."""

    decision_id: str
    stored: Stored
    """As read: nothing is written unless flags and state are still so."""
    records: tuple[str, ...]
    """What is to be read of it later, oldest first; a change seen from outside goes before the decision."""
    state: str
    flags: Flags | None = None
    epoch: int | None = None
    """The writer's epoch; None where no lease is needed (a pause, a person)."""
    until_ms: int | None = None
    """The last moment, on the store's own clock, at which this may still be written: a store that hangs
    and wakes up must not carry out what was decided before."""
    above_revision: int = 0
    """The flags' new revision is above this one too: a revision that was lost is not given again."""


class FlagStore(Protocol):
    """The one way to read and write flags; every implementation passes tests/controller/test_flagstore.py."""

    def read(self, features: Sequence[str]) -> list[Stored]:
        """Read flags, revision and state of all features in one round trip; raises StoreError."""

    def create_missing(self, feature: str, flags: Flags) -> None:
        """Set those flags that have no key, and so the revision; never touches one that is there."""

    def write(self, writes: Iterable[Write]) -> list[WriteOutcome]:
        """Write all decisions in one round trip, each wholly or not at all; harmless when sent twice.

        The first may be written while the last are still being made.
        """

    def append(self, feature: str, record: str) -> None:
        """Keep a record of something that changed nothing here (a conflict)."""

    def restore_records(self, feature: str, records: Mapping[str, str]) -> int:
        """Append those records, by their ids, that the history lost, and give their number."""

    def history(
        self, feature: str, *, since_ms: int = 0, newest: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Return the records kept, oldest first; with `newest` only the last so many.

        Raises WrongTypeError where something else is kept in their place.
        """


class DryRunStore:
    """A store that changes nothing: reads go through, writes stay here and are forgotten at the end.

    The tests' state of holds is remembered, so that evidence adds up over the ticks of a dry run.
    """

    def __init__(self, store: FlagStore) -> None:
        self._store = store
        self._states: dict[str, tuple[Texts, str | None, str]] = {}

    def read(self, features: Sequence[str]) -> list[Stored]:
        """Read flags, with the states that a dry run would have written."""
        return [self._with_own_state(stored) for stored in self._store.read(features)]

    def create_missing(self, feature: str, flags: Flags) -> None:
        """Leave missing keys missing."""

    def write(self, writes: Iterable[Write]) -> list[WriteOutcome]:
        """Keep the states to itself, and write nothing."""
        came: list[Write] = []
        for write in tee(writes, came):
            if write.flags is None:
                held = self._states.get(write.stored.feature)
                seen = held[1] if held and held[2] == write.stored.state else write.stored.state
                self._states[write.stored.feature] = (write.stored.texts, seen, write.state)
        return [WriteOutcome.SKIPPED for _ in came]

    def append(self, feature: str, record: str) -> None:
        """Keep nothing."""

    def restore_records(self, feature: str, records: Mapping[str, str]) -> int:  # noqa: ARG002
        """Keep nothing."""
        return 0

    def history(
        self, feature: str, *, since_ms: int = 0, newest: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield records of the store behind it."""
        return self._store.history(feature, since_ms=since_ms, newest=newest)

    def _with_own_state(self, stored: Stored) -> Stored:
        texts, seen, own = self._states.get(stored.feature, (stored.texts, None, ""))
        unchanged = bool(own) and texts == stored.texts and seen == stored.state
        return replace(stored, state=own) if unchanged else stored


def write_with_retry(store: FlagStore, writes: Iterable[Write]) -> list[WriteOutcome]:
    """Write, and once more where the answer was lost: a decision id is written at most once."""
    begun: list[Write] = []
    coming = tee(writes, begun)
    try:
        return store.write(coming)
    except StoreError as error:
        import structlog  # noqa: PLC0415 - slow to import, and seldom needed

        structlog.get_logger("flagstore").warning("write_sent_again", error=str(error))
        return store.write(chain(tuple(begun), coming))


def tee(items: Iterable[T], into: list[T]) -> Iterator[T]:
    """Pass on items, and keep each in a list."""
    for item in items:
        into.append(item)
        yield item


def state_text(state: Mapping[str, Any], decision_id: str) -> str:
    """Write a state with its decision's mark: who decided the same still sees that it is another's.

    The mark is 16 blanks, which JSON passes over: what is read is the state alone.
    """
    return dump(state) + format(crc32(decision_id.encode()) & 0xFFFF, "016b").translate(_BLANKS)


def read_state(stored: Stored) -> tuple[State, str]:
    """Return the state of a feature and, where its text cannot be read, the mistake.

    Such a state is worth nothing: the tests start again, and nothing is held up by it, least of all a pause.
    """
    if stored.state is None:
        return State(flags=stored.flags), ""
    try:
        plain = json.loads(stored.state)
        _check_bounds(plain)
        return state_from_dict(plain), ""
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        return State(flags=stored.flags), str(error)


def _check_bounds(plain: Any) -> None:
    """Raise ValueError where a number is beyond any count, instant (unix seconds) or logarithm of ours."""
    if isinstance(plain, dict):
        plain = plain.values()
    elif not isinstance(plain, list):
        if isinstance(plain, int | float) and not -_LARGEST <= plain <= _LARGEST:
            raise ValueError(f"{plain!r:.40} is out of bounds")
        return
    for part in plain:
        _check_bounds(part)


def existed_before(store: FlagStore, stored: Stored) -> bool:
    """Whether this product has written this feature before, by whatever is left of it."""
    if stored.state is not None or stored.flags.revision > 0:
        return True
    try:
        return next(iter(store.history(stored.feature)), None) is not None
    except WrongTypeError:
        return True


def newest_record(store: FlagStore, feature: str) -> dict[str, Any]:
    """Return the newest record of a feature; empty where there is none, or none can be read."""
    try:
        return next(iter(store.history(feature, newest=1)), {})
    except WrongTypeError:
        return {}


def first_flags(feature: RolloutFeature, *, paused: bool, revision: int = 0) -> Flags:
    """Return what a missing key is created with."""
    return Flags(False, True, feature.initial_percent, paused, revision)


def new_decision_id(feature: str, now: float) -> str:
    """Name a decision; `find_record` reads the feature and the time in it."""
    return f"{feature}-{int(now * 1000)}-{secrets.token_hex(4)}"


def find_record(store: FlagStore, features: Iterable[str], decision_id: str) -> dict[str, Any] | None:
    """Find a decision by its id: near the time that the id names first, then everywhere.

    A feature whose records cannot be read is passed over.
    """
    name, _, rest = decision_id.rpartition("-")[0].rpartition("-")
    near_ms = max(int(rest) - 600_000, 0) if re.fullmatch("[0-9]{1,15}", rest) else 0
    starts = {name: near_ms} if name in features else dict.fromkeys(features, 0)
    for feature, since_ms in starts.items():
        with suppress(WrongTypeError):
            for record in store.history(feature, since_ms=since_ms):
                if record.get("id") == decision_id:
                    return record
    return None
