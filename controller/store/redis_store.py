"""The flag store in Redis: the one script that writes, and how it is asked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

import redis
from redis.exceptions import NoScriptError, ResponseError

from controller.contract import (
    EPOCH_KEY,
    FLAGS_CHANNEL,
    LIVE_SIGHT_KEY,
    LIVE_SIGHT_S,
    Flags,
    applied_key,
    decisions_key,
    flag_keys,
    format_flags,
    live_key,
    parse_flags,
    revision_key,
    state_key,
)
from controller.shared.redis_pool import is_wrong_type, key_prefix
from controller.store.endless_script import despite_a_script
from controller.store.flag_store import Stored, StoreError, Texts, Write, WriteOutcome, WrongTypeError, tee
from controller.store.record_json import read_record

_READ = 6
"""Keys of a feature that a tick reads: four flags, revision, state."""

_SENT_AT_ONCE = 64
"""So many writes, of about 5 kB each, go to Redis in one piece."""

_PAGE = 1000
"""So many records are read in one piece."""

COUNT = """
local function count(text)
  return text and #text < 16 and string.find(text, '^%d+$') and tonumber(text) or 0
end
"""
"""Reads a revision or an epoch as contract.parse_count does: what is no number is 0, never an error."""

_WRITE = (
    COUNT
    + """
local texts = redis.call('MGET', unpack(KEYS))
local function is(key, type) local now = redis.call('TYPE', key).ok return now == type or now == 'none' end
local function plain(state) return (string.gsub(state, ' +$', '')) end
local revision = count(texts[5])
local closing = ARGV[15] == 'true'
local kept = is(KEYS[7], 'stream') and is(KEYS[8], 'list')
local why = kept and '' or KEYS[7] .. ' is no stream, or ' .. KEYS[8] .. ' no list: DEL the wrong one'
if kept and redis.call('LPOS', KEYS[8], ARGV[1]) then return {'applied', revision} end
if ARGV[2] ~= '' and texts[9] ~= ARGV[2] then return {'fenced', revision} end
if ARGV[3] ~= '' then
  local time = redis.call('TIME')
  if time[1] * 1000 + time[2] / 1000 > tonumber(ARGV[3]) then return {'fenced', revision} end
end
for i = 1, 4 do
  if (texts[i] and '=' .. texts[i] or '') ~= ARGV[7 + i] then return {'conflict', revision} end
end
local state, blank = texts[6] and '=' .. texts[6] or '', ''
if state ~= ARGV[16] then
  if not closing or plain(state) ~= plain(ARGV[16]) then return {'conflict', revision} end
  blank = ' '
end
if closing then redis.call('DEL', KEYS[4]) end
for i = 18, #ARGV do
  if kept then
    why = redis.pcall('XADD', KEYS[7], 'MAXLEN', '~', ARGV[4], '*', 'record', ARGV[i]).err
    kept = not why
  end
  if not kept and not closing then return {'failed', revision, why} end
end
if ARGV[12] ~= '' then
  for i = 1, 4 do redis.call('SET', KEYS[i], ARGV[11 + i]) end
  revision = math.max(revision, tonumber(ARGV[17])) + 1
  redis.call('SET', KEYS[5], string.format('%d', revision))
  redis.call('PUBLISH', ARGV[6], ARGV[7])
end
redis.call('SET', KEYS[6], ARGV[5] .. blank)
if kept then
  redis.call('LPUSH', KEYS[8], ARGV[1])
  redis.call('LTRIM', KEYS[8], 0, 31)
end
return {'applied', revision}
"""
)
"""Keys: four flags, revision, state, stream, ids applied lately, epoch. Arguments: id, epoch, last moment on
Redis's clock (ms), length of the stream, state, channel, feature, four flags as read ('=' before a text,
empty for no key), four new flags (empty for no change), state as read, a revision to stay above, the records.

The id comes first: a script may be sent again. Whatever may fail comes before the flags, because Redis does
not undo a script. A full Redis refuses a script's first write if that needs memory, and none after it:
deleting `paused` first lets a pause through. A pause is also written where the stream takes nothing (its key
is of another type, its last id the highest there is), and over the blank that giving back leaves behind a
state. What another has put into the keys is compared as bytes and never reckoned with unless it is a number.
"""


_GIVE_BACK = """
local there = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  local id = string.match(entry[2][2], '"id":"(.-)"')
  if id then there[id] = true end
