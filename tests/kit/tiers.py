"""Pytest plugin: marks with `servers` each test that starts one, so that `make check` can leave it out.

A test starts a server when its code, its fixtures, or a helper that they call names one of STARTERS. Should
that miss one, the test fails: without the mark it may neither listen nor run a program that serves.
"""

import asyncio
import functools
import http.server
import inspect
import socket
import subprocess
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import playwright.async_api
import playwright.sync_api
import pytest
import uvicorn

STARTERS = (
    subprocess.Popen,
    asyncio.create_subprocess_exec,
    asyncio.start_server,
    socket.create_server,
    http.server.HTTPServer,
    http.server.ThreadingHTTPServer,
    uvicorn.Server,
    playwright.async_api.async_playwright,
    playwright.sync_api.sync_playwright,
)
"""What starts a server or a process that stays; `subprocess.run`, which waits for the end, is none."""
_PROGRAMS = {"redis-server", "prometheus", "victoria-metrics", "prometheus-alertmanager", "chromium"}
_DEMONSTRATIONS = {"demo", "--live"}
_FOLLOWED = ("controller.sandbox", "controller.demo", "controller.alertcheck.live", "adapter.sandbox")
_TESTS = str(Path(__file__).parents[1])
_KNOWN: dict[int, tuple[object, bool]] = {}
"""Each value that was looked at, by its id, and whether it leads to one of STARTERS."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and starts_a_server(_parts(item)):
            item.add_marker("servers")


@pytest.fixture(autouse=True)
def no_unmarked_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a server and has no mark."""
    if request.node.get_closest_marker("servers"):
        return
    run = subprocess.Popen.__init__

    def listen(*_: object) -> None:
        raise AssertionError("this test listens, and kit/tiers.py saw no server in it")

    def guarded(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        assert not _serves(args), "this test runs a server, and kit/tiers.py saw none in it: mark it"
        run(self, args, *rest, **options)

    monkeypatch.setattr(socket.socket, "listen", listen)
    monkeypatch.setattr(subprocess.Popen, "__init__", guarded)


def _serves(args: object) -> bool:
    """Whether a process with these arguments starts servers."""
    words = [str(word) for word in args] if isinstance(args, list | tuple) else [str(args)]
    return Path(words[0]).name in _PROGRAMS or not _DEMONSTRATIONS.isdisjoint(words[1:])


def starts_a_server(values: Iterable[object]) -> bool:
    """Whether any of these functions, classes and containers leads to one of STARTERS."""
    return any(_leads_to_a_server(value) for value in values)


def _leads_to_a_server(start: object) -> bool:
    """Follow the names; what is found out on the way is known the next time."""
    came_from: dict[int, int] = {}
    waiting = [(start, 0)]
    while waiting:
        value, before = waiting.pop()
        value = _unwrapped(value)
        if any(value is one for one in STARTERS) or _KNOWN.get(id(value), (None, False))[1]:
            _learn(came_from, before)
            return True
        if id(value) not in _KNOWN:
            _KNOWN[id(value)], came_from[id(value)] = (value, False), before
            waiting += [(one, id(value)) for one in _named_by(value)]
    return False


def _learn(came_from: dict[int, int], last: int) -> None:
    """Keep that the values on the way lead to a server; of the others nothing is known yet."""
    while last:
        _KNOWN[last] = (_KNOWN[last][0], True)
        last = came_from.pop(last)
    for other in came_from:
        del _KNOWN[other]


def _parts(item: pytest.Function) -> Iterator[object]:
    """Yield the test, what its parameters hold, and its fixtures with all that those ask for."""
    parameters = list(item.callspec.params.values()) if hasattr(item, "callspec") else []
    yield from (item.function, parameters)
    seen = {no_unmarked_server.__name__}
    waiting = [*item.fixturenames, *(one for one in parameters if isinstance(one, str))]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            for one in item.session._fixturemanager.getfixturedefs(name, item) or ():
                waiting += one.argnames
                yield one.func


def _unwrapped(value: object) -> object:
    """Return the function inside a decorator, a method or a property."""
    if isinstance(value, staticmethod | classmethod | types.MethodType):
        value = value.__func__
    elif isinstance(value, functools.partial):
        value = value.func
    elif isinstance(value, property | functools.cached_property):
        value = getattr(value, "fget", None) or getattr(value, "func", None)
    return inspect.unwrap(value) if hasattr(value, "__wrapped__") and callable(value) else value


def _named_by(value: object) -> list[object]:
    """Return what a function of ours names, what a class of ours holds, or what a container holds."""
    if isinstance(value, types.FunctionType):
        return list(_named_by_function(value)) if _ours(value) else []
    if isinstance(value, type):
        return [*vars(value).values(), *value.__bases__] if _ours(value) else list(value.__bases__)
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def _named_by_function(function: types.FunctionType) -> Iterator[object]:
    """Yield the globals that a function names, of a module what it takes from it, and what it encloses."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield from _taken(value, names) if isinstance(value, types.ModuleType) else [value]
    yield from (cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType())


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code of a function and of those inside it."""
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _codes(one)


def _taken(module: types.ModuleType, names: set[str]) -> Iterator[object]:
    yield from (vars(module)[name] for name in names & vars(module).keys())


def _ours(value: types.FunctionType | type) -> bool:
    """Whether it is of the tests, or of what the product has to try itself out."""
    if isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith(_TESTS):
        return True
    module = inspect.getmodule(value)
    return value.__module__.startswith(_FOLLOWED) or str(getattr(module, "__file__", "")).startswith(_TESTS)
