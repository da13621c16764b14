"""Looks at Redis: reachable, new enough, persistent, not evicting, writable, and what it holds."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

import redis

from controller.config.agreement import deciding_hash
from controller.config.settings import ControllerSettings
from controller.contract import (
    EPOCH_KEY,
    FLAGS_CHANNEL,
    LEASE_KEY,
    applied_key,
    decisions_key,
    flag_keys,
    parse_count,
    revision_key,
    state_key,
)
from controller.decision.ramp import is_open
from controller.doctor.finding import DoctorFinding, away, bad, note, ok, until_away
from controller.evidence.live_difference import LASTING
from controller.shared.redis_pool import key_prefix, open_redis
from controller.store.flag_store import StoreError
from controller.store.lease import leader
from controller.store.live_sight import BY_WINDOWS, NOBODY_LOOKS, read_sights
from controller.store.oversight import Oversight
from controller.store.redis_store import RedisFlagStore

OLDEST = (6, 2)
_CLOCK_S = 2.0
_TIMEOUT_S = 2.0
_TRIAL = "redis.call('SET', KEYS[1], '1') return redis.call('DEL', KEYS[1])"


def look_at_redis(settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Yield the findings about Redis and the flags in it."""
    client, told = open_redis(settings.redis_url, _TIMEOUT_S), dict[str, Any]()
    yield from until_away(
        [
            partial(_server, client, told),
            partial(_persistence, told),
            partial(_memory, told),
            partial(_clock, client),
            partial(_writable, client),
            partial(_epoch, client),
            partial(_lease, client),
            partial(_features, client, settings),
            partial(_live, client, settings),
            partial(_unwatched, client, settings),
            partial(_agreement, client, settings),
            partial(_types, client, settings),
        ]
    )


def _server(client: "redis.Redis", info: dict[str, Any]) -> Iterator[DoctorFinding]:
    """Ask for INFO, which the findings after this one read."""
    try:
        info |= cast("Mapping[str, Any]", client.info())
    except (redis.RedisError, OSError) as error:
        yield away("redis", f"{type(error).__name__}: {error}", "start it, or check redis_url")
        return
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers >= OLDEST:
        yield ok("redis version", version)
    else:
        yield bad("redis version", version, f"install Redis {OLDEST[0]}.{OLDEST[1]} or newer")
    if info.get("role") == "master":
        yield ok("redis role", "master")
    else:
        yield bad("redis role", str(info.get("role")), "point redis_url at the master")
    if info.get("cluster_enabled"):
        yield from _cluster(client)


def _cluster(client: "redis.Redis") -> Iterator[DoctorFinding]:
    if not key_prefix(client):
        fix = "write redis_url as redis+cluster://HOST:PORT,HOST:PORT/NAME"
        yield away("redis cluster", "a node of a cluster, asked for keys without a hash tag", fix)
        return
    try:
        told = str(client.execute_command("CLUSTER", "INFO"))  # type: ignore[no-untyped-call]
    except redis.RedisError:
        yield note("redis cluster", "CLUSTER INFO is not allowed", "see to it that cluster_state is ok")
        return
    if "cluster_state:ok" in told:
        yield ok("redis cluster", f"ok; every key begins with {key_prefix(client)}")
    else:
        yield bad("redis cluster", "cluster_state is not ok", "ask CLUSTER INFO and CLUSTER NODES why")


def _persistence(info: Mapping[str, Any]) -> Iterator[DoctorFinding]:
    append = info.get("aof_enabled")
    if append is None:
        yield note("redis persistence", "INFO does not say", "see to it that appendonly is yes")
    elif append:
        yield ok("redis persistence", "append-only file")
    else:
        yield bad(
            "redis persistence", "no append-only file", "set appendonly yes: a restart closes every feature"
        )


def _memory(info: Mapping[str, Any]) -> Iterator[DoctorFinding]:
    policy = info.get("maxmemory_policy")
    if policy is None:
        yield note("redis eviction", "INFO does not say", "see to it that maxmemory-policy is noeviction")
    elif policy == "noeviction":
        yield ok("redis eviction", "noeviction")
    else:
        seen = f"{policy}{' (no maxmemory is set now)' if info.get('maxmemory') == 0 else ''}"
        yield bad("redis eviction", seen, "set maxmemory-policy noeviction: an evicted flag closes a feature")


def _clock(client: "redis.Redis") -> Iterator[DoctorFinding]:
    before = time.time()
    seconds, micros = client.time()
    ahead_s = seconds + micros / 1e6 - (before + time.time()) / 2
    seen = f"{ahead_s:+.1f} s from this machine's"
    if abs(ahead_s) <= _CLOCK_S:
        yield ok("redis clock", seen)
    else:
        yield bad("redis clock", seen, "synchronise both machines' clocks (chrony)")


def _writable(client: "redis.Redis") -> Iterator[DoctorFinding]:
    """Try what the controller needs, on keys and a channel that nobody uses."""
    feature = "rollout-doctor"
    try:
        client.eval(_TRIAL, 1, key_prefix(client) + applied_key(feature))
        client.xlen(key_prefix(client) + decisions_key(feature))
        client.publish(FLAGS_CHANNEL, "")
    except (redis.RedisError, OSError) as error:
        yield bad("redis rights", f"{error}", "give the controller's user the rules of docs/operations.md")
        return
    yield ok("redis rights", "may read, write, run scripts and publish")


