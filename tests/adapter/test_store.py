"""Commands that go to Redis together: each has its own answer, whatever happens to the connection."""

import asyncio
import random

import pytest
import redis
from servers import Proxy, RedisServer

from adapter.store import REDIS_ERRORS, Together, open_redis

pytestmark = pytest.mark.servers


async def test_each_gets_its_own_answer_while_others_ask_give_up_and_are_cut_off(
    redis_server: RedisServer,
) -> None:
    chance = random.Random(3)
    wrong: list[str] = []

    async def ask(together: Together, proxy: Proxy, number: int) -> None:
        await asyncio.sleep(chance.random() / 2)
        if number % 40 == 0:
            proxy.cut()
        try:
            async with asyncio.timeout(0.001 if number % 7 == 0 else None):
                answer = await together.ask("ECHO", str(number))
        except REDIS_ERRORS:
            return
        if answer != str(number):
            wrong.append(f"{number}: {answer}")

    with Proxy(redis_server.port) as proxy:
        together = Together(open_redis(proxy.redis_url))
        await asyncio.gather(*(ask(together, proxy, number) for number in range(1000)))
        assert wrong == []
        assert await together.ask("ECHO", "after all") == "after all"
        await together.aclose()


async def test_an_error_of_one_command_is_its_own(redis_server: RedisServer) -> None:
    together = Together(open_redis(redis_server.url))
    answers = await asyncio.gather(
        together.ask("ECHO", "before"),
        together.ask("NONSENSE"),
        together.ask("ECHO", "after"),
        return_exceptions=True,
    )
    assert isinstance(answers[1], redis.ResponseError)
    assert [answers[0], answers[2]] == ["before", "after"]
    await together.aclose()
