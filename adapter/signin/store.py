"""Where tokens lie in Redis: every key of signing in, and the scripts that change two of them at once."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapter.signin.encryption import TokenCipher, UnreadableError
from adapter.signin.errors import Identity, SignInError
from adapter.signin.grant import AccessToken, Grant
from adapter.signin.settings import CLAIMS_TTL_S, LINK_TTL_S
from controller.shared.redis_pool import key_prefix

TIMEOUT_S = 1.0
MAX_CONNECTIONS = 8
"""Enough for ten thousand reads a second; a crowd of callers would spend its time on opening more."""


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The keys of one provider's tokens."""

    provider: str

    def access(self, user_id: str) -> str:
        """Return the key of a user's access token."""
        return f"oauth:{self.provider}:access_token:{user_id}"

    def refresh(self, user_id: str) -> str:
        """Return the key of a user's grant."""
        return f"oauth:{self.provider}:refresh_token:{user_id}"

    def lock(self, user_id: str) -> str:
        """Return the key of a user's refresh lock."""
        return f"oauth:{self.provider}:lock:{user_id}"

    def claims(self, user_id: str) -> str:
        """Return the key of the challenge that a user's next sign-in has to satisfy."""
        return f"oauth:{self.provider}:claims:{user_id}"

    def once(self, kind: str, secret: str) -> str:
        """Return the key of a sign-in link or of the state of a sign-in, which does not show it."""
        return f"oauth:{self.provider}:{kind}:{digest(secret)}"


def digest(secret: str) -> str:
    """Name a secret without showing it."""
    return hashlib.sha256(secret.encode()).hexdigest()


CLAIM = """
local kept = redis.call('MGET', KEYS[1], KEYS[2])
local access = kept[1]
if access and access ~= ARGV[1] and ARGV[2] == 'others too' then return {'fresh', access} end
if not redis.call('SET', KEYS[3], ARGV[3], 'NX', 'PX', ARGV[4]) then return {'held', ''} end
return {'ours', kept[2] or ''}
"""
"""Takes the refresh lock and gives the grant to refresh, unless a new token is there or somebody holds the
lock. All in one, so that a token which another process wrote a moment ago is never refreshed again. A key of
another type holds no token."""

COMMIT = """
local kept = redis.call('MGET', KEYS[1], KEYS[3])
if kept[2] == ARGV[6] then redis.call('DEL', KEYS[3]) end
local current = kept[1]
if current == ARGV[2] then return 'done' end
if not current then return 'gone' end
if current ~= ARGV[1] then return 'changed' end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
return 'done'
"""
"""Gives the lock back and writes a refresh, grant and access token together or not at all, and only over the
grant that was refreshed. So a revocation or a new sign-in in the meantime wins, a crash leaves either the old
grant or the new one, and sending the script twice does no harm."""

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True, slots=True)
class Kept:
    """An access token and the text that it is sealed in, by which two are told apart."""

    access: AccessToken | None
    """None where there is no text, or none that can be opened."""
    sealed: str


@dataclass(frozen=True, slots=True)
class RefreshClaim:
    """What came of asking for the refresh lock: a new token, the lock with the grant, or neither."""

    fresh: AccessToken | None = None
    sealed_grant: str | None = None
    """As written, which the commit compares; empty where the user is not linked."""

    @property
    def held(self) -> bool:
        """Whether somebody else holds the lock."""
        return self.fresh is None and self.sealed_grant is None


