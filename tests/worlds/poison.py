"""What another program, or anybody with redis-cli, may leave under the keys of a feature."""

from collections.abc import Callable

import redis
from hypothesis import strategies as st

from controller.contract import (
    EPOCH_KEY,
    LEASE_KEY,
    applied_key,
    decisions_key,
    flag_keys,
    revision_key,
    state_key,
)

JAVA_TRUE = bytes.fromhex("aced000574000474727565")
"""What Java's default serializer writes for "true"."""
Put = Callable[[redis.Redis, str], object]


def keys_of(feature: str) -> dict[str, str]:
    """Return every kind of key that belongs to a feature, and those of all of them, by a name for tests."""
    flags = {key.rpartition(":")[2]: key for key in flag_keys(feature)}
    named = {
        "revision": revision_key(feature),
        "state": state_key(feature),
        "decisions": decisions_key(feature),
        "applied": applied_key(feature),
        "lease": LEASE_KEY,
        "epoch": EPOCH_KEY,
    }
    return flags | named


def _bytes(value: bytes) -> Put:
    return lambda client, key: client.set(key, value)


TEXTS: dict[str, bytes] = {
    "java": JAVA_TRUE,
    "nothing": b"",
    "utf-16": "true".encode("utf-16"),
    "latin-1": "größe".encode("latin-1"),
    "nul": b"true\x00",
    "beyond a float": b"1e400",
    "negative": b"-7",
    "huge number": b"9" * 400,
    "16 digits": b"9999999999999999",
    "arabic digits": "٣٤".encode(),
    "not a number": b"nan",
    "half a surrogate": b'"\\ud83d"',
    "deep": b"[" * 100_000,
    "wrong state": b'{"flags": 1, "error_rate": [], "judged_to": "x"}',
    "absurd state": b'{"judged_to": 1e308, "step_started_at": -1e308, "alpha_spent": 1e15}',
    "far state": b'{"ramp_started_at": 1e35, "held_since": 1e35, "judged_to": 1e35, "step_sends": 1e35}',
    "short grids": b'{"error_rate": {"late": [1.0], "breach": [2.0], "healthy": [3.0]}}',
    "escape codes": b"\x1b[2J\x1b]0;owned\x07",
    "a megabyte": b"a" * 1_000_000,
}
TYPES: dict[str, Put] = {
    "hash": lambda client, key: client.hset(key, JAVA_TRUE, JAVA_TRUE),
    "list": lambda client, key: client.rpush(key, JAVA_TRUE),
    "set": lambda client, key: client.sadd(key, JAVA_TRUE),
    "sorted set": lambda client, key: client.zadd(key, {JAVA_TRUE: 1.0}),
    "stream": lambda client, key: client.xadd(key, {JAVA_TRUE: JAVA_TRUE, "record": b"\xff{}"}),
    "spent stream": lambda client, key: client.xadd(key, {"record": "{}"}, id=f"{2**64 - 1}-{2**64 - 1}"),
}
POISONS: dict[str, Put] = {name: _bytes(value) for name, value in TEXTS.items()} | TYPES


def poison(client: redis.Redis, key: str, put: Put) -> None:
    """Put a value in the place of whatever is under the key."""
    client.delete(key)
    put(client, key)


anything = st.one_of(
    st.binary(max_size=40).map(_bytes), st.sampled_from(sorted(POISONS)).map(lambda name: POISONS[name])
)
"""Any bytes, or any type."""
