"""Commands that share one connection to Redis: each gets its own answer, even when it breaks."""

import asyncio
import random

import redis
from kit.servers import Proxy, RedisServer

from adapter.sending.redis_client import REDIS_ERRORS, TIMEOUT_S, BatchingConnection
from controller.shared.redis_pool import open_async_redis


async def test_each_gets_its_own_answer_while_others_ask_give_up_and_are_cut_off(
    redis_server: RedisServer,
) -> None:
    chance = random.Random(3)
    wrong: list[str] = []

    async def ask(connection: BatchingConnection, proxy: Proxy, number: int) -> None:
        await asyncio.sleep(chance.random() / 2)
        if number % 40 == 0:
            proxy.cut()
        try:
            async with asyncio.timeout(0.001 if number % 7 == 0 else None):
                answer = await connection.execute("ECHO", str(number))
        except REDIS_ERRORS:
            return
        if answer != str(number):
            wrong.append(f"{number}: {answer}")

    with Proxy(redis_server.port) as proxy:
        connection = BatchingConnection(open_async_redis(proxy.redis_url, TIMEOUT_S))
        await asyncio.gather(*(ask(connection, proxy, number) for number in range(1000)))
        assert wrong == []
        assert await connection.execute("ECHO", "after all") == "after all"
        await connection.aclose()


async def test_a_question_that_was_cancelled_before_it_left_takes_nobodys_answer(
    redis_server: RedisServer,
) -> None:
    """As at Ctrl-C: all tasks are cancelled, also those that have not begun, and places are given back."""
    connection = BatchingConnection(open_async_redis(redis_server.url, TIMEOUT_S))
    await connection.execute("ECHO", "before")
    lost = asyncio.create_task(connection.execute("ECHO", "lost"))
    before = asyncio.all_tasks()
    await asyncio.sleep(0)
    [not_begun] = asyncio.all_tasks() - before
    not_begun.cancel()
    answers = await asyncio.gather(*(connection.execute("ECHO", str(number)) for number in range(3)))
    assert answers == ["0", "1", "2"]
    assert await lost == "lost"
    await connection.aclose()


async def test_an_error_of_one_command_is_its_own(redis_server: RedisServer) -> None:
    connection = BatchingConnection(open_async_redis(redis_server.url, TIMEOUT_S))
    answers = await asyncio.gather(
        connection.execute("ECHO", "before"),
        connection.execute("NONSENSE"),
        connection.execute("ECHO", "after"),
        return_exceptions=True,
    )
    assert isinstance(answers[1], redis.ResponseError)
    assert [answers[0], answers[2]] == ["before", "after"]
    await connection.aclose()