def _epoch(client: "redis.Redis") -> Iterator[DoctorFinding]:
    try:
        epoch = cast("list[str | None]", client.mget([key_prefix(client) + EPOCH_KEY]))[0]
    except redis.RedisError as error:
        yield bad("leader epoch", str(error), "give the controller's user the rules of docs/operations.md")
        return
    if epoch is not None and not parse_count(epoch):
        yield bad("leader epoch", f"{epoch:.40} is no number", "DEL it: the next leader begins above its own")
    elif epoch is None:
        yield note("leader epoch", "none", "a new Redis has none; an old one without it was emptied")
    else:
        yield ok("leader epoch", str(epoch))


def _lease(client: "redis.Redis") -> Iterator[DoctorFinding]:
    """Find a lease that ends by nobody's death: while it is there, nothing steps up."""
    try:
        owner, left_ms = leader(client), client.pttl(key_prefix(client) + LEASE_KEY)
    except (StoreError, redis.RedisError) as error:
        yield bad("lease", str(error), "give the controller's user the rules of docs/operations.md")
        return
    if owner is not None and left_ms == -1:
        yield bad("lease", f"{owner:.80} holds it without an end", f"DEL {LEASE_KEY}: no controller wrote it")


def _features(client: "redis.Redis", settings: ControllerSettings) -> Iterator[DoctorFinding]:
    try:
        stored = RedisFlagStore(client).read(list(settings.features))
    except StoreError as error:
        yield away("flags", str(error), "start Redis, or check redis_url")
        return
    for one in stored:
        subject, flags = f"flags of {one.feature}", one.flags
        if flags.unreadable:
            yield bad(subject, f"not understood: {', '.join(flags.unreadable)}", "set them again")
        elif flags.missing and one.state is None:
            yield note(subject, "not created yet", "the controller creates them at its first tick")
        elif flags.missing:
            fix = "the leader creates them, paused, once no key of another type is in their place"
            yield bad(subject, f"missing: {', '.join(flags.missing)}", fix)
        else:
            state = "paused" if flags.paused else "enabled" if flags.enabled else "disabled"
            yield ok(subject, f"{state} at {flags.rollout_percent:g} %, revision {flags.revision}")


def _live(client: "redis.Redis", settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Say of each feature that is open whether harm is answered within seconds, or by windows only."""
    try:
        sights, stored = read_sights(client), RedisFlagStore(client).read(list(settings.features))
    except StoreError as error:
        yield away("live counts", str(error), "start Redis, or check redis_url")
        return
    for name in (one.feature for one in stored if is_open(one.flags)):
        subject, sight = f"live counts of {name}", sights.get(name)
        difference = (sight and sight.difference) or 0.0
        if sight is None:
            yield note(subject, f"reaction is {NOBODY_LOOKS}", "see that a controller leads, of this version")
        elif not sight.processes:
            fix = "update the senders, or allow them `%W~rollout:live:* +hset`"
            yield note(subject, f"reaction is {BY_WINDOWS}", fix)
        elif abs(difference) > LASTING:
            more = f"{abs(difference):.0%} {'more' if difference > 0 else 'fewer'} sends than in Prometheus"
            fix = "see that every sender is scraped, and writes live counts with `gate.count`"
            yield bad(subject, f"{more}, over ten minutes", fix)
        else:
            yield ok(subject, f"reaction is {sight.text}")


_TYPES = ((state_key, "string"), (revision_key, "string"), (decisions_key, "stream"), (applied_key, "list"))


def _types(client: "redis.Redis", settings: ControllerSettings) -> Iterator[DoctorFinding]:
    """Find keys of another type than ours, under which nothing of a feature can be read or kept."""
    wanted = {
        key_prefix(client) + key: kind
        for name in settings.features
        for key, kind in [
            *((key, "string") for key in flag_keys(name)),
            *((key_of(name), kind) for key_of, kind in _TYPES),
        ]
    }
    pipe = client.pipeline(transaction=False)
    for key in wanted:
        pipe.type(key)
    for (key, kind), found in zip(wanted.items(), pipe.execute(), strict=True):
        if found not in {kind, "none"}:
            yield bad(f"key {key}", f"a {found}, where a {kind} belongs", f"RENAME it, or DEL {key}")


def _unwatched(client: "redis.Redis", settings: ControllerSettings) -> Iterator[DoctorFinding]:
    oversight = Oversight(client)
    try:
        names = oversight.unwatched(settings.features)
    except StoreError as error:
        yield note("unwatched features", str(error), "allow SCAN to the controller's user")
        return
    if names:
        fix = f"put them into the configuration, or `rollout pause {names[0]}` and the others"
        yield bad("unwatched features", f"enabled, in no configuration: {', '.join(names)}", fix)
    elif oversight.whole:
        yield ok("unwatched features", "none")
    else:
        yield note("unwatched features", "none found, of a part of the keys", "the daemon looks at them all")


def _agreement(client: "redis.Redis", settings: ControllerSettings) -> Iterator[DoctorFinding]:
    try:
        agrees = Oversight(client).agrees(deciding_hash(settings), leads=False)
    except StoreError as error:
        yield away("configuration", str(error), "start Redis, or check redis_url")
        return
    if agrees:
        yield ok("configuration", "as the leader decides")
    else:
        fix = "give every controller, and this command, the same file; then `rollout reload`"
        yield bad("configuration", "config_differs: the leader decides by another one", fix)
