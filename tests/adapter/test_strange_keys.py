"""What another program left under a sender's keys closes that user or key alone, and sends no mail twice."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import pytest
import redis
import redis.asyncio as aioredis
from cryptography.fernet import Fernet
from kit.servers import RedisServer
from worlds.poison import JAVA_TRUE, POISONS, poison

from adapter.errors import StructuredError
from adapter.sending.delivery import Deadline
from adapter.sending.idempotency import ExistingKey, IdempotencyKeys, Wanted
from adapter.sending.mailboxes import Mailboxes
from adapter.signin.encryption import TokenCipher
from adapter.signin.errors import SignInError
from adapter.signin.microsoft.errors import MICROSOFT
from adapter.signin.store import TokenKeys, TokenStore
from controller.shared.redis_pool import open_async_redis

MAIL = "a mail's fingerprint"


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator["aioredis.Redis"]:
    opened = open_async_redis(redis_server.url, 2.0)
    yield opened
    await opened.aclose()


@pytest.fixture
def raw(redis_server: RedisServer) -> redis.Redis:
    return redis.Redis(port=redis_server.port)


async def ask(keys: IdempotencyKeys, wanted: Wanted) -> ExistingKey:
    held = await keys.claim("key", MAIL, "us", wanted, pending_s=5.0)
    assert isinstance(held, ExistingKey)
    return held


@pytest.mark.parametrize("name", POISONS)
async def test_a_key_that_another_program_wrote_is_unknown_and_sends_nothing(
    client: "aioredis.Redis", raw: redis.Redis, name: str
) -> None:
    keys = IdempotencyKeys(client, 60)
    poison(raw, "key", POISONS[name])
    for wanted in (Wanted.LOOK, Wanted.CLAIM):
        assert (await ask(keys, wanted)).state in {"unknown", "reused"}


@pytest.mark.parametrize("until", [b"inf", b"nan", b"1e400", b"", JAVA_TRUE, b"-1"])
async def test_a_pending_key_with_a_strange_end_is_pending_for_an_hour_at_most(
    client: "aioredis.Redis", raw: redis.Redis, until: bytes
) -> None:
    keys = IdempotencyKeys(client, 60)
    raw.hset("key", mapping={"state": "pending", "print": MAIL, "owner": JAVA_TRUE, "until": until})
    held = await ask(keys, Wanted.CLAIM)
    assert held.state in {"pending", "unknown"}
    assert (held.retry_after_s or 0) <= 3600


@pytest.mark.parametrize("result", [JAVA_TRUE, b"", b"[]", b'{"form": 1}', b'{"request_id": "\\ud83d"}'])
async def test_a_sent_key_with_a_strange_result_is_an_error_that_has_a_code(
    client: "aioredis.Redis", raw: redis.Redis, result: bytes
) -> None:
    raw.hset("key", mapping={"state": "sent", "print": MAIL, "owner": "us", "result": result})
    with pytest.raises(StructuredError):
        await ask(IdempotencyKeys(client, 60), Wanted.CLAIM)


@pytest.mark.parametrize("name", POISONS)
async def test_a_mailbox_whose_places_are_of_another_type_has_places_again(
    client: "aioredis.Redis", raw: redis.Redis, name: str
) -> None:
    mailboxes = Mailboxes("microsoft", 2, client)
    async with mailboxes.place("user-1", Deadline(5.0)):
        [key] = cast("list[bytes]", raw.keys("rollout:mailbox:*"))
    poison(raw, key.decode(), POISONS[name])
    async with mailboxes.place("user-1", Deadline(5.0)):
        assert raw.type(key) == b"zset"
    await mailboxes.aclose()


@pytest.mark.parametrize("name", POISONS)
async def test_tokens_that_no_key_opens_are_no_tokens_of_that_user_alone(
    client: "aioredis.Redis", raw: redis.Redis, name: str
) -> None:
    store = TokenStore(client, TokenCipher([Fernet.generate_key().decode()]), MICROSOFT)
    keys = TokenKeys("microsoft")
    for key in (keys.access("user-1"), keys.claims("user-1"), keys.refresh("user-1"), keys.lock("user-1")):
        poison(raw, key, POISONS[name])
    assert (await store.access("user-1")).access is None
    assert await store.claims("user-1") is None
    with suppress(SignInError):
        assert await store.grant("user-1") is None
    assert (await store.claim("user-1", "us", 1.0, "", any_new=True)).held
    assert (await store.claim("user-2", "us", 1.0, "", any_new=True)).sealed_grant == ""
    assert await store.forget("user-1")