end
local given = 0
for i = 2, #ARGV, 2 do
  if not there[ARGV[i]] then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'record', ARGV[i + 1])
    given = given + 1
  end
end
local state = redis.call('MGET', KEYS[2])[1]
if given > 0 and state then redis.call('SET', KEYS[2], state .. ' ') end
return given
"""
"""In one piece, because two controllers may notice the same loss. The blank behind the state lets every other
controller see a state that it did not write, and look."""


class RedisFlagStore:
    """Flags in Redis: one script is the only writer, compare-and-set on all four flags and the state."""

    def __init__(self, client: "redis.Redis", *, decisions_kept: int = 20_000) -> None:
        self._redis = client
        self._prefix = key_prefix(client)
        self._kept = decisions_kept
        self._named: dict[str, list[str]] = {}
        self._sha = ""
        self._refusal = ""

    def read(self, features: Sequence[str]) -> list[Stored]:
        """Read flags, revision and state of each feature in one round trip; raises StoreError."""
        keys = [key for name in features for key in self._keys(name)[:_READ]]
        with _store_errors():
            asked = despite_a_script(self._redis, lambda: self._redis.mget(keys)) if keys else []
        values = cast("list[str | None]", asked)
        return [_stored(name, values[_READ * i : _READ * (i + 1)]) for i, name in enumerate(features)]

    def read_live(
        self, features: Sequence[str], outdated: Mapping[str, Sequence[str]], told: str
    ) -> tuple[list[Stored], list[Mapping[str, str]]]:
        """Read what `read` reads and the live counts of each feature, by process, in one round trip.

        The `outdated` fields, by feature, are removed before, and `told` is kept for who shows it. Raises
        StoreError. A key that is no hash holds no counts.
        """
        keys = [key for name in features for key in self._keys(name)[:_READ]]
        with _store_errors(), self._redis.pipeline(transaction=False) as together:
            for name, fields in outdated.items():
                together.hdel(self._prefix + live_key(name), *fields)
            together.set(self._prefix + LIVE_SIGHT_KEY, told, ex=LIVE_SIGHT_S)
            together.mget(keys)
            for name in features:
                together.hgetall(self._prefix + live_key(name))
            values, *counts = together.execute(raise_on_error=False)[len(outdated) + 1 :]
            if isinstance(values, Exception):
                raise values
        stored = [_stored(name, values[_READ * i : _READ * (i + 1)]) for i, name in enumerate(features)]
        return stored, [one if isinstance(one, dict) else {} for one in counts]

    def create_missing(self, feature: str, flags: Flags) -> None:
        """Create the flags that are not there; raises StoreError."""
        with _store_errors():
            pipe = self._redis.pipeline(transaction=True)
            for key, text in zip(flag_keys(feature), format_flags(flags), strict=True):
                pipe.set(self._prefix + key, text, nx=True)
            if flags.revision:
                pipe.set(self._prefix + revision_key(feature), flags.revision, nx=True)
            pipe.publish(FLAGS_CHANNEL, feature)
            pipe.execute()

    def write(self, writes: Iterable[Write]) -> list[WriteOutcome]:
        """Write decisions, each by one script, and return what came of each; raises StoreError."""
        sent: list[Write] = []
        answers = self._send(tee(writes, sent))
        if any(isinstance(answer, NoScriptError) for answer in answers):
            self._sha = ""
            answers = self._send(sent)
        return self._outcomes(answers)

    def append(self, feature: str, record: str) -> None:
        """Add a record to a feature's stream; raises StoreError."""
        with _store_errors():
            key = self._prefix + decisions_key(feature)
            self._redis.xadd(key, {"record": record}, maxlen=self._kept, approximate=True)

    def restore_records(self, feature: str, records: Mapping[str, str]) -> int:
        """Add records that the stream lost, by decision id; return how many. Raises StoreError."""
        if not records:
            return 0
        pairs = [text for pair in records.items() for text in pair]
        keys = [self._prefix + key for key in (decisions_key(feature), state_key(feature))]
        with _store_errors():
            return int(cast("int", self._redis.eval(_GIVE_BACK, 2, *keys, str(self._kept), *pairs)))

    def history(
        self, feature: str, *, since_ms: int = 0, newest: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield records, oldest first; raises StoreError."""
        key = self._prefix + decisions_key(feature)
        with _store_errors(key):
            if newest is not None:
                last = cast("list[Any]", self._redis.xrevrange(key, min=str(since_ms), count=newest))
                yield from _records(reversed(last))
                return
            start = str(since_ms)
            while entries := cast("list[Any]", self._redis.xrange(key, min=start, count=_PAGE)):
                yield from _records(entries)
                if len(entries) < _PAGE:
                    return  # not only to ask less: Redis refuses to look behind the last possible id
                start = f"({entries[-1][0]}"

    def _keys(self, feature: str) -> list[str]:
        """Name what the script takes; the first of it is what is read at each tick."""
        if feature not in self._named:
            read = (*flag_keys(feature), revision_key(feature), state_key(feature))
            written = (decisions_key(feature), applied_key(feature), EPOCH_KEY)
            self._named[feature] = [self._prefix + key for key in (*read, *written)]
        return self._named[feature]

    def _send(self, writes: Iterable[Write]) -> list[Any]:
        """Return one answer for each write; an error of one write stands in its place.

        Some are sent while the next are still being made, so that Redis works meanwhile; the answers are
        read at the end, which makes it one round trip.
        """
        rest, sent = iter(writes), 0
        some = list(islice(rest, _SENT_AT_ONCE))
        if not some:
            return []
        pool = self._redis.connection_pool
        with _store_errors():
            sha = self._sha = self._sha or str(self._redis.script_load(_WRITE))
            connection: Any = pool.get_connection()
        try:
            while some:
                with _store_errors():
                    packed = connection.pack_commands([self._command(sha, write) for write in some])
                    connection.send_packed_command(packed)
                sent += len(some)
                some = list(islice(rest, _SENT_AT_ONCE))  # here the next are made: no place for store errors
            with _store_errors():
                return [_answer(connection) for _ in range(sent)]
        except BaseException:
            connection.disconnect()  # nobody else may read the answers that are still to come
            raise
        finally:
            pool.release(connection)

    def _command(self, sha: str, write: Write) -> tuple[str, ...]:
        keys = self._keys(write.stored.feature)
        return ("EVALSHA", sha, str(len(keys)), *keys, *self._arguments(write))

    def _outcomes(self, answers: Sequence[Any]) -> list[WriteOutcome]:
        """Read the answers; what Redis refuses for one write (as a full one does) is logged when new."""
        refusal = next(filter(None, map(_refusal, answers)), "")
        if refusal and refusal != self._refusal:
            import structlog  # noqa: PLC0415 - slow to import, and seldom needed

            structlog.get_logger("flagstore").error("write_refused", error=refusal)
        self._refusal = refusal
        return [
            WriteOutcome.FAILED if isinstance(one, Exception) else WriteOutcome(one[0]) for one in answers
        ]

    def _arguments(self, write: Write) -> list[str]:
        stored = write.stored
        return [
            write.decision_id,
            "" if write.epoch is None else str(write.epoch),
            "" if write.until_ms is None else str(write.until_ms),
            str(self._kept),
            write.state,
            FLAGS_CHANNEL,
            stored.feature,
            *(_as_read(text) for text in stored.texts),
            *(format_flags(write.flags) if write.flags else ("", "", "", "")),
            _as_read(stored.state),
            str(write.above_revision),
            *write.records,
        ]


class _store_errors:  # noqa: N801
    """Foreign exceptions become StoreError at this border; `key` is the one that is read, if it is one."""

    def __init__(self, key: str = "") -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._key and is_wrong_type(error):
            raise WrongTypeError.at(self._key) from error
        if isinstance(error, redis.RedisError | OSError):
            raise StoreError.of(error) from error


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _refusal(answer: Any) -> str:
    """Return why a write was refused, in Redis's words or the script's; empty where it was not."""
    if isinstance(answer, Exception):
        return str(answer)
    return str(answer[2]) if answer[0] == WriteOutcome.FAILED else ""


def _stored(feature: str, values: Sequence[str | None]) -> Stored:
    texts = cast("Texts", tuple(values[:4]))
    return Stored(feature, texts, parse_flags(texts, values[4]), values[5])


def _as_read(text: str | None) -> str:
    return "" if text is None else f"={text}"


def _records(entries: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the records, and pass over what somebody else put into the stream."""
    for _, fields in entries:
        record = read_record(fields.get("record", ""))
        if record is not None:
            yield record
