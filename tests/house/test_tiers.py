"""Which tests start a server is found by what they name; and a test in which none is found may start none."""

import functools
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.servers import RedisServer
from kit.tiers import starts_a_server


class World:
    """Has a server, as the worlds of the tests have."""

    def begin(self) -> RedisServer:
        return helper()


def helper() -> RedisServer:
    return RedisServer(Path())


def by_a_helper() -> None:
    helper()


def by_a_class() -> World:
    return World()


def by_a_function_inside() -> Callable[[], object]:
    def inner() -> object:
        return helper()

    return inner


def by_a_generator() -> Iterator[object]:
    with helper() as server:
        yield server


def one_that_ends() -> None:
    subprocess.run(["true"], check=True)


@pytest.mark.parametrize(
    "function",
    [
        by_a_helper,
        by_a_class,
        by_a_function_inside,
        by_a_generator,
        functools.partial(by_a_helper),
        functools.lru_cache(by_a_helper),
        {"in a table": by_a_helper},
    ],
)
def test_a_server_is_seen_through_all_that_leads_to_it(function: object) -> None:
    assert starts_a_server([function])


def test_a_process_that_ends_is_no_server() -> None:
    assert not starts_a_server([one_that_ends])


def test_what_was_found_out_on_the_way_to_one_server_is_right_about_the_next() -> None:
    assert starts_a_server([[one_that_ends, by_a_helper, by_a_class]])
    assert not starts_a_server([one_that_ends])
    assert starts_a_server([by_a_class])


def test_a_test_without_the_mark_may_not_listen() -> None:
    with socket.socket() as one, pytest.raises(AssertionError, match="this test listens"):
        one.listen()


@pytest.mark.parametrize("command", [["redis-server", "--version"], ["rollout", "demo"]])
def test_a_test_without_the_mark_may_not_run_a_server(command: list[str]) -> None:
    with pytest.raises(AssertionError, match="this test runs a server"):
        subprocess.run(command, check=True)