class TokenStore:
    """Reads and writes tokens, sealed; every failure of Redis becomes the provider's code for unavailable."""

    def __init__(self, redis: "Redis", cipher: TokenCipher, identity: Identity, sealed_as: str = "") -> None:
        """Make a store; what is sealed as one thing opens as no other."""
        self._identity = identity
        self._sealed_as = identity.sealed_as + sealed_as
        self._keys = TokenKeys(identity.provider)
        self._redis = redis
        self._prefix = key_prefix(redis)
        self._cipher = cipher

    async def access(self, user_id: str) -> Kept:
        """Return a user's access token as it is kept."""
        return self._opened(user_id, await self._get(self._keys.access(user_id)))

    async def grant(self, user_id: str) -> Grant | None:
        """Read the grant; raises SignInError where no key opens it."""
        return self.open_grant(user_id, await self._get(self._keys.refresh(user_id)))

    async def put(self, user_id: str, grant: Grant) -> None:
        """Write a new sign-in over whatever was there."""
        pipe = self._redis.pipeline(transaction=True)
        grant_key, key = self._prefix + self._keys.refresh(user_id), self._prefix + self._keys.access(user_id)
        pipe.set(grant_key, self._seal_grant(user_id, grant), ex=self._identity.refresh_ttl_s)
        pipe.set(key, self._seal_access(user_id, grant), px=_ms(grant.access.cached_for_s))
        pipe.delete(self._prefix + self._keys.claims(user_id))
        await self._ask(pipe.execute())

    async def keep_claims(self, user_id: str, claims: str) -> None:
        """Keep the challenge that the person's next sign-in has to satisfy."""
        sealed = self._seal("claims", user_id, {"claims": claims})
        await self._ask(self._redis.set(self._prefix + self._keys.claims(user_id), sealed, ex=CLAIMS_TTL_S))

    async def claims(self, user_id: str) -> str | None:
        """Return the challenge that is kept for a user; None without one that can be opened."""
        sealed = await self._get(self._keys.claims(user_id))
        try:
            return str(self._unsealed("claims", user_id, sealed)["claims"]) if sealed else None
        except (UnreadableError, KeyError):
            return None

    def commit(self, user_id: str, before: str, grant: Grant, owner: str) -> "Commit":
        """Prepare the write of a refresh, to be tried until its outcome is known."""
        sealed = self._seal_grant(user_id, grant), self._seal_access(user_id, grant)
        ttls_ms = self._identity.refresh_ttl_s * 1000, _ms(grant.access.cached_for_s)
        keys = [self._keys.refresh(user_id), self._keys.access(user_id), self._keys.lock(user_id)]
        return Commit(self, keys, [before, sealed[0], ttls_ms[0], sealed[1], ttls_ms[1], owner])

    async def forget(self, user_id: str) -> bool:
        """Delete all tokens of a user; tells whether there were any."""
        keys = (self._prefix + key for key in (self._keys.refresh(user_id), self._keys.access(user_id)))
        await self._ask(self._redis.delete(self._prefix + self._keys.claims(user_id)))
        return bool(await self._ask(self._redis.delete(*keys)))

    async def ttls_s(self, user_id: str) -> tuple[float, float]:
        """Return how long the access token and the grant still live here, 0 for one that is not there."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.pttl(self._prefix + self._keys.access(user_id))
        pipe.pttl(self._prefix + self._keys.refresh(user_id))
        access_ms, refresh_ms = await self._ask(pipe.execute())
        return max(access_ms, 0) / 1000, max(refresh_ms, 0) / 1000

    async def claim(
        self, user_id: str, owner: str, ttl_s: float, known: str, *, any_new: bool
    ) -> RefreshClaim:
        """Take the refresh lock, unless with `any_new` a token other than `known` (as sealed) is there."""
        keys = [self._keys.access(user_id), self._keys.refresh(user_id), self._keys.lock(user_id)]
        wanted = "others too" if any_new else "our own alone"
        outcome, text = await self.run(CLAIM, keys, [known, wanted, owner, _ms(ttl_s)])
        if outcome == "fresh":
            fresh = self._opened(user_id, text).access
            # One that cannot be opened is no token; then it is the known one, and the lock is asked for.
            return (
                RefreshClaim(fresh)
                if fresh
                else await self.claim(user_id, owner, ttl_s, text, any_new=any_new)
            )
        return RefreshClaim(sealed_grant=text if outcome == "ours" else None)

    async def unlock(self, user_id: str, owner: str) -> None:
        """Return the lock back if it is still ours; an expired one may be somebody else's by now."""
        await self.run(RELEASE, [self._keys.lock(user_id)], [owner])

    async def put_once(self, kind: str, secret: str, value: dict[str, Any]) -> None:
        """Keep a value for ten minutes, to be taken once by who knows the secret."""
        sealed = self._seal(kind, digest(secret), value)
        await self._ask(self._redis.set(self._prefix + self._keys.once(kind, secret), sealed, ex=LINK_TTL_S))

    async def is_kept_once(self, kind: str, secret: str) -> bool:
        """Whether a value of `put_once` is still to be taken."""
        return bool(await self._ask(self._redis.exists(self._prefix + self._keys.once(kind, secret))))

    async def take_once(self, kind: str, secret: str) -> dict[str, Any] | None:
        """Take what `put_once` kept; None when it expired, was taken, or never was."""
        sealed = await self._ask(self._redis.getdel(self._prefix + self._keys.once(kind, secret)))
        try:
            return self._unsealed(kind, digest(secret), sealed) if sealed else None
        except UnreadableError:
            return None

    async def run(self, script: str, keys: list[str], arguments: list[str | int]) -> Any:
        """Run a script; raises SignInError."""
        prefixed = [self._prefix + key for key in keys]
        return await self._ask(self._redis.eval(script, len(keys), *prefixed, *arguments))

    async def aclose(self) -> None:
        """Close what is open."""
        await self._redis.aclose()

    async def _get(self, key: str) -> str:
        [value] = await self._ask(self._redis.mget([self._prefix + key]))
        return value or ""

    async def _ask(self, reply: Any) -> Any:
        try:
            return await reply
        except (RedisError, OSError) as error:
            name = type(error).__name__
        raise self._identity.unavailable(f"Redis, which keeps the tokens, does not answer ({name})")

    def _seal(self, kind: str, subject: str, value: Mapping[str, Any]) -> str:
        return self._cipher.seal(self._sealed_as + kind, subject, value)

    def _unsealed(self, kind: str, subject: str, sealed: str) -> dict[str, Any]:
        return self._cipher.open(self._sealed_as + kind, subject, sealed)

    def _seal_grant(self, user_id: str, grant: Grant) -> str:
        return self._seal("grant", user_id, grant.as_json())

    def _seal_access(self, user_id: str, grant: Grant) -> str:
        return self._seal("access", user_id, asdict(grant.access))

    def _opened(self, user_id: str, sealed: str) -> Kept:
        """Open an access token; one that cannot be read is as good as none, for the grant can replace it."""
        try:
            found = self._unsealed("access", user_id, sealed) if sealed else {}
            access = AccessToken(tenant=found.pop("tenant"), **found)
        except (UnreadableError, KeyError, TypeError):
            access = None
        return Kept(access, sealed)

    def open_grant(self, user_id: str, sealed: str) -> Grant | None:
        """Open a grant; raises SignInError where no key does."""
        try:
            return Grant.from_json(self._unsealed("grant", user_id, sealed)) if sealed else None
        except (UnreadableError, KeyError, TypeError):
            pass
        raise unreadable_grant(self._identity)


class Commit:
    """One write of a refresh. The same bytes each time it is tried, so that trying again is safe."""

    def __init__(self, store: TokenStore, keys: list[str], arguments: list[str | int]) -> None:
        self._store = store
        self._keys = keys
        self._arguments = arguments

    async def once(self) -> str:
        """Write; tells `done`, `changed` (a new sign-in came first) or `gone` (revoked meanwhile)."""
        return str(await self._store.run(COMMIT, self._keys, self._arguments))


def unreadable_grant(identity: Identity) -> SignInError:
    """Return the error for tokens that none of the keys opens."""
    return identity.client_config(
        "The tokens kept for this user cannot be opened: the key that they were written with is not among "
        f"ROLLOUT_TOKEN_KEYS, or they were moved here from {identity.moved_from}",
        act=f"Put {identity.keys_back} back, or let the person sign in again: {identity.link}.",
    )


def _ms(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
